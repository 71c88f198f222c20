"""What is wrong with an agent's files: all of it at once, each thing at its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pinecall_cli.errors import AgentFileError, PinecallError, Where

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or looks wrong, at one place; lines and columns count from 1."""

    file: str
    line: int | None
    column: int | None
    severity: Severity
    code: str
    message: str
    hint: str | None = None

    @property
    def where(self) -> Where:
        """The place as the error printer takes it."""
        return Where(self.file, self.line, self.column)

    def as_json(self) -> dict[str, Any]:
        """Return the problem as ``agents check --json`` prints it."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


class AgentFileProblems(AgentFileError):
    """The files of an agent do not hold an agent; as an error it is the first of its problems."""

    def __init__(self, problems: Iterable[Problem], watched: frozenset[Path] = frozenset()) -> None:
        self.problems = tuple(problems)
        self.watched = watched
        """Files whose change may mend it."""
        first = next(p for p in self.problems if p.severity == "error")
        super().__init__(first.message, where=first.where, fix=first.hint, code=first.code)

    def each(self) -> tuple[PinecallError, ...]:
        """Return an error for every problem that keeps the agents from loading."""
        return tuple(
            AgentFileError(p.message, where=p.where, fix=p.hint, code=p.code) for p in self.errors
        )

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems without the warnings."""
        return tuple(p for p in self.problems if p.severity == "error")


@dataclass(slots=True)
class Problems:
    """Collects problems while files are read, so that one run reports them all."""

    items: list[Problem] = field(default_factory=list)

    def error(self, code: str, message: str, where: Where, hint: str | None = None) -> None:
        """Note something that keeps the agent from loading."""
        self._add("error", code, message, where, hint)

    def warning(self, code: str, message: str, where: Where, hint: str | None = None) -> None:
        """Note something that loads, and is probably not what was meant."""
        self._add("warning", code, message, where, hint)

    def _add(
        self, severity: Severity, code: str, message: str, where: Where, hint: str | None
    ) -> None:
        problem = Problem(where.file, where.line, where.column, severity, code, message, hint)
        if problem not in self.items:  # an alias or a shared file is read more than once
            self.items.append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Note problems that were found elsewhere."""
        self.items += [problem for problem in problems if problem not in self.items]

    @property
    def failed(self) -> bool:
        """Whether any of them is an error."""
        return any(problem.severity == "error" for problem in self.items)

    def sorted(self) -> tuple[Problem, ...]:
        """Return them by file, line and column."""
        return tuple(sorted(self.items, key=lambda p: (p.file, p.line or 0, p.column or 0)))


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that ``word`` was probably meant to be."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def shown_path(path: Path) -> str:
    """Return ``path`` as messages name it: relative to the working directory when below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
