"""Commands about the model: history, prompt, variables, tools, skills, text turns."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from pinecall_cli.protocol.frames import (
    Command,
    Frame,
    JsonObject,
    MaybeBool,
    MaybeInt,
    MaybeObject,
    MaybeStr,
)


class HistoryGet(Command, tag="history.get"):
    """Ask for a session's history; answered by ``history.data``."""

    call_id: str
    request_id: MaybeStr = UNSET


class HistoryAdd(Command, tag="history.add"):
    """Append messages; answered, as all that follow, by ``history.updated``."""

    call_id: str
    messages: list[JsonObject]
    """OpenAI's message shape."""
    request_id: MaybeStr = UNSET


class HistorySet(Command, tag="history.set"):
    """Replace the history."""

    call_id: str
    messages: list[JsonObject]
    """OpenAI's message shape; may hold tool calls without their results."""
    request_id: MaybeStr = UNSET


class HistoryClear(Command, tag="history.clear"):
    """Empty the history."""

    call_id: str
    request_id: MaybeStr = UNSET


class HistorySetInstructions(Command, tag="history.set_instructions"):
    """Replace the prompt's template for one session."""

    call_id: str
    prompt: str
    request_id: MaybeStr = UNSET


class HistorySetVars(Command, tag="history.set_vars"):
    """Set prompt variables of one session, over all others; they add up."""

    call_id: str
    vars: JsonObject
    request_id: MaybeStr = UNSET


class HistoryAddContext(Command, tag="history.add_context"):
    """Append a text after the system prompt."""

    call_id: str
    text: str
    request_id: MaybeStr = UNSET


class SkillLoad(Command, tag="skill.load"):
    """Make a skill active from the next generation on."""

    call_id: str
    skill: str


class SkillUnload(Command, tag="skill.unload"):
    """Make a skill inactive from the next generation on."""

    call_id: str
    skill: str


class ToolResult(Frame):
    """What one tool returned; a failure is an ordinary result ``{"error": text}``."""

    tool_call_id: str
    result: Any = UNSET
    """Any JSON; absent when the tool returned nothing."""
    ephemeral: MaybeBool = UNSET
    """Use it for this reply, then drop it from the history."""
    no_followup: MaybeBool = UNSET
    """Skip the reply that follows, if every tool of the round says so."""


class LlmToolResult(Command, tag="llm.tool_result"):
    """The results of one round of tool calls, all in one frame."""

    call_id: str
    msg_id: str
    """Echo of the round's ``llm.tool_call``."""
    results: tuple[ToolResult, ...]


class LlmReady(Command, tag="llm.ready"):
    """Release a generation that ``llm.before`` announced."""

    call_id: str
    agent_id: MaybeStr = UNSET
    turn: MaybeInt = UNSET
    """Echo of ``llm.before``."""


class LlmChat(Command, tag="llm.chat"):
    """One text turn; a ``session_id`` that is new opens a session."""

    agent_id: str
    session_id: str
    text: str
    metadata: MaybeObject = UNSET
