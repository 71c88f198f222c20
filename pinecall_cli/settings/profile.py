"""What ``pinecall login`` saves: keys with the servers they are for, readable by their owner alone.

``[profile]`` in ``config.toml`` is what is used when none is named; ``[profiles.NAME]`` are others.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pinecall_cli.errors import UsageError, Where
from pinecall_cli.settings.folders import config_dir
from pinecall_cli.settings.toml_file import TomlFile, read_toml
from pinecall_cli.settings.values import Surroundings

DEFAULT = "default"
"""The name of the profile that is used when none is named."""
KEYS = ("api_key", "url")
START_AGAIN = "mend that line, or delete the file and `pinecall login` again"
HEAD = "# Written by `pinecall login`. It holds keys: keep it to yourself.\n"

Profile = Mapping[str, str]


def profile_file(around: Surroundings) -> Path:
    """Return the file of the profiles, whether or not it is there."""
    return config_dir(around) / "config.toml"


def exposed(path: Path, around: Surroundings) -> tuple[str, ...]:
    """Return what to say about a file of keys that others on this machine can read."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ()
    if around.uid is None or not mode & 0o077:
        return ()
    return (f"{path} holds keys, and others can read it: `chmod 600` it",)


def read_profiles(path: Path) -> dict[str, dict[str, str]]:
    """Return what was saved, by the profile's name: ``api_key`` and ``url``, where it has them.

    Raises:
        UsageError: If the file is there and is none of profiles; no value of it is quoted.
    """
    try:
        file = read_toml(path, what="the file of saved keys", fix=START_AGAIN)
    except FileNotFoundError:
        return {}
    for name in file.document:
        if name not in ("profile", "profiles"):
            raise file.unknown(name, ("profile", "profiles"))
    named = file.document.get("profiles", {})
    found: dict[str, dict[str, str]] = {}
    if "profile" in file.document:
        found[DEFAULT] = read_table(file, file.document["profile"], "profile")
    for name, table in as_table(file, named, "profiles").items():
        found[name] = read_table(file, table, f"profiles.{name}")
    return found


def read_table(file: TomlFile, table: Any, title: str) -> dict[str, str]:
    """Return the texts of one profile.

    Raises:
        UsageError: If it holds something else.
    """
    found: dict[str, str] = {}
    for key, value in as_table(file, table, title).items():
        if key not in KEYS:
            raise file.unknown(key, KEYS, table=title)
        if not isinstance(value, str):
            where = file.where(key, table=title)
            raise UsageError(f"`{key}` of a profile is a text", where=where, fix=START_AGAIN)
        found[key] = value
    return found


def as_table(file: TomlFile, value: Any, title: str) -> dict[str, Any]:
    """Return a table as one.

    Raises:
        UsageError: If it is something else.
    """
    if not isinstance(value, dict):
        above, _, key = title.rpartition(".")
        where = file.where(key, table=above or None)
        raise UsageError(f"`{title}` is a table", where=where, fix=f"write it as `[{title}]`")
    return value


def read_profile(path: Path, name: str = DEFAULT) -> dict[str, str]:
    """Return what was saved under a name; empty when there is nothing.

    Raises:
        UsageError: If the file is there and is none of profiles.
    """
    return read_profiles(path).get(name, {})


def write_profiles(path: Path, profiles: Mapping[str, Profile]) -> None:
    """Write all profiles (0600, in a folder 0700), or take the file away when there is none.

    Raises:
        UsageError: If the file cannot be written.
    """
    try:
        if not profiles:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)  # it may be older, and wider
        # Written aside and moved into place: a key is in the old file or in the new one, and
        # mkstemp's file is 0600 before a byte of it is.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(as_toml(profiles))
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
    except OSError as problem:
        raise UsageError(
            f"cannot write the profile: {problem.strerror}",
            where=Where(str(path)),
            fix="make that folder writable, or set `XDG_CONFIG_HOME` to another",
        ) from None


def as_toml(profiles: Mapping[str, Profile]) -> str:
    """Return the text of the file."""
    tables = []
    for name, values in sorted(profiles.items(), key=lambda one: (one[0] != DEFAULT, one[0])):
        title = "profile" if name == DEFAULT else f"profiles.{quoted(name)}"
        lines = [f"{key} = {quoted(value)}" for key, value in values.items()]
        tables.append("\n".join([f"[{title}]", *lines]) + "\n")
    return HEAD + "\n" + "\n".join(tables)


def quoted(text: str) -> str:
    """Return a text as a basic string of TOML; it escapes what JSON does, but for surrogates."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
