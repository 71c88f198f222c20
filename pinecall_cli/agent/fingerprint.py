"""A fingerprint of what a function does, to tell a changed tool body from an untouched one.

It follows the code into the functions, classes and plain constants of the same folder that it
uses, and ignores where in a file things stand: moving a function or adding a comment is no change.
"""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

PLAIN = (str, bytes, int, float, bool, complex, type(None), type(Ellipsis))
MAX_STEPS = 2000
"""Objects looked at; beyond that a change goes unnoticed, which costs one word in a receipt."""


def fingerprint(function: Callable[..., Any]) -> str:
    """Return a short text that changes when what ``function`` runs does."""
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    if code is None:
        return ""
    digest = hashlib.sha256()
    for part in _parts(inner, PurePath(code.co_filename).parent):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _parts(root: Any, folder: PurePath) -> Iterator[bytes]:
    """Walk what ``root`` reaches inside ``folder``, each object once, in a stable order."""
    seen: set[int] = set()
    waiting: list[Any] = [root]
    steps = 0
    while waiting and steps < MAX_STEPS:
        thing, steps = waiting.pop(), steps + 1
        if _is_plain(thing):
            yield _stable(thing).encode("utf-8", "surrogatepass")
            continue
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        match thing:
            case types.CodeType():
                yield thing.co_code
                yield repr((thing.co_names, thing.co_varnames, thing.co_flags)).encode()
                waiting += [const for const in thing.co_consts if not _is_docstring(thing, const)]
            case types.FunctionType():
                if PurePath(thing.__code__.co_filename).is_relative_to(folder):
                    waiting += [thing.__code__, thing.__defaults__, thing.__kwdefaults__]
                    waiting += _reached(thing)
            case type():
                yield thing.__qualname__.encode()
                waiting += [v for k, v in sorted(vars(thing).items()) if not k.startswith("__")]
                waiting += [vars(thing)[k] for k in ("__init__", "__call__") if k in vars(thing)]
            case staticmethod() | classmethod():
                waiting.append(thing.__func__)
            case property():
                waiting += [thing.fget, thing.fset]
            case _:
                wrapped = getattr(thing, "function", None)  # a `Tool`
                if isinstance(wrapped, types.FunctionType):
                    waiting.append(wrapped)
                yield type(thing).__qualname__.encode()


def _reached(function: types.FunctionType) -> Iterator[Any]:
    """Yield the values of the globals and closure cells that a function's code names."""
    names = set(_names(function.__code__))
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            yield from (vars(value)[n] for n in sorted(names & vars(value).keys()))
        else:
            yield value
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that is bound later, or never
            continue


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)


def _is_docstring(code: types.CodeType, const: Any) -> bool:
    """Tell whether a constant is the docstring: the description is compared by itself."""
    return bool(code.co_consts) and const is code.co_consts[0] and isinstance(const, str)


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Tell whether a value is data whose ``repr`` says all of it."""
    if type(value) in PLAIN:
        return True
    if depth > 8:
        return False
    if type(value) in {list, tuple, set, frozenset}:
        return all(_is_plain(item, depth + 1) for item in value)
    if type(value) is dict:
        return all(_is_plain(item, depth + 1) for pair in value.items() for item in pair)
    return False


def _stable(value: Any) -> str:
    """Return a ``repr`` in which sets are sorted: their order differs between runs of a file."""
    if type(value) in {set, frozenset}:
        return "{" + ",".join(sorted(_stable(item) for item in value)) + "}"
    if type(value) in {list, tuple}:
        return "[" + ",".join(_stable(item) for item in value) + "]"
    if type(value) is dict:
        return "{" + ",".join(f"{_stable(k)}:{_stable(v)}" for k, v in value.items()) + "}"
    return repr(value)
