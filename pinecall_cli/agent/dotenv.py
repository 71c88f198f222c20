"""The nearest ``.env``, put into the environment for `${…}` and for Python agents."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from pinecall_cli.settings import (
    KEY_VARIABLE,
    PROFILE_VARIABLE,
    URL_VARIABLE,
    Surroundings,
    nearest_dotenv,
)

NEVER = frozenset({KEY_VARIABLE, URL_VARIABLE, PROFILE_VARIABLE})
"""`settings` reads these itself and must go on knowing that they came from a file."""

ADDRESSES = ("_BASE_URL", "_API_BASE", "_API_URL", "_ENDPOINT", "_HOST")
"""Endings of variables that say where a provider's key is sent."""

_put: dict[str, str] = {}
"""What we put into ``os.environ``, so that a changed file can change it again."""


def apply_dotenv(
    folder: Path,
    environ: MutableMapping[str, str] | None = None,
    around: Surroundings | None = None,
) -> tuple[frozenset[Path], tuple[str, ...]]:
    """Put the ``.env`` nearest to ``folder`` into the environment, overriding nothing.

    An address for a key that did not come with it is left out: a cloned folder must not have
    your key sent to its own server.

    Returns:
        The files to watch, and what to tell people.
    """
    environ = os.environ if environ is None else environ
    dotenv, notices = nearest_dotenv(around or Surroundings.here(), folder)
    watched = frozenset({folder / ".env"} | ({dotenv.path} if dotenv else set()))
    values = dict(dotenv.values) if dotenv else {}
    ours = _put if environ is os.environ else {}
    for name in [name for name in ours if environ.get(name) == ours[name]]:
        if name not in values:
            del environ[name]
            del ours[name]
    said = list(notices)
    for name, value in values.items():
        if name in NEVER or (name in environ and environ[name] != ours.get(name)):
            continue
        key = _key_of(name)
        if key in environ and environ[key] not in (values.get(key), ours.get(key)):
            said.append(f"ignored `{name}` of {dotenv.path if dotenv else ''}: `{key}` is not its")
            continue
        environ[name] = value
        ours[name] = value
    return watched, tuple(said)


def _key_of(name: str) -> str:
    """Return the variable that holds the key which is sent to this address; "" for none."""
    for ending in ADDRESSES:
        if name.endswith(ending):
            return f"{name.removesuffix(ending)}_API_KEY"
    return ""
