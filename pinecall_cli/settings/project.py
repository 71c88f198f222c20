"""``pinecall.toml``: what a project says for everybody who works on it. It holds no keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pinecall_cli.errors import UsageError
from pinecall_cli.settings.toml_file import TomlFile, read_toml
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
        try:
            status = path.stat() if path.is_file() else None
        except OSError:
            status = None  # a folder above us that is closed to us
        if status is None:
            continue
        if around.uid is not None and status.st_uid != around.uid:
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
    file = read_toml(path, what="the project's file", fix="mend that line, or take it out")
    for table, keys in file.document.items():
        if table not in KEYS:
            raise file.unknown(table, KEYS)
        if not isinstance(keys, dict):
            where = file.where(table)
            raise UsageError(f"`{table}` is a table", where=where, fix=f"write it as `[{table}]`")
        for key in keys:
            if key not in KEYS[table]:
                raise file.unknown(key, KEYS[table], table=table)
    return Project(
        path, allow=_numbers(file), url=_text(file, "url"), profile=_text(file, "profile")
    )


def _text(file: TomlFile, key: str) -> str | None:
    value = file.document.get("server", {}).get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(
            f"`{key}` under `[server]` is a text",
            where=file.where(key, table="server"),
            fix=f'write it as `{key} = "…"`',
        )
    return value


def _numbers(file: TomlFile) -> tuple[str, ...] | None:
    value = file.document.get("call", {}).get("allow")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UsageError(
            "`allow` under `[call]` is a list of numbers",
            where=file.where("allow", table="call"),
            fix='write it as `allow = ["+14155550123", "+4930*"]`',
        )
    return tuple(value)
