"""The offline check: everything that can be said of agent files without running any of them."""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pinecall_cli.agent.config import ToolSpec
from pinecall_cli.agent.dotenv import apply_dotenv
from pinecall_cli.agent.keys import AGENT
from pinecall_cli.agent.load import agent_files, tool_target, twin_of
from pinecall_cli.agent.nodes import Mapping, Node, Scalar
from pinecall_cli.agent.problems import AgentFileProblems, Problem, Problems, shown_path
from pinecall_cli.agent.python_file import no_such_tool, no_tools_in
from pinecall_cli.agent.python_syntax import (
    agent_calls,
    bound_names,
    functions,
    is_tool,
    literal,
    parse,
    sets_variables,
)
from pinecall_cli.agent.reader import Reader, ToolSource
from pinecall_cli.agent.resolve import resolve
from pinecall_cli.agent.yaml_file import Document, read_yaml
from pinecall_cli.errors import AgentFileError, Where

IN_CODE = frozenset({"history"})
"""Keywords of `Agent` that an agent file in YAML has no key for."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One file, the names of its agents, and what is wrong with it."""

    file: str
    agents: tuple[str, ...]
    problems: tuple[Problem, ...]
    places: tuple[Where, ...] = ()
    """Where each of the agents begins."""

    @property
    def valid(self) -> bool:
        """Whether it has no errors; warnings are let pass."""
        return not any(problem.severity == "error" for problem in self.problems)


def check(target: Path) -> list[Checked]:
    """Return what can be said of a file, or of each agent file right in a folder.

    Python is read as a syntax tree: no line of a user's runs.
    """
    try:
        files = agent_files(target)
    except AgentFileProblems as failed:
        return [Checked(shown_path(target), (), failed.problems)]
    return _refuse_twins([_check_file(file) for file in files])


def _refuse_twins(checked: Sequence[Checked]) -> list[Checked]:
    """Note agents of one name in the files of a folder, which run together or not at all."""
    first: dict[str, Where] = {}
    found: list[Checked] = []
    for one in checked:
        twins = Problems(list(one.problems))
        for name, where in zip(one.agents, one.places, strict=True):
            other = first.setdefault(name, where)
            if other.file != where.file:
                twins.error("duplicate_agent", *twin_of(name, other, where))
        found.append(replace(one, problems=twins.sorted()))
    return found


def _check_file(file: Path) -> Checked:
    problems = Problems()
    path = Path(os.path.abspath(file))
    environ = dict(os.environ)  # a check leaves the real one alone
    apply_dotenv(path.parent, environ)
    if path.suffix == ".py":
        agents = _python(path, problems)
    else:
        agents = read_yaml(path, environ, offline_tools(path.parent), problems, set())
    names = tuple(one.agent.config.name for one in agents)
    places = tuple(one.where for one in agents)
    return Checked(shown_path(path), names, problems.sorted(), places)


def offline_tools(folder: Path) -> ToolSource:
    """Return a source of tools that looks for functions without importing their file.

    What it returns has a tool's name and no schema: only running tells that.
    """

    def tools(target: str, where: Where) -> Sequence[ToolSpec]:
        path, name = tool_target(target, where, folder)
        tree = _tree(path, where)
        known = functions(tree)
        if name is None:
            found = [key for key, function in known.items() if is_tool(function)]
            if not found:
                raise no_tools_in(shown_path(path), where)
        elif name in known or name in (bound_names(tree) or {name}):
            found = [name]
        else:
            raise no_such_tool(name, shown_path(path), list(known), where)
        return [ToolSpec(key, _summary(known.get(key)), {"type": "object"}) for key in found]

    return tools


def _summary(function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> str:
    """Return a docstring's first line; a name that is no ``def`` here is given the benefit."""
    return "…" if function is None else (ast.get_docstring(function) or "").partition("\n")[0]


def _tree(path: Path, where: Where) -> ast.Module:
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as problem:
        raise AgentFileError(
            f"cannot read `{shown_path(path)}`: {problem.strerror}",
            where=where,
            code="unreadable_file",
        ) from None
    except SyntaxError as problem:
        at = Where(shown_path(path), problem.lineno, problem.offset)
        raise AgentFileError(
            f"this is not Python: {problem.msg}", where=at, code="python_syntax"
        ) from None


# --- Python agents --------------------------------------------------------------------------


def _python(path: Path, problems: Problems) -> list[Document]:
    shown = shown_path(path)
    if not path.is_file():
        problems.error("missing_file", f"there is no file `{shown}`", Where(shown))
        return []
    try:
        tree = _tree(path, Where(shown))
    except AgentFileError as problem:
        problems.error(problem.code, problem.message, problem.where or Where(shown), problem.fix)
        return []
    agents: list[Document] = []
    calls = list(agent_calls(tree))
    for call in calls:
        reader = Reader(path.parent, {}, problems, interpolates=False)
        reader.tools_failed = True  # which tools there are, only running tells
        reader.code_sets_variables = sets_variables(tree)
        agent = resolve(_call(call, shown), AGENT, reader, "agent")
        if agent is not None and _named(call):
            where = Where(shown, call.lineno, call.col_offset + 1)
            name = agent.config.name
            first = next((one.where for one in agents if one.agent.config.name == name), None)
            if first is not None:
                problems.error("duplicate_agent", *twin_of(name, first, where))
            agents.append(Document(agent, where))
        _check_tools(call, tree, shown, problems)
    if not calls:
        problems.error(
            "no_agents",
            "this file defines no agent",
            Where(shown, 1, 1),
            'add `agent = Agent("name", prompt=…)` at module level',
        )
    return agents


def _named(call: ast.Call) -> bool:
    """Tell whether an agent's name can be read off its call."""
    given = call.args[0] if call.args else None
    given = next((k.value for k in call.keywords if k.arg == "name"), given)
    return isinstance(given, ast.Constant) and isinstance(given.value, str)


def _call(call: ast.Call, shown: str) -> Mapping:
    """Return a call's keywords as a node: literals with their places, the rest left out."""
    pairs: list[tuple[Scalar, Node]] = []
    if call.args and (name := literal(call.args[0], shown)) is not None:
        pairs.append((Scalar("name", "quoted", name.where), name))
    for keyword in call.keywords:
        if keyword.arg is None:  # **options
            continue
        where = Where(shown, keyword.lineno, keyword.col_offset + 1)
        value = literal(keyword.value, shown)
        if value is None and keyword.arg not in AGENT.keys and keyword.arg not in IN_CODE:
            value = Scalar("", "null", where)  # an unknown keyword is told of, whatever it is
        if value is not None:
            pairs.append((Scalar(keyword.arg, "quoted", where), value))
    return Mapping(tuple(pairs), Where(shown, call.lineno, call.col_offset + 1))


def _check_tools(call: ast.Call, tree: ast.Module, shown: str, problems: Problems) -> None:
    """Note names under ``tools`` that the file never binds."""
    given = next((k.value for k in call.keywords if k.arg == "tools"), None)
    bound = bound_names(tree)
    if not isinstance(given, ast.List | ast.Tuple) or bound is None:
        return
    for item in given.elts:
        if isinstance(item, ast.Name) and item.id not in bound:
            problems.error(
                "unknown_tool",
                f"`{item.id}` is not defined in this file",
                Where(shown, item.lineno, item.col_offset + 1),
                f"it has {', '.join(f'`{name}`' for name in functions(tree))}",
            )
