"""Python agent files by syntax tree alone: nothing here runs a line of them."""

from __future__ import annotations

import ast
import linecache
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import FrameType

from pinecall_cli.agent.nodes import Mapping, Node, Scalar, Sequence
from pinecall_cli.errors import Where

LOOKS = re.compile(rb"\bAgent\s*\(|\.agent\s*\(")
MAX_SCANNED_BYTES = 4 * 1024 * 1024
SETS_VARIABLES = "set_prompt_vars"
"""The method by which code fills a prompt's variables."""


def parse(source: bytes, name: str) -> ast.Module:
    """Return a file's syntax tree.

    Raises:
        SyntaxError: If it is not Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import says them, with the file's own line
        try:
            return ast.parse(source, name)
        except (ValueError, RecursionError, MemoryError) as problem:  # NULs; nested too deep
            raise SyntaxError(str(problem) or "too deeply nested", (name, 1, 1, "")) from None


def defines_agents(path: Path) -> bool:
    """Tell whether a file has ``Agent(`` or ``.agent(`` at module level.

    One that is broken and looks as if it had is counted, so that its error is seen.
    """
    try:
        if path.stat().st_size > MAX_SCANNED_BYTES:
            return False
        source = path.read_bytes()
        return bool(LOOKS.search(source)) and any(agent_calls(parse(source, str(path))))
    except SyntaxError:
        return True
    except OSError:
        return False


def agent_calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield the calls that define agents, outside of functions and classes."""
    for node in at_module_level(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id="Agent") | ast.Attribute(attr="Agent" | "agent"):
                    yield node


def at_module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield every node that runs when the file is imported."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        inner = [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(
                child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
            )
        ]
        waiting += reversed(inner)


def placed(node: Node, frame: FrameType, shown: str) -> Node:
    """Return the keywords of the call that ``frame`` stands at, each at its place in the source.

    Literals get places inside them too. Without source, or without such a call in it, ``node``
    comes back as it was.
    """
    call = _running_call(frame)
    if call is None or not isinstance(node, Mapping):
        return node
    written = {keyword.arg: keyword for keyword in call.keywords}
    where = _where(call, shown)
    pairs: list[tuple[Scalar, Node]] = []
    for key, value in node.pairs:
        keyword = written.get(key.text)
        if keyword is None:
            at = _where(call.args[0], shown) if key.text == "name" and call.args else where
            pairs.append((replace(key, where=at), replace(value, where=at)))
            continue
        inner = literal(keyword.value, shown)
        if inner is None:
            inner = replace(value, where=_where(keyword.value, shown))
        pairs.append((replace(key, where=_where(keyword, shown)), inner))
    return Mapping(tuple(pairs), where)


def _running_call(frame: FrameType) -> ast.Call | None:
    """Return the call expression that a frame is in."""
    place = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    if place is None or place[0] is None or not lines:
        return None
    try:
        tree = parse("".join(lines).encode("utf-8", "replace"), frame.f_code.co_filename)
    except SyntaxError:
        return None
    for found in ast.walk(tree):
        if isinstance(found, ast.Call):
            ends = (found.lineno, found.end_lineno, found.col_offset, found.end_col_offset)
            if ends == place:
                return found
    return None


def _where(node: ast.AST, shown: str) -> Where:
    return Where(shown, getattr(node, "lineno", None), getattr(node, "col_offset", 0) + 1)


def sets_variables(tree: ast.Module) -> bool:
    """Tell whether code of the file sets variables of a prompt, wherever in it."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == SETS_VARIABLES for node in ast.walk(tree)
    )


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the functions of a module by name."""
    return {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def is_tool(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function is decorated with ``@tool``."""
    for decorator in function.decorator_list:
        match decorator.func if isinstance(decorator, ast.Call) else decorator:
            case ast.Name(id="tool") | ast.Attribute(attr="tool"):
                return True
    return False


def bound_names(tree: ast.Module) -> set[str] | None:
    """Return the names a module binds; None when a ``*`` import makes that unknowable."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                return None
            case ast.Import() | ast.ImportFrom():
                names |= {(a.asname or a.name).partition(".")[0] for a in node.names}
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
            case ast.ExceptHandler(name=str() as name):
                names.add(name)
    return names


def literal(node: ast.AST, file: str) -> Node | None:
    """Return a literal as a node with its place, or None for what only running would tell."""
    where = _where(node, file)
    match node:
        case ast.Constant(value=None):
            return Scalar("", "null", where)
        case ast.Constant(value=bool() as flag):
            return Scalar("true" if flag else "false", "flag", where)
        case ast.Constant(value=int() | float() as amount):
            return Scalar(repr(amount), "number", where)
        case ast.Constant(value=str() as text):
            return Scalar(text, "quoted", where)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as positive)):
            return Scalar(repr(-positive), "number", where)
        case ast.List() | ast.Tuple():
            items = [literal(item, file) for item in node.elts]
            return None if None in items else Sequence(tuple(i for i in items if i), where)
        case ast.Dict():
            pairs: list[tuple[Scalar, Node]] = []
            for key, value in zip(node.keys, node.values, strict=True):
                name = None if key is None else literal(key, file)
                known = literal(value, file)
                if not isinstance(name, Scalar) or name.form != "quoted" or known is None:
                    return None
                pairs.append((name, known))
            return Mapping(tuple(pairs), where)
    return None
