"""Bytes to frames and back. What a peer sends never raises here: at worst it is ``Unknown``.

The fast path is one typed decode. A frame that fails it gets a second chance in which what real
servers are known to send is put right (see ``lenient``), then it is ``Unknown`` with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, Union

import msgspec

from pinecall_cli.protocol.commands import COMMANDS
from pinecall_cli.protocol.depth import too_deep
from pinecall_cli.protocol.events import EVENTS
from pinecall_cli.protocol.frames import Command, Event, Frame, JsonObject, Received, Unknown
from pinecall_cli.protocol.lenient import put_right

F = TypeVar("F", bound=Frame)

REMOTE_FAULTS = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)
"""All that msgspec raises for bytes from a stranger; deep nesting is the RecursionError."""

TOO_DEEP = "nested too deeply"
ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def plain(value: Any) -> str:
    """Return a text that is of a class of its own, as model packages have them, as a plain one.

    Raises:
        TypeError: If it is none.
    """
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


ENCODER = msgspec.json.Encoder(enc_hook=plain)


class FrameDecoder:
    """Decodes the frames of one direction."""

    def __init__(self, frames: Mapping[str, type[Frame]]) -> None:
        self._frames = frames
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            Union[tuple(frames.values())]  # noqa: UP007 - made of a tuple, so no `|`
        )

    def decode(self, raw: bytes) -> Any:
        """Return a frame of this direction, or ``Unknown``."""
        try:
            if not raw.isascii():
                raw.decode()  # msgspec skips fields that no class declares without a look inside
            if too_deep(raw):
                return Unknown("", {}, TOO_DEEP)
            return self._decoder.decode(raw)
        except REMOTE_FAULTS as fault:
            return self._second_chance(raw, fault)

    def _second_chance(self, raw: bytes, fault: Exception) -> Frame | Unknown:
        fields = object_of(raw)
        if fields is None:
            return Unknown("", {}, problem_of(fault))
        name = fields.get("event")
        if not isinstance(name, str):
            return Unknown("", fields, "no `event` to go by")
        frame = self._frames.get(name)
        if frame is None:
            return Unknown(name, fields)
        try:
            return msgspec.convert(put_right(name, fields, frame), frame)
        except REMOTE_FAULTS as still:
            return Unknown(name, fields, problem_of(still))


def object_of(raw: bytes) -> JsonObject | None:
    """Return the JSON object in ``raw``, or None when there is none to be read."""
    if too_deep(raw):
        return None
    try:
        value = ANYTHING.decode(raw.decode())
    except REMOTE_FAULTS:
        return None
    return value if isinstance(value, dict) else None


def problem_of(fault: Exception) -> str:
    """Return what was wrong with a frame, in a line."""
    if isinstance(fault, RecursionError):
        return TOO_DEEP
    if isinstance(fault, UnicodeError):
        return "not UTF-8"
    return str(fault)


EVENT_FRAMES = FrameDecoder(EVENTS)
COMMAND_FRAMES = FrameDecoder(COMMANDS)


def to_bytes(raw: bytes | str) -> bytes:
    """Return a WebSocket message as bytes; half a surrogate pair becomes ``?``."""
    return raw.encode("utf-8", "replace") if isinstance(raw, str) else raw


def decode_event(raw: bytes | str) -> Received:
    """Return what a server sent, with its bytes. Never raises."""
    data = to_bytes(raw)
    frame: Event | Unknown = EVENT_FRAMES.decode(data)
    return Received(frame, data)


def decode_command(raw: bytes | str) -> Received:
    """Return what a client sent, with its bytes. Never raises."""
    data = to_bytes(raw)
    frame: Command | Unknown = COMMAND_FRAMES.decode(data)
    return Received(frame, data)


def encode(frame: msgspec.Struct | Unknown) -> str:
    """Return a frame of any kind as a JSON text; what is ``UNSET`` is left out, NaN is null.

    Half a surrogate pair, which file names and tool results can hold, goes out as ``?``.

    Raises:
        TypeError: If a field holds what JSON has no form for.
    """
    value = frame.fields if isinstance(frame, Unknown) else frame
    try:
        return ENCODER.encode(value).decode()
    except UnicodeEncodeError:
        return ENCODER.encode(whole(msgspec.to_builtins(value, enc_hook=plain))).decode()


def whole(value: Any) -> Any:
    """Return a JSON value with every text in it fit for UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {whole(key): whole(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [whole(inner) for inner in value]
    return value
