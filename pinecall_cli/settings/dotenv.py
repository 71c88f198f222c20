"""The nearest ``.env``: found, trusted or not, and read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pinecall_cli.settings.values import Surroundings

MAX_DOTENV_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Dotenv:
    """A ``.env`` file's variables."""

    path: Path
    values: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Dotenv({str(self.path)!r}, {sorted(self.values)})"  # names; values may be keys


def nearest_dotenv(
    around: Surroundings, start: Path | None = None
) -> tuple[Dotenv | None, tuple[str, ...]]:
    """Return the nearest ``.env`` and what to say about one that was ignored.

    The search goes up from ``start`` (default: the working directory) and ends with the git root
    or the home directory. A file that another user owns is passed over with a notice: whoever
    can write above us must not choose our server.
    """
    notices: list[str] = []
    for folder in around.ancestors(start):
        path = folder / ".env"
        try:
            status = path.stat() if path.is_file() else None
        except OSError:
            status = None
        if status is not None and around.uid is not None and status.st_uid != around.uid:
            notices.append(f"ignored {path}: it belongs to another user")
        elif status is not None and status.st_size > MAX_DOTENV_BYTES:
            notices.append(f"ignored {path}: larger than {MAX_DOTENV_BYTES // 1024} KiB")
        elif status is not None:
            try:
                return Dotenv(path, parse_dotenv(path.read_text("utf-8-sig"))), tuple(notices)
            except (OSError, UnicodeDecodeError) as problem:
                notices.append(f"ignored {path}: {problem}")
    return None, tuple(notices)


ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*(.*)")
QUOTED = re.compile(r"""(?s)(?:'([^']*)'|"((?:[^"\\]|\\.)*)")\s*(?:#.*)?""")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse_dotenv(text: str) -> dict[str, str]:
    r"""Return the variables of a ``.env`` text; lines that are not assignments say nothing.

    ``'…'`` is verbatim, ``"…"`` knows ``\n``, ``\t``, ``\"``; a bare value ends at `` #``.
    Nothing is expanded: a value is what it says.
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        found = ASSIGNMENT.fullmatch(line)
        if found is None:
            continue
        name, rest = found[1], found[2].strip()
        quoted = QUOTED.fullmatch(rest)
        if quoted is None:
            values[name] = "" if rest.startswith("#") else re.split(r"\s#", rest)[0].rstrip()
        elif quoted[1] is not None:
            values[name] = quoted[1]
        else:
            values[name] = re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), quoted[2])
    return values
