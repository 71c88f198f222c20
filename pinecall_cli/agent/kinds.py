"""What a value may be: each kind reads a node, says what is wrong with it, and has a JSON Schema.

Scalars are text until a kind wants something else (YAML 1.2 spelling), so ``language: no`` stays
Norwegian. A kind never raises for what it reads: it notes the problem and returns `FAILED`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

from pinecall_cli.agent.nodes import Foreign, Mapping, Node, Scalar, Sequence, what_is
from pinecall_cli.agent.problems import closest
from pinecall_cli.agent.reader import FAILED, Reader

INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
TRUE, FALSE = {"true", "True", "TRUE"}, {"false", "False", "FALSE"}
MAX_NUMBER_LENGTH = 32
"""Characters; Python refuses to read an integer of more than 4300 digits, nobody needs 33."""

Schema = dict[str, Any]


class Kind(Protocol):
    """One kind of value."""

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the value of ``node``, or `FAILED` when it is not of this kind."""
        ...

    def schema(self) -> Schema:
        """Return the kind as JSON Schema."""
        ...

    @property
    def wanted(self) -> str:
        """What is wanted, for messages: "text", "a number"."""
        ...


def refuse(kind: Kind, node: Node, reader: Reader, path: str, hint: str | None = None) -> Any:
    """Note that ``node`` is of another kind, and return `FAILED`."""
    key = f"`{path}` " if path else ""
    message = f"{key}must be {kind.wanted}, not {what_is(node)}"
    reader.problems.error("wrong_type", message, node.where, hint)
    return FAILED


