"""From a file or folder to agents that can run: the front door of this package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pinecall_cli.agent.config import AgentConfig
from pinecall_cli.agent.define import Agent
from pinecall_cli.agent.dotenv import apply_dotenv
from pinecall_cli.agent.problems import AgentFileProblems, Problem, Problems, shown_path
from pinecall_cli.agent.python_file import IMPORT_LIMIT, Imported, import_file
from pinecall_cli.agent.python_syntax import defines_agents
from pinecall_cli.agent.reader import ToolSource
from pinecall_cli.agent.tools import Tool
from pinecall_cli.agent.yaml_file import read_yaml
from pinecall_cli.errors import AgentFileError, Where

YAML_ENDINGS = (".yaml", ".yml")
OTHER_YAML = (".script", ".spec", ".caller")
"""What comes before the ending of YAML files that are no agents."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An agent as its file defines it now."""

    config: AgentConfig
    agent: Agent
    file: Path
    watched: frozenset[Path]
    """Every file whose change may change it."""
    warnings: tuple[Problem, ...] = ()
    notices: tuple[str, ...] = ()
    """What its Python files printed, and what was ignored."""
    clients: tuple[Any, ...] = field(default=(), repr=False)
    """The `Pinecall()` objects its Python file made; they live on the CLI's connection."""


def load(target: Path, *, limit: float = IMPORT_LIMIT) -> list[Loaded]:
    """Return the agents of a file, or of all agent files right in a folder.

    The nearest ``.env`` is put into the environment first.

    Args:
        target: A YAML or Python file, or a folder.
        limit: Seconds each Python file may take to import.

    Raises:
        AgentFileProblems: With everything that is wrong in all of the files.
    """
    found: list[Loaded] = []
    problems = Problems()
    watched: set[Path] = set()
    for file in agent_files(target):
        one = _File(file, limit)
        try:
            found += one.load()
        except AgentFileProblems as failed:
            problems.extend(failed.problems)
            watched |= failed.watched
    _refuse_twins(found, problems)
    if problems.failed:
        for agent in found:
            watched |= agent.watched
        raise AgentFileProblems(problems.sorted(), frozenset(watched))
    return found


def agent_files(target: Path) -> list[Path]:
    """Return the agent files a target means: itself, or those right in the folder.

    Raises:
        AgentFileProblems: If there is none.
    """
    shown = shown_path(target)
    if target.is_dir():
        files = sorted(path for path in target.iterdir() if _is_agent_file(path))
        if files:
            return files
        raise _no_file("no_agents", f"there is no agent in `{shown}`", shown, target)
    if target.suffix in (*YAML_ENDINGS, ".py"):
        return [target]
    if not target.exists():
        raise _no_file("missing_file", f"there is no file `{shown}`", shown, target)
    raise _no_file(
        "bad_file_type", f"`{shown}` is neither YAML nor Python", shown, target, "`.yaml` or `.py`"
    )


def _is_agent_file(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    if path.suffix in YAML_ENDINGS:
        return Path(path.stem).suffix not in OTHER_YAML
    return path.suffix == ".py" and defines_agents(path)


def _no_file(
    code: str, message: str, shown: str, target: Path, hint: str | None = None
) -> AgentFileProblems:
    hint = hint or "`pinecall agents new NAME` writes an agent to start from"
    problem = Problem(shown, None, None, "error", code, message, hint)
    return AgentFileProblems([problem], frozenset({Path(os.path.abspath(target))}))


def _refuse_twins(found: Sequence[Loaded], problems: Problems) -> None:
    """Note agents of one name: a server knows one of them only."""
    seen: dict[str, Loaded] = {}
    for loaded in found:
        first = seen.setdefault(loaded.config.name, loaded)
        if first is not loaded:
            places = first.agent.where, loaded.agent.where
            problems.error("duplicate_agent", *twin_of(loaded.config.name, *places))


def twin_of(name: str, first: Where, second: Where) -> tuple[str, Where, str]:
    """Return what to say of two agents of one name: the message, its place, and the hint."""
    other, place = (
        Where(shown_path(Path(where.file)), where.line, where.column) for where in (first, second)
    )
    return f"there are two agents named `{name}`", place, f"the other one is in {other}"


class _File:
    """Loads one agent file."""

    def __init__(self, file: Path, limit: float) -> None:
        self.file, self.limit = Path(os.path.abspath(file)), limit
        self.problems = Problems()
        self.watched: set[Path] = {self.file}
        self.notices: list[str] = []
        self.imported: dict[Path, Imported | AgentFileProblems] = {}

    def load(self) -> list[Loaded]:
        watched, notices = apply_dotenv(self.file.parent)
        self.watched |= watched
        self.notices += notices
        found = self._python() if self.file.suffix == ".py" else self._yaml()
        if self.problems.failed:
            raise AgentFileProblems(self.problems.sorted(), frozenset(self.watched))
        warnings = self.problems.sorted()
        watched = frozenset(self.watched)
        notices = tuple(self.notices)
        return [
            replace(one, watched=watched, warnings=(*warnings, *one.warnings), notices=notices)
            for one in found
        ]

    def _yaml(self) -> list[Loaded]:
        source = self._tool_source()
        found = read_yaml(self.file, os.environ, source, self.problems, self.watched)
        loaded = []
        for document in found:
            agent = Agent.from_resolved(document.agent, document.where)
            loaded.append(Loaded(agent.config, agent, self.file, frozenset()))
        return loaded

    def _python(self) -> list[Loaded]:
        imported = self._import(self.file)
        loaded = []
        for agent in imported.agents():
            agent.refresh()
            self.watched |= agent.watched
            one = Loaded(agent.config, agent, self.file, frozenset(), agent.warnings)
            loaded.append(replace(one, clients=tuple(imported.collected.clients)))
        if not loaded:
            self.problems.error(
                "no_agents",
                "this file defines no agent",
                Where(shown_path(self.file), 1, 1),
                'add `agent = Agent("name", prompt=…)` at module level',
            )
        return loaded

    def _import(self, path: Path) -> Imported:
        """Return a Python file imported, each file once per load."""
        if path not in self.imported:
            try:
                self.imported[path] = import_file(path, limit=self.limit)
            except AgentFileProblems as failed:
                self.imported[path] = failed
        result = self.imported[path]
        if isinstance(result, AgentFileProblems):
            self.watched |= result.watched
            raise result
        self.watched |= result.watched
        self.notices += [n for n in result.notices if n not in self.notices]
        return result

    def _tool_source(self) -> ToolSource:
        def tools(target: str, where: Where) -> Sequence[Tool]:
            path, name = tool_target(target, where, self.file.parent)
            return self._import(path).tools(name, where)

        return tools


def tool_target(target: str, where: Where, folder: Path) -> tuple[Path, str | None]:
    """Return the file and the function that ``tools.py:lookup_order`` names.

    Raises:
        AgentFileError: If it names no Python file that is there.
    """
    file, _, name = target.partition(".py")
    path = Path(os.path.abspath(folder / f"{file.strip()}.py"))
    if not target.strip().endswith(".py") and not name.startswith(":"):
        raise AgentFileError(
            f"`{target}` names no Python file",
            where=where,
            fix="write `tools.py:function`, or `tools.py` for every `@tool` in it",
            code="bad_tool",
        )
    if not path.is_file():
        raise AgentFileError(
            f"there is no file `{shown_path(path)}`",
            where=where,
            fix="paths start in the folder of the agent file",
            code="missing_file",
        )
    return path, name.removeprefix(":").strip() or None
