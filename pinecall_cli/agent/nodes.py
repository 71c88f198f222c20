"""Values with their places: what a document says before anything is made of it.

A YAML document and the keywords of `Agent(...)` both become these nodes, so one reader, with one
set of messages, serves both.
"""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence as AnySequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

from pinecall_cli.errors import Where

MAX_DEPTH = 64
"""Levels of nesting; a document deeper than this is an accident or an attack."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node's text stands in its document, so that a part of it can be found."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, a number, a flag or nothing; which of them, the reader decides by what it wants."""

    text: str
    form: Literal["plain", "quoted", "number", "flag", "null"]
    """``plain`` and ``quoted`` come from YAML, the rest from Python, where types are known."""
    where: Where
    tag: str | None = None
    """``!file``, or None."""
    span: Span | None = None

    @property
    def is_null(self) -> bool:
        """Whether this says "no value"."""
        if self.form == "plain":
            return self.tag is None and self.text in {"", "~", "null", "Null", "NULL"}
        return self.form == "null"

    def locate(self, part: str) -> Where:
        """Return where ``part`` stands inside this text; the node's own place if it is not found.

        Folding and escapes make text and document differ, so the document is searched.
        """
        if self.span is None or self.where.line is None or self.where.column is None:
            return self.where
        found = self.span.document.find(part, self.span.start, self.span.end)
        if found < 0:
            return self.where
        before = self.span.document[self.span.start : found]
        lines = before.count("\n")
        column = len(before) - before.rfind("\n") if lines else self.where.column + len(before)
        return Where(self.where.file, self.where.line + lines, column)


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    where: Where


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values, in order; keys are text and unique."""

    pairs: tuple[tuple[Scalar, Node], ...]
    where: Where


@dataclass(frozen=True, slots=True)
class Foreign:
    """A Python object that no file could hold: a tool, a function, anything else."""

    value: Any
    where: Where


Node: TypeAlias = Scalar | Sequence | Mapping | Foreign


def from_python(value: Any, where: Where, depth: int = 0) -> Node:
    """Return ``value`` as a node; every part of it stands at ``where``. A path names a file."""
    if depth > MAX_DEPTH:
        return Foreign(value, where)
    match value:
        case None:
            return Scalar("", "null", where)
        case bool():
            return Scalar("true" if value else "false", "flag", where)
        case int() | float():
            return Scalar(repr(value), "number", where)
        case str():
            return Scalar(value, "quoted", where)
        case PurePath():
            return Scalar(str(value), "quoted", where, tag="!file")
        case AnyMapping() if all(isinstance(key, str) for key in value):
            pairs = tuple(
                (Scalar(key, "quoted", where), from_python(inner, where, depth + 1))
                for key, inner in value.items()
            )
            return Mapping(pairs, where)
        case bytes() | bytearray():
            return Foreign(value, where)
        case AnySequence():
            items = tuple(from_python(item, where, depth + 1) for item in value)
            return Sequence(items, where)
    return Foreign(value, where)


def what_is(node: Node) -> str:
    """Return what a node is, for messages: "a list", "`true`"…"""
    match node:
        case Sequence():
            return "a list"
        case Mapping():
            return "a mapping"
        case Foreign(value):
            return f"a `{type(value).__name__}`"
        case Scalar():
            if node.is_null:
                return "nothing"
            short = node.text if len(node.text) <= 40 else f"{node.text[:40]}…"
            return f"`{short}`"
