"""Events of the model: its barrier, its tool calls, its skills, its failures."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from pinecall_cli.protocol.frames import Event, Frame, MaybeBool, MaybeInt, MaybeNumber, MaybeStr


class ToolCall(Frame):
    """A model's wish to run one tool; OpenAI's nested shape is flattened into it on arrival."""

    id: str
    name: str
    arguments: str = "{}"
    """A JSON text, never an object."""


class LlmToolCall(Event, tag="llm.tool_call"):
    """One round of tool calls; answered by one ``llm.tool_result`` with the same ``msg_id``."""

    msg_id: str
    """Fresh for every round; ``message_id`` is taken for it on arrival."""
    tool_calls: tuple[ToolCall, ...]


class LlmToolResult(Event, tag="llm.tool_result"):
    """What one tool returned, told to those who watch a call: one frame per tool call."""

    tool_call_id: MaybeStr = UNSET
    name: MaybeStr = UNSET
    result: Any = UNSET
    """Any JSON; some servers send it as a JSON text."""
    msg_id: MaybeStr = UNSET
    results: list[dict[str, Any]] | UnsetType = UNSET
    """Instead of the fields above, the whole round as the application sent it."""


class LlmBefore(Event, tag="llm.before"):
    """A generation is held back until ``llm.ready`` or the barrier's time limit."""

    turn: MaybeInt = UNSET


class LlmPreparingTimeout(Event, tag="llm.preparing_timeout"):
    """The barrier's time limit passed without ``llm.ready``."""

    turn: MaybeInt = UNSET
    waited_ms: MaybeNumber = UNSET
    budget_ms: MaybeNumber = UNSET


class LlmStart(Event, tag="llm.start"):
    """A generation has begun."""

    turn: MaybeInt = UNSET
    message_id: MaybeStr = UNSET
    model: MaybeStr = UNSET


class LlmThinking(Event, tag="llm.thinking"):
    """The model works on an answer."""

    turn: MaybeInt = UNSET
    text: MaybeStr = UNSET


class LlmToken(Event, tag="llm.token"):
    """A piece of an answer as the model wrote it."""

    token: MaybeStr = UNSET
    text: MaybeStr = UNSET
    """All of the answer so far."""
    message_id: MaybeStr = UNSET


class LlmResponse(Event, tag="llm.response"):
    """The whole answer as the model wrote it, which may be more than was heard."""

    text: MaybeStr = UNSET
    message_id: MaybeStr = UNSET
    model: MaybeStr = UNSET


class LlmDone(Event, tag="llm.done"):
    """A generation is over."""

    text: MaybeStr = UNSET
    message_id: MaybeStr = UNSET
    model: MaybeStr = UNSET


class LlmError(Event, tag="llm.error"):
    """The model failed or refused; the turn ends in silence for the caller."""

    error: str = ""
    code: MaybeStr = UNSET
    turn: MaybeInt = UNSET
    fatal: MaybeBool = UNSET


class SkillLoaded(Event, tag="skill.loaded"):
    """A skill is active from the next generation."""

    skill: str
    by: str = "manual"
    """``model`` or ``manual``."""


class SkillUnloaded(Event, tag="skill.unloaded"):
    """A skill is no longer active."""

    skill: str
    by: str = "manual"
    """``model`` or ``manual``."""
