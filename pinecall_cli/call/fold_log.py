"""The fold of the call log: its entries said in the agent socket's words, then the same fold.

The log has a vocabulary of its own (``user.speaking`` with ``active``, ``turn.end`` with
latencies); what a view shows of a call is the same whichever way it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from pinecall_cli.call.reduce import reduce
from pinecall_cli.call.state import CallState, Notice
from pinecall_cli.protocol.events import EVENTS
from pinecall_cli.protocol.log import MARKER_TYPES, LogEntry

Fields = dict[str, Any]


def reduce_entry(call: CallState, entry: LogEntry) -> CallState:
    """Return the call after an entry of its log. Pure; nonsense is passed over, never raised."""
    if entry.type in MARKER_TYPES:
        return call
    if not call.agent and entry.agent:
        call = replace(call, agent=entry.agent)
    if entry.type.startswith("supervisor."):
        return _supervised(call, entry)
    for count, fields in enumerate(frames_of(entry, call)):
        stamps: Fields = {"ts": entry.ts} | ({"seq": entry.seq} if count == 0 else {})
        try:
            frame = msgspec.convert(fields | stamps, EVENTS[fields["event"]])
        except msgspec.ValidationError:
            continue
        call = reduce(call, frame)
    return call


def frames_of(entry: LogEntry, call: CallState) -> Iterator[Fields]:
    """Yield the frames that say what ``entry`` says; ``call`` is how things stand before it."""
    data, name = entry.data, entry.type
    match name:
        case "call.started" if data.get("channel") == "chat":
            yield {"event": "llm.chat.started"}
        case "call.started":
            yield data | {"event": name, "transport": data.get("channel", "unknown")}
        case "call.ended":
            yield {"event": name, "reason": data.get("reason", "unknown")} | _renamed(
                data, duration="duration_seconds"
            )
        case "user.speaking" if data.get("active"):
            yield {"event": "speech.started"}
        case "user.message":
            final = data.get("final", True)
            spoken = _renamed(data, id="message_id", text="text", language="language")
            yield {"event": "user.message" if final else "user.speaking"} | spoken
        case "bot.speaking":
            yield {"event": name, "message_id": data.get("id"), "text": _text(data)}
        case "bot.word":
            count = len(call.reply.words) if call.reply else 0
            word = _renamed(data, id="message_id", w="word")
            yield {"event": name, "word_index": count} | word
        case "bot.finished" | "bot.interrupted":
            yield {"event": name} | _renamed(
                data, id="message_id", at_word="words_spoken", reason="reason"
            )
        case "bot.corrected":
            yield {"event": "message.confirmed"} | _renamed(data, id="message_id", text="text")
        case "turn.end":
            yield {"event": name, "turn_id": data.get("turn")}
            latency = data.get("latency")
            parts = latency.items() if isinstance(latency, dict) else ()
            if known := {key: ms for key, ms in parts if ms is not None}:
                yield known | {"event": "turn.latency", "turn_id": data.get("turn")}
        case "tool.call":
            tool = _renamed(data, id="id", name="name") | {"arguments": _arguments(data)}
            yield {"event": "llm.tool_call", "msg_id": f"log {entry.seq}", "tool_calls": [tool]}
        case "tool.result":
            error = data.get("error")
            result = {"error": error} if error else data.get("result")
            yield {"event": "llm.tool_result", "tool_call_id": data.get("id"), "result": result}
        case "handoff.active":
            yield {"event": "session.paused"}
        case "handoff.released":
            yield {"event": "session.resumed"}
        case "call.ringing" | "call.routed" | "skill.loaded" | "skill.unloaded":
            yield data | {"event": name}
        case _:
            return  # nothing in it that a transcript shows


def _renamed(data: Fields, **names: str) -> Fields:
    """Return the fields of ``data`` that there are, under their names on the agent socket."""
    return {new: data[old] for old, new in names.items() if data.get(old) is not None}


def _text(data: Fields) -> str:
    """Return what the agent says: the text, or for a streamed reply its words."""
    text, words = data.get("text"), data.get("words")
    if text or not isinstance(words, list):
        return text if isinstance(text, str) else ""
    return " ".join(str(word.get("w", "")) for word in words if isinstance(word, dict))


def _arguments(data: Fields) -> str:
    arguments = data.get("args", {})
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def _supervised(call: CallState, entry: LogEntry) -> CallState:
    """Return the call with a supervisor's words, which the agent socket does not tell."""
    key = (entry.type, str(entry.seq))
    if key in call.seen:
        return call
    verb = "says" if entry.type == "supervisor.said" else "whispers"
    text = f"supervisor {verb}: {entry.data.get('text', '')}"
    notice = Notice(at=entry.ts, text=text)
    return replace(call, lines=(*call.lines, notice), seen=call.seen | {key})
