"""What every frame is made of: the two bases, the unknown, and a frame as it was received.

A frame is a fact: frozen, keyword-only, compared with ``==``. An optional field that was not on
the wire is ``UNSET``, which is neither ``null`` nor ``false``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, dataclass_transform

import msgspec
from msgspec import UNSET, UnsetType

JsonObject: TypeAlias = dict[str, Any]
MaybeStr: TypeAlias = str | UnsetType
MaybeInt: TypeAlias = int | UnsetType
MaybeFloat: TypeAlias = float | UnsetType
MaybeNumber: TypeAlias = int | float | UnsetType
"""Milliseconds and the like: servers differ in sending 164 or 164.0."""
MaybeBool: TypeAlias = bool | UnsetType
MaybeObject: TypeAlias = JsonObject | UnsetType
MaybeObjects: TypeAlias = list[JsonObject] | UnsetType


class FrameMeta(msgspec.StructMeta):
    """Makes structs frozen and keyword-only; msgspec does not hand the latter down."""

    def __new__(  # noqa: D102 - the class says it
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> FrameMeta:
        options = {"frozen": True, "kw_only": True, **options}
        return super().__new__(mcls, name, bases, namespace, **options)


# Type checkers look for this on the nearest base, and msgspec.Struct bears one that says otherwise.
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Frame(msgspec.Struct, frozen=True, metaclass=FrameMeta):
    """A part of a frame, or a frame that belongs to neither base."""


class Event(Frame, tag_field="event"):
    """A frame from the server, with the stamps that it puts on nearly everything."""

    agent_id: MaybeStr = UNSET
    """Owner of the event: slug, ``org:slug`` or ``line:<number>``."""
    call_id: MaybeStr = UNSET
    session_id: MaybeStr = UNSET
    """The same as ``call_id`` for voice."""
    seq: MaybeInt = UNSET
    """Rises over the whole life of a server; holes are allowed."""
    ts: MaybeFloat = UNSET
    """Epoch seconds."""


class Command(Frame, tag_field="event"):
    """A frame from a client."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A frame that is none of ours, or is one of ours gone wrong; kept whole, never an error."""

    event: str
    """Its ``event`` field; empty when there is none to be read."""
    fields: JsonObject
    """All its fields, ``event`` included; empty when it could not be read as JSON."""
    problem: str | None = None
    """What is wrong with it; None for a well-formed event that we do not know."""


class Received(msgspec.Struct, frozen=True):
    """A frame and the bytes it came in: it is those that are forwarded and recorded."""

    frame: Event | Command | Unknown
    raw: bytes

    def fields(self) -> JsonObject:
        """Return every field as it was on the wire, those that no class declares included."""
        if isinstance(self.frame, Unknown):
            return self.frame.fields
        fields: JsonObject = msgspec.json.decode(self.raw, type=dict[str, Any])
        return fields


@cache
def wire_name(frame: type[msgspec.Struct]) -> str:
    """Return the name that frames of a class bear on the wire, such as ``bot.word``."""
    tag = frame.__struct_config__.tag
    return tag if isinstance(tag, str) else ""
