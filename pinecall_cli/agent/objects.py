"""Mappings whose keys are known: agents, skills, phone numbers, rules."""

from __future__ import annotations

import re
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pinecall_cli.agent.kinds import Anything, Kind, Schema, refuse
from pinecall_cli.agent.nodes import Mapping, Node, Scalar
from pinecall_cli.agent.problems import closest
from pinecall_cli.agent.reader import FAILED, Reader
from pinecall_cli.errors import Where


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an `Object`: its kind, and a sentence for the schema."""

    kind: Kind
    about: str
    required: bool = False


Unknown = Literal["error", "warning", "keep"]


@dataclass(frozen=True, slots=True)
class Object:
    """A mapping whose keys are known."""

    keys: AnyMapping[str, Key]
    wanted: str = "a mapping"
    unknown: Unknown = "error"
    """What a key that is not known is: an error, worth a warning, or passed on as it is."""
    instead: AnyMapping[str, str] = field(default_factory=dict)
    """Words people write for a key that is called otherwise here."""
    ignored: AnyMapping[str, str] = field(default_factory=dict)
    """Keys that are left out with a warning, and why."""

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the value, or `FAILED` with a problem noted."""
        if not isinstance(node, Mapping):
            return refuse(self, node, reader, path)
        values: dict[str, Any] = {}
        written: dict[str, Where] = {}
        for key, inner in node.pairs:
            if why := self.ignored.get(snake_case(key.text)):
                reader.problems.warning("derived_key", why, key.where, "take the key out")
                continue
            name = self._name(key, reader)
            inner_path = f"{path}.{name or key.text}" if path else (name or key.text)
            if name is None:
                if self.unknown != "error":
                    self._set(values, key.text, Anything().read(inner, reader, inner_path))
                continue
            if name in written:
                reader.problems.error(
                    "duplicate_key",
                    f"`{key.text}` says `{name}` a second time",
                    key.where,
                    f"the first is in line {written[name].line}",
                )
                continue
            written[name] = key.where
            reader.places[inner_path] = inner.where
            if isinstance(inner, Scalar) and inner.is_null:
                if inner.form == "plain":
                    reader.problems.warning(
                        "empty_value", f"`{name}` has no value", key.where, "take the key out"
                    )
                continue
            self._set(values, name, self.keys[name].kind.read(inner, reader, inner_path))
        for name, known in self.keys.items():
            if known.required and name not in written:
                reader.problems.error(
                    "missing_key", f"`{name}` is missing", node.where, known.about
                )
        return values

    @staticmethod
    def _set(values: dict[str, Any], name: str, value: Any) -> None:
        if value is not FAILED:
            values[name] = value

    def known(self, name: str) -> str | None:
        """Return the key that is meant by ``name``, in whichever of the two spellings."""
        if name in self.keys:
            return name
        return next((k for k in self.keys if name in (camel_case(k), snake_case(k))), None)

    def _name(self, key: Scalar, reader: Reader) -> str | None:
        """Return the known key that is meant, noting what is wrong with its spelling."""
        name = key.text
        known = self.known(name)
        if known is not None:
            if name == camel_case(known) != known:
                reader.problems.warning(
                    "camel_case",
                    f"`{name}` is written `{known}` in agent files",
                    key.where,
                    f"write `{known}`",
                )
            return known
        if self.unknown == "keep":
            return None
        near = self.instead.get(name) or closest(snake_case(name), self.keys)
        hint = f"did you mean `{near}`?" if near else f"known keys: {', '.join(self.keys)}"
        report = reader.problems.error if self.unknown == "error" else reader.problems.warning
        report("unknown_key", f"unknown key `{name}`", key.where, hint)
        return None

    def schema(self) -> Schema:
        """Return the JSON Schema."""
        properties = {
            name: {**key.kind.schema(), "description": key.about} for name, key in self.keys.items()
        }
        schema: Schema = {"type": "object", "properties": properties}
        if required := [name for name, key in self.keys.items() if key.required]:
            schema["required"] = required
        if self.unknown == "error":
            schema["additionalProperties"] = False
        return schema


def snake_case(name: str) -> str:
    """Return ``someName`` as ``some_name``."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def camel_case(name: str) -> str:
    """Return ``some_name`` as ``someName``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
