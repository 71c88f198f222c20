"""The fold of tools: calls as the model makes them, answers as they come back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from pinecall_cli.call.optional import given
from pinecall_cli.call.state import CallState, ToolAnswered, ToolCalled
from pinecall_cli.protocol import commands, events


def fold(call: CallState, event: object, at: float | None) -> CallState:
    """Return ``call`` after a tool call or a tool's answer; any other frame leaves it alone."""
    match event:
        case events.LlmToolCall(msg_id=round, tool_calls=tools):
            return _called(call, round, tools, at)
        case events.LlmChatToolCall(tool_calls=tools):
            return _called(call, given(event.msg_id, ""), tools, at)
        case commands.LlmToolResult(msg_id=round, results=results):
            for item in results:
                call = _answered(call, item.tool_call_id, round, given(item.result, None), at)
            return call
        case events.LlmToolResult():
            return _told(call, event, at)
        case events.LlmChatToolResult():
            result = given(event.result, given(event.text, None))
            return _answered(call, given(event.tool_call_id, ""), "", result, at)
        case _:
            return call


def _called(
    call: CallState, round: str, tools: Iterable[events.ToolCall], at: float | None
) -> CallState:
    for tool in tools:
        key = ("tool", f"{round}/{tool.id}")
        # A chat's owner and its sender are both told; a copy may have no round (events.md §10.2).
        repeated = any(
            known.id == tool.id and (known.round == round or not known.round or not round)
            for known in call.open_tools
        )
        if key in call.seen or repeated:
            continue
        called = ToolCalled(
            at=at, id=tool.id, round=round, name=tool.name, arguments=tool.arguments
        )
        call = replace(
            call,
            lines=(*call.lines, called),
            open_tools=(*call.open_tools, called),
            # A chat's rounds carry no id that is fresh each time, so only spoken ones are noted.
            seen=call.seen if call.is_text else call.seen | {key},
            phase=call.phase if call.reply else "thinking",
        )
    return call


def _told(call: CallState, event: events.LlmToolResult, at: float | None) -> CallState:
    round = given(event.msg_id, "")
    for item in given(event.results, []):
        call = _answered(call, str(item.get("tool_call_id", "")), round, item.get("result"), at)
    if isinstance(event.tool_call_id, str):
        call = _answered(call, event.tool_call_id, round, given(event.result, None), at)
    return call


def _answered(call: CallState, id: str, round: str, result: Any, at: float | None) -> CallState:
    """Return ``call`` with the answer of the open tool that it belongs to; of none: unchanged."""
    fitting = [
        tool
        for tool in call.open_tools
        if (not id or tool.id == id) and (not round or not tool.round or tool.round == round)
    ]
    if not fitting:
        return call
    tool = fitting[0]
    ms = None
    if at is not None and tool.at is not None:
        ms = max(0, round_ms(at - tool.at))
    answered = ToolAnswered(
        at=at, id=tool.id, round=tool.round, name=tool.name, result=_value(result), ms=ms
    )
    return replace(
        call,
        lines=(*call.lines, answered),
        open_tools=tuple(known for known in call.open_tools if known is not tool),
    )


def round_ms(seconds: float) -> int:
    """Return ``seconds`` in whole milliseconds."""
    return int(seconds * 1000 + 0.5)


def _value(result: Any) -> Any:
    """Return ``result``, unpacked when it is an object or list sent as a JSON text."""
    if not isinstance(result, str) or result[:1] not in ("{", "["):
        return result
    try:
        return json.loads(result)
    except (ValueError, RecursionError):
        return result
