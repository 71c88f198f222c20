"""TOML that people write: parsed, and what is wrong with it told at its line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinecall_cli.errors import UsageError, Where

PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
"""How `tomllib` ends its messages."""


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A file of settings, and where in it things stand."""

    path: Path
    text: str
    document: dict[str, Any]
    what: str
    """What it is called in messages: ``the project's file``."""

    def unknown(self, key: str, known: Iterable[str], *, table: str | None = None) -> UsageError:
        """Return the error for a key, or a table, that nobody knows."""
        names = tuple(known)
        near = difflib.get_close_matches(key, names, 1)
        fix = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(names)}"
        message = f"unknown key `{key}` in {self.what}"
        return UsageError(message, where=self.where(key, table=table), fix=fix)

    def where(self, key: str, *, table: str | None = None) -> Where:
        """Return the place of a key of a table, or of a table; the file, if it cannot be found."""
        inside = table is None
        for number, line in enumerate(self.text.splitlines(), 1):
            heading = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
            if heading is not None:
                name = re.sub(r"\s*\.\s*", ".", re.sub("[\"']", "", heading[1]))
                if table is None and name.split(".")[0] == key:
                    return Where(str(self.path), number, line.index("[") + 1)
                inside = name == table
            elif inside and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line):
                return Where(str(self.path), number, len(line) - len(line.lstrip()) + 1)
        return Where(str(self.path))


def read_toml(path: Path, *, what: str, fix: str) -> TomlFile:
    """Return a file, parsed.

    Args:
        path: The file.
        what: What it is called in messages.
        fix: What to do about one that is broken.

    Raises:
        FileNotFoundError: If there is none.
        UsageError: If it cannot be read, or is not TOML; with its line and column.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as problem:
        message = f"{what} cannot be read: {problem.strerror}"
        raise UsageError(message, where=Where(str(path)), fix=fix) from None
    except UnicodeDecodeError:
        raise UsageError(f"{what} is not UTF-8", where=Where(str(path)), fix=fix) from None
    try:
        return TomlFile(path, text, tomllib.loads(text), what)
    except tomllib.TOMLDecodeError as problem:
        said = str(problem)
        found = PLACE.search(said)
        reason = said if found is None else said[: found.start()]
        where = Where(str(path))
        if found is not None and found[1]:
            where = Where(str(path), int(found[1]), int(found[2]))
        elif found is not None:
            where = Where(str(path), max(1, len(text.splitlines())))
        message = f"{what} is not TOML: {reason[:1].lower()}{reason[1:]}"
        raise UsageError(message, where=where, fix=fix) from None
