"""What `pinecall_cli` exports, as text: every name with what can be called and read of it.

python -m tests.sdk.surface          # writes surface.txt anew, after a change that is meant
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pinecall_cli
from pinecall_cli import PinecallError

FILE = Path(__file__).with_name("surface.txt")


def surface() -> str:
    """Return the whole surface, a paragraph for each name."""
    paragraphs = (
        "\n".join(described(name, getattr(pinecall_cli, name))) for name in pinecall_cli.__all__
    )
    return "\n\n".join(paragraphs) + "\n"


def described(name: str, found: Any) -> Iterator[str]:
    if isinstance(found, ModuleType):
        yield f"module {name} ({found.__name__})"
    elif not isinstance(found, type):
        yield f"def {name}{signature(found)}"
    elif issubclass(found, PinecallError):
        parents = ", ".join(one.__name__ for one in found.__bases__)
        yield f"error {name}({parents}), code {found.code}, exit code {found.exit_code}"
        yield from once_each(attributes([found]))
    else:
        yield f"class {name}{made_with(found)}"
        yield from once_each((*members(found), *attributes(ours(found))))


def once_each(lines: Iterable[str]) -> list[str]:
    """Return lines in order, the first one about each attribute."""
    found: dict[str, str] = {}
    for line in lines:
        found.setdefault(line.partition(":")[0], line)
    return sorted(found.values())


def made_with(cls: type) -> str:
    """Return what a class is called with; what has fields alone is told by its fields."""
    made = vars(cls).get("__init__")
    if not inspect.isfunction(made) or is_dataclass(cls) or getattr(cls, "_is_protocol", False):
        return ""
    return signature(made).replace("(self, ", "(").replace("(self)", "()").removesuffix(" -> None")


def ours(cls: type) -> list[type]:
    """Return a class and the classes of ours that it is made of."""
    return [one for one in cls.__mro__ if one.__module__.startswith("pinecall_cli")]


def members(cls: type) -> Iterator[str]:
    """Yield methods and properties that are not private."""
    for one in ours(cls):
        for name, found in vars(one).items():
            if name.startswith("_"):
                continue
            if isinstance(found, property):
                returns = inspect.signature(found.fget).return_annotation  # type: ignore[arg-type]
                yield f"  {name}: {returns}"
            elif inspect.isfunction(found) or isinstance(found, classmethod | staticmethod):
                function = getattr(found, "__func__", found)
                kind = "async def" if inspect.iscoroutinefunction(function) else "def"
                yield f"  {kind} {name}{signature(function)}"


def attributes(classes: Iterable[type]) -> Iterator[str]:
    """Yield what is declared in classes and what their ``__init__`` sets, if it is not private."""
    for one in classes:
        for name, annotation in inspect.get_annotations(one).items():
            if not name.startswith("_"):
                yield f"  {name}: {annotation}"
        made = vars(one).get("__init__")
        if not inspect.isfunction(made) or is_dataclass(one):
            continue
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(made)))):
            if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Store):
                continue
            if ast.unparse(node.value) == "self" and not node.attr.startswith("_"):
                yield f"  {node.attr}"


def signature(function: Any) -> str:
    """Return a signature as it is written: its annotations are texts already."""
    found = inspect.signature(function)
    parameters = [
        one.replace(annotation=Written(one.annotation)) if one.annotation is not one.empty else one
        for one in found.parameters.values()
    ]
    returned = found.return_annotation
    if returned is not found.empty:
        returned = Written(returned)
    return str(found.replace(parameters=parameters, return_annotation=returned))


class Written:
    """An annotation that shows itself without the quotes of a text."""

    def __init__(self, text: object) -> None:
        self.text = str(text)

    def __repr__(self) -> str:
        return self.text


if __name__ == "__main__":
    FILE.write_text(surface(), "utf-8")
