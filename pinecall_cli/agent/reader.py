"""What reading a document needs besides the document: files it names, variables, problems."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pinecall_cli.agent.config import ToolSpec, names_a_secret
from pinecall_cli.agent.nodes import Scalar
from pinecall_cli.agent.problems import Problems, shown_path
from pinecall_cli.agent.tools import Tool
from pinecall_cli.errors import AgentFileError, Where

MAX_TEXT_BYTES = 256 * 1024
"""A prompt's limit, and that of any other text an agent names (cli.md "Agent files")."""

FAILED: Final[Any] = type("Failed", (), {"__repr__": lambda self: "FAILED"})()
"""What a reader returns in place of a value when it has noted a problem."""

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

ToolSource = Callable[[str, Where], Sequence[Tool | ToolSpec]]
"""Turns ``tools.py:lookup_order``, as written at a place, into tools; raises AgentFileProblems."""


def no_tools(target: str, where: Where) -> Sequence[Tool | ToolSpec]:
    """Refuse a tool by name: in Python, tools are objects."""
    raise AgentFileError(
        f"`{target}` is a text, not a tool",
        where=where,
        fix="import the function and list it: `tools=[lookup_order]`",
        code="bad_tool",
    )


@dataclass(frozen=True, slots=True)
class WrittenText:
    """A text an agent speaks or reads, and how to find a part of it in the files."""

    text: str
    locate: Callable[[str], Where]


@dataclass(slots=True)
class Reader:
    """Reads texts for one document and keeps what was seen on the way."""

    folder: Path
    """Relative paths in the document start here."""
    environ: Mapping[str, str]
    problems: Problems = field(default_factory=Problems)
    declared: frozenset[str] = frozenset()
    """Names under ``env:``; only these are interpolated."""
    tool_source: ToolSource = no_tools
    own_file: Path | None = None
    """The document's file; including it in itself is a mistake."""
    interpolates: bool = True
    """Whether ``${NAME}`` means anything: not in Python, which has ``os.environ``."""
    places: dict[str, Where] = field(default_factory=dict)
    """Where each key's value stands, by its dotted path."""
    texts: dict[str, WrittenText] = field(default_factory=dict)
    watched: set[Path] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    tools_failed: bool = False
    """Whether some tool could not be read, so that nobody knows which there are."""
    code_sets_variables: bool = False
    """Whether code sets variables of the prompt, so that nobody knows which stay empty."""

    def place(self, path: str, default: Where) -> Where:
        """Return where the value of ``path`` stands."""
        return self.places.get(path, default)

    def text(self, node: Scalar, path: str) -> Any:
        """Return the text a scalar stands for: its own, or that of the file it names."""
        if node.tag == "!file":
            return self._included(node, path)
        self.texts[path] = WrittenText(node.text, node.locate)
        return self._interpolated(node.text, node.locate)

    def _included(self, node: Scalar, path: str) -> Any:
        file = self.resolve(node.text)
        if self.own_file is not None and _same_file(file, self.own_file):
            self.problems.error(
                "cyclic_include",
                f"`{node.text}` is this file itself",
                node.where,
                "name the file that holds the text",
            )
            return FAILED
        text = read_text(file, node.where, self.problems, self.watched)
        if text is None:
            return FAILED
        shown = shown_path(file)
        written = WrittenText(text, lambda part: position(shown, text, text.find(part)))
        self.texts[path] = written
        return self._interpolated(text, written.locate)

    def resolve(self, name: str) -> Path:
        """Return the path a document means by ``name``."""
        return beside(self.folder, name)

    def _interpolated(self, text: str, locate: Callable[[str], Where]) -> Any:
        if not self.interpolates or "${" not in text:
            return text
        failed = False

        def value(match: re.Match[str]) -> str:
            nonlocal failed
            name = match[1]
            if name not in self.declared:
                if name.upper() != name:
                    return match[0]  # a template of the writer's own, not an environment variable
                self.problems.warning(
                    "undeclared_variable",
                    f"`${{{name}}}` stays as it is: `{name}` is not listed under `env`",
                    locate(match[0]),
                    f"add `env: [{name}]`",
                )
                return match[0]
            if name not in self.environ:
                failed = True  # reported once, where `env` lists it
                return match[0]
            found = self.environ[name]
            if found and names_a_secret(name):
                self.secrets.add(found)
            return found

        result = VARIABLE.sub(value, text)
        return FAILED if failed else result


def beside(folder: Path, name: str) -> Path:
    """Return the path that a document in ``folder`` means by ``name``."""
    path = Path(name.strip())
    with contextlib.suppress(RuntimeError):  # `~nobody`: there is no such home, hence no such file
        path = path.expanduser()
    return folder / path


def _same_file(one: Path, other: Path) -> bool:
    """Tell whether two names mean one file; not when either cannot be looked at."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def position(file: str, text: str, index: int) -> Where:
    """Return the place of the character at ``index`` of ``text``."""
    index = max(index, 0)
    before = text[:index]
    return Where(file, before.count("\n") + 1, index - before.rfind("\n"))


def read_text(
    path: Path,
    where: Where,
    problems: Problems,
    watched: set[Path],
    limit: int = MAX_TEXT_BYTES,
) -> str | None:
    """Return a file's text without its BOM, or note at ``where`` why it cannot be had.

    The file is watched either way: creating it may be what mends the agent.
    """
    shown = shown_path(path)
    watched.add(Path(os.path.abspath(path)))
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a FIFO or device would never end
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
            problems.error("unreadable_file", f"`{shown}` is {kind}", where)
            return None
        if status.st_size > limit:
            size = f"{status.st_size / 1024:.0f} KiB"
            message = f"`{shown}` has {size}; at most {limit // 1024} KiB are read"
            problems.error("too_long", message, where)
            return None
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        problems.error("missing_file", f"there is no file `{shown}`", where, _nearby(path))
        return None
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        reason = getattr(problem, "strerror", None) or problem
        problems.error("unreadable_file", f"cannot read `{shown}`: {reason}", where)
        return None
    return decoded(data, shown, problems)


def decoded(data: bytes, shown: str, problems: Problems) -> str | None:
    """Return ``data`` as text, or note where it stops being UTF-8 text."""
    data = data.removeprefix(codecs.BOM_UTF8)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        problems.error(
            "not_utf8", "this file is UTF-16", Where(shown, 1, 1), "save it as UTF-8 in your editor"
        )
        return None
    nul = data.find(b"\0")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        start = problem.start if nul < 0 else min(problem.start, nul)
    else:
        if nul < 0:
            return text.replace("\r\n", "\n").replace("\r", "\n")
        start = nul
    before = data[:start]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    if nul >= 0:
        code, message, hint = "binary_file", "this is a binary file, not text", None
    else:
        code, message = "not_utf8", "this file is not UTF-8"
        hint = "save it as UTF-8 in your editor"
    problems.error(code, message, Where(shown, line, column), hint)
    return None


def _nearby(path: Path) -> str:
    """Return a hint naming a file of almost this name, or the folder that was searched."""
    low = path.name.lower()
    try:
        names = [other.name for other in path.parent.iterdir()]
    except (OSError, ValueError):
        return f"the folder `{shown_path(path.parent)}` is not there either"
    from_start = [n for n in names if n.lower() == low or Path(n).stem.lower() == path.stem.lower()]
    if from_start:
        return f"did you mean `{from_start[0]}`?"
    return f"looked in `{shown_path(path.parent)}`"
