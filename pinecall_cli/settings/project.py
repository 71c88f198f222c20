"""``pinecall.toml``: what a project says for everybody who works on it. It holds no keys."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinecall_cli.errors import UsageError, Where
from pinecall_cli.settings.values import Surroundings

PROJECT_FILE = "pinecall.toml"
KEYS: Mapping[str, tuple[str, ...]] = {"call": ("allow",), "server": ("profile", "url")}
"""Every table, and the keys in it."""


@dataclass(frozen=True, slots=True)
class Project:
    """What a project's file says; None where it says nothing."""

    path: Path
    allow: tuple[str, ...] | None = None
    """``[call] allow``: numbers that may be dialled, or beginnings of them that end in ``*``."""
    url: str | None = None
    """``[server] url``."""
    profile: str | None = None
    """``[server] profile``: which of the user's profiles to use."""


def project_file(
    around: Surroundings, start: Path | None = None
) -> tuple[Project | None, tuple[str, ...]]:
    """Return the nearest ``pinecall.toml`` and what to say about one that was ignored.

    The search goes up from ``start`` (default: the working directory) and ends with the git root
    or the home directory. A file that another user owns is passed over with a notice.

    Raises:
        UsageError: If it cannot be read, or says what it cannot say.
    """
    notices: list[str] = []
    for folder in around.ancestors(start):
        path = folder / PROJECT_FILE
        if not path.is_file():
            continue
        if around.uid is not None and path.stat().st_uid != around.uid:
            notices.append(f"ignored {path}: it belongs to another user")
            continue
        return read_project(path), tuple(notices)
    return None, tuple(notices)


def read_project(path: Path) -> Project:
    """Return what one file says.

    A key that is not known is an error, since a misspelt ``allow`` would allow everything.

    Raises:
        UsageError: If it is not TOML, or a key or value is none that belongs there.
    """
    where = Where(str(path))
    try:
        document = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise UsageError(f"the project's file is not TOML: {problem}", where=where) from None
    for table, keys in document.items():
        if table not in KEYS:
            raise _unknown(table, KEYS, where)
        if not isinstance(keys, dict):
            raise UsageError(f"`{table}` is a table", where=where, fix=f"write it as `[{table}]`")
        for key in keys:
            if key not in KEYS[table]:
                raise _unknown(key, KEYS[table], where)
    server = document.get("server", {})
    return Project(
        path,
        allow=_numbers(document.get("call", {}).get("allow"), where),
        url=_text("url", server.get("url"), where),
        profile=_text("profile", server.get("profile"), where),
    )


def _unknown(key: str, known: Any, where: Where) -> UsageError:
    near = difflib.get_close_matches(key, known, 1)
    fix = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
    return UsageError(f"unknown key `{key}` in the project's file", where=where, fix=fix)


def _text(key: str, value: Any, where: Where) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UsageError(f"`{key}` under `[server]` is a text", where=where)
    return value


def _numbers(value: Any, where: Where) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UsageError(
            "`allow` under `[call]` is a list of numbers",
            where=where,
            fix='write it as `allow = ["+14155550123", "+4930*"]`',
        )
    return tuple(value)
