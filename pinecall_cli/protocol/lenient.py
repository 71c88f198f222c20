"""What servers and clients are known to send that is not quite the frame, put right.

Applied only to a frame that failed its typed decode, so it costs nothing in the common case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import Any, get_args

import msgspec

from pinecall_cli.protocol.frames import Frame, JsonObject

WHOLE_LIMIT = 2.0**53
"""Floats below it name their integer exactly."""


def put_right(name: str, fields: JsonObject, frame: type[Frame]) -> JsonObject:
    """Return the fields of a frame as its class wants them; the original is not touched.

    A ``null`` where none is meant counts as absent, and 164.0 as 164.
    """
    nullable = nullable_fields(frame)
    mended = {
        key: whole_number(value)
        for key, value in fields.items()
        if value is not None or key in nullable
    }
    repair = REPAIRS.get(name)
    return repair(mended) if repair else mended


@cache
def nullable_fields(frame: type[Frame]) -> frozenset[str]:
    """Return the wire names of the fields for which ``null`` says something."""
    return frozenset(
        field.encode_name
        for field in msgspec.structs.fields(frame)
        if field.type is Any or NoneType in get_args(field.type)
    )


def whole_number(value: Any) -> Any:
    """Return a float without a fraction as an int, anything else as it is."""
    if isinstance(value, float) and abs(value) < WHOLE_LIMIT and value.is_integer():
        return int(value)
    return value


def tool_call(fields: JsonObject) -> JsonObject:
    """Accept OpenAI's nested calls, arguments given as an object, and ``message_id``."""
    if "msg_id" not in fields and "message_id" in fields:
        fields["msg_id"] = fields["message_id"]
    calls = fields.get("tool_calls")
    if isinstance(calls, list):
        fields["tool_calls"] = [flat_call(call) for call in calls]
    return fields


def flat_call(call: Any) -> Any:
    """Return a tool call as ``{id, name, arguments}``, its arguments as a JSON text."""
    if not isinstance(call, dict):
        return call
    function = call.get("function")
    flat = {**call, **function} if isinstance(function, dict) else dict(call)
    arguments = flat.get("arguments")
    if arguments is None:
        flat.pop("arguments", None)
    elif not isinstance(arguments, str):
        flat["arguments"] = msgspec.json.encode(arguments).decode()
    return flat


def error(fields: JsonObject) -> JsonObject:
    """Accept an error whose text is an object or another name."""
    text = fields.get("error", fields.get("message", ""))
    if isinstance(text, dict):
        text = text.get("message", "")
    fields["error"] = text if isinstance(text, str) else str(text)
    code = fields.get("code")
    if code is not None and not isinstance(code, str):
        fields["code"] = str(code)
    return fields


def two_ends(fields: JsonObject) -> JsonObject:
    """Accept a call that does not say who calls or who is called: it is a call all the same."""
    return {"from": "", "to": "", **fields}


REPAIRS: Mapping[str, Callable[[JsonObject], JsonObject]] = {
    "llm.tool_call": tool_call,
    "llm.chat.tool_call": tool_call,
    "error": error,
    "call.started": two_ends,
    "call.ringing": two_ends,
    "call.dialing": two_ends,
}
"""By wire name: what else is known about a frame."""