@dataclass(frozen=True, slots=True)
class Text:
    """Text, with ``!file`` and ``${NAME}`` resolved."""

    wanted: str = "text"
    max_bytes: int | None = None
    lenient: bool = False
    """Whether Python's numbers and flags count too."""

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the value, or `FAILED` with a problem noted."""
        if not isinstance(node, Scalar) or node.is_null:
            return refuse(self, node, reader, path)
        if node.form in {"number", "flag"} and not self.lenient:
            return refuse(self, node, reader, path)
        text = reader.text(node, path)
        if text is FAILED or self.max_bytes is None:
            return text
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > self.max_bytes:
            reader.problems.error(
                "too_long",
                f"`{path}` is {size // 1024} KiB long; at most {self.max_bytes // 1024} KiB fit",
                node.where,
                "move reference material into a knowledge base or a tool",
            )
            return FAILED
        return text

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        return {"type": "string"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def wanted(self) -> str:
        """What is wanted, for messages."""
        return " or ".join(f"`{word}`" for word in self.words)

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the value, or `FAILED` with a problem noted."""
        if isinstance(node, Scalar) and node.text in self.words:
            return node.text
        near = closest(node.text, self.words) if isinstance(node, Scalar) else None
        return refuse(self, node, reader, path, f"did you mean `{near}`?" if near else None)

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        return {"type": "string", "enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Number:
    """A number, perhaps whole, perhaps bounded."""

    whole: bool = False
    minimum: float | None = None
    maximum: float | None = None

    @property
    def wanted(self) -> str:
        """What is wanted, for messages."""
        noun = "a whole number" if self.whole else "a number"
        match self.minimum, self.maximum:
            case None, None:
                return noun
            case low, None:
                return f"{noun} of at least {low:g}"
            case None, high:
                return f"{noun} of at most {high:g}"
            case low, high:
                return f"{noun} from {low:g} to {high:g}"

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the value, or `FAILED` with a problem noted."""
        if not isinstance(node, Scalar) or node.tag:
            return refuse(self, node, reader, path)
        text = reader.text(node, path)
        if text is FAILED:
            return FAILED
        value = None if node.form in {"flag", "null"} else number(text)
        if node.form == "quoted" and value is not None and "${" not in node.text:
            return refuse(self, node, reader, path, "take the quotation marks away")
        if value is None or (self.whole and value != int(value)):
            return refuse(self, node, reader, path)
        low, high = self.minimum, self.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            return refuse(self, node, reader, path)
        return int(value) if self.whole else value

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        schema: Schema = {"type": "integer" if self.whole else "number"}
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return schema | {key: value for key, value in bounds.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    wanted: str = "`true` or `false`"

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the value, or `FAILED` with a problem noted."""
        hint = None
        if isinstance(node, Scalar) and not node.tag:
            text = reader.text(node, path)
            if node.form in {"plain", "flag"} or "${" in node.text:
                if text in TRUE | FALSE:
                    return text in TRUE
                if isinstance(text, str) and text.lower() in {"yes", "on", "y"}:
                    hint = "write `true`"
                elif isinstance(text, str) and text.lower() in {"no", "off", "n"}:
                    hint = "write `false`"
            elif text in TRUE | FALSE:
                hint = "take the quotation marks away"
        return refuse(self, node, reader, path, hint)

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of one kind; a single value counts as a list of one when ``single`` is set."""

    item: Kind
    wanted: str = "a list"
    single: bool = False

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the value, or `FAILED` with a problem noted."""
        if not isinstance(node, Sequence):
            if self.single and isinstance(node, Scalar):
                value = self.item.read(node, reader, path)
                return value if value is FAILED else [value]
            hint = None
            if isinstance(node, Scalar) and not node.is_null:
                hint = f"write it as a list: `[{node.text[:40]}]`"
            return refuse(self, node, reader, path, hint)
        values = []
        for n, item in enumerate(node.items):
            place = f"{path}[{n}]"
            reader.places[place] = item.where
            value = self.item.read(item, reader, place)
            if value is not FAILED:
                values.append(value)
        return values

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        schema: Schema = {"type": "array", "items": self.item.schema()}
        return {"anyOf": [self.item.schema(), schema]} if self.single else schema


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping with keys of the writer's choice."""

    value: Kind
    wanted: str = "a mapping"

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the value, or `FAILED` with a problem noted."""
        if not isinstance(node, Mapping):
            return refuse(self, node, reader, path)
        values = {
            key.text: self.value.read(inner, reader, f"{path}.{key.text}")
            for key, inner in node.pairs
        }
        return {key: value for key, value in values.items() if value is not FAILED}

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        return {"type": "object", "additionalProperties": self.value.schema()}


@dataclass(frozen=True, slots=True)
class Anything:
    """Whatever JSON can hold; plain scalars are numbers, flags or nothing where they look so."""

    wanted: str = "a value"

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the value, or `FAILED` with a problem noted."""
        match node:
            case Sequence(items):
                return ListOf(self).read(node, reader, path) if items else []
            case Mapping():
                return MapOf(self).read(node, reader, path)
            case Foreign():
                return refuse(self, node, reader, path)
            case Scalar():
                return self._scalar(node, reader, path)

    def _scalar(self, node: Scalar, reader: Reader, path: str) -> Any:
        if node.is_null:
            return None
        text = reader.text(node, path)
        if text is FAILED or node.tag or node.form == "quoted":
            return text
        if text in TRUE | FALSE:
            return text in TRUE
        value = number(text)
        return text if value is None else value

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        return {}


@dataclass(frozen=True, slots=True)
class Either:
    """Different kinds for different shapes: the node's shape chooses, so messages stay exact."""

    wanted: str
    scalars: tuple[Kind, ...] = ()
    """Tried in order for scalars: the ones that a scalar's look settles first, text last."""
    sequence: Kind | None = None
    mapping: Kind | None = None

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the value, or `FAILED` with a problem noted."""
        match node:
            case Sequence() if self.sequence is not None:
                return self.sequence.read(node, reader, path)
            case Mapping() if self.mapping is not None:
                return self.mapping.read(node, reader, path)
            case Scalar() if kind := next((k for k in self.scalars if _looks(k, node)), None):
                return kind.read(node, reader, path)
        return refuse(self, node, reader, path)

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        others = (kind for kind in (self.sequence, self.mapping) if kind is not None)
        return {"anyOf": [kind.schema() for kind in (*self.scalars, *others)]}


def _looks(kind: Kind, node: Scalar) -> bool:
    match kind:
        case Flag():
            return node.form == "flag" or (node.form == "plain" and node.text in TRUE | FALSE)
        case Text():
            return node.form in {"plain", "quoted"}
    return True


def number(text: str) -> int | float | None:
    """Return the number ``text`` spells in YAML 1.2, or None."""
    if len(text) > MAX_NUMBER_LENGTH:
        return None
    if INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    if FLOAT.fullmatch(text) and math.isfinite(value := float(text)):
        return value
    return None
