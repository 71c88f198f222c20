"""What a session's messages may look like, and what of them a provider may be shown. Pure.

Messages are OpenAI's: ``role``, ``content``, and for tools ``tool_calls`` and ``tool_call_id``.
Applications restore conversations in which tool calls have lost their results, or the other way
round; we keep what they sent, and show a provider only what it accepts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

Message: TypeAlias = dict[str, Any]

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})

MAX_MESSAGES = 2000
"""A session's history; an hour's conversation has about 700."""

MAX_BYTES = 1024 * 1024
"""Of a history as JSON: no model reads more."""

MOST_TEXT = 256 * 1024
"""Bytes of a prompt, and of all variables or all context of a session."""


class HistoryRefusedError(ValueError):
    """Messages that cannot enter a history, and why; the sentence is the ack's ``error``."""


def checked(messages: object, before: Sequence[Message] = ()) -> list[Message]:
    """Return copies of ``messages``, fit to follow ``before``.

    Raises:
        HistoryRefusedError: If one is no message, or together they are too many or too long.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise HistoryRefusedError("messages must be a list")
    if len(before) + len(messages) > MAX_MESSAGES:
        raise HistoryRefusedError(f"a history has at most {MAX_MESSAGES} messages")
    copies = []
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise HistoryRefusedError(f"messages[{number}] is not an object")
        if message.get("role") not in ROLES:
            raise HistoryRefusedError(
                f"messages[{number}].role is none of {', '.join(sorted(ROLES))}"
            )
        if not isinstance(message.get("content"), str | list | None):
            raise HistoryRefusedError(f"messages[{number}].content is not a text")
        copies.append(copied(message))
    if len(msgspec.json.encode([*before, *copies])) > MAX_BYTES:
        raise HistoryRefusedError(f"a history has at most {MAX_BYTES // 1024} KiB")
    return copies


def copied(message: Mapping[str, Any]) -> Message:
    """Return a copy of a message that shares nothing with it."""
    copy: Message = msgspec.json.decode(msgspec.json.encode(message))
    return copy


def usable(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return what a provider accepts of ``messages``, in order.

    A tool call without its result and a result without its call are left out, as is an assistant
    message that then says nothing. Results directly follow their call, each at most once.
    """
    kept: list[Message] = []
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        role = message.get("role")
        if role == "tool":
            continue  # its call was not right before it
        if role != "assistant":
            kept.append({"role": "system" if role == "developer" else role, **content_of(message)})
            continue
        results: dict[str, Message] = {}
        while at < len(messages) and messages[at].get("role") == "tool":
            result = messages[at]
            results.setdefault(
                str(result.get("tool_call_id", "")),
                {
                    "role": "tool",
                    "tool_call_id": str(result.get("tool_call_id", "")),
                    "content": result.get("content") or "",
                },
            )
            at += 1
        calls = [call for call in calls_of(message) if call["id"] in results]
        if calls:
            kept.append({"role": "assistant", **content_of(message, None), "tool_calls": calls})
            kept += [results[call["id"]] for call in calls]
        elif message.get("content"):
            kept.append({"role": "assistant", **content_of(message)})
    return kept


def content_of(message: Mapping[str, Any], default: Any = "") -> Message:
    """Return the ``content`` of a message as a dictionary of its own."""
    return {"content": message.get("content") or default}


def calls_of(message: Mapping[str, Any]) -> list[Message]:
    """Return the well-formed tool calls of an assistant message, each id once."""
    calls: dict[str, Message] = {}
    entries = message.get("tool_calls")
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, Mapping):
            continue
        function = entry.get("function")
        source = function if isinstance(function, Mapping) else entry
        name, arguments = source.get("name"), source.get("arguments")
        if not isinstance(name, str) or not name or not isinstance(entry.get("id"), str):
            continue
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments or {}).decode()
        calls.setdefault(entry["id"], tool_call(entry["id"], name, arguments))
    return list(calls.values())


def tool_call(id: str, name: str, arguments: str) -> Message:
    """Return an entry of ``tool_calls``; ``arguments`` is a JSON text."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def kept(value: T, what: str) -> T:
    """Return ``value``, which is short enough to be kept for a whole session.

    Raises:
        HistoryRefusedError: If it is not.
    """
    if too_long(value):
        raise HistoryRefusedError(f"{what} of a session may have {MOST_TEXT // 1024} KiB at most")
    return value


def too_long(value: Any) -> bool:
    """Return whether a value is longer than a session keeps."""
    return len(msgspec.json.encode(value)) > MOST_TEXT
