"""How a frame that is not carried out is answered, each kind in its own form (commands.md §0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET, structs

from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Unknown
from pinecall_cli.protocol.refusal import ConfigRefused
from pinecall_cli.server.agents.claims import refuse_agent, refuse_line
from pinecall_cli.server.agents.registry import Connection, Refused
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.phone import phone_lines

LEGACY = frozenset(
    {"register", "update_config", "update_session_config", "add_phone", "remove_phone"}
)
"""Frames that clients sent before there were agents on a connection (commands.md §12)."""

LINE_CODES = frozenset({"LINE_CONFLICT", "LINE_CONFIG_ERROR", "PHONE_NOT_IN_ORG", "UNAUTHORIZED"})
"""What ``line.error`` may say."""


class Answers:
    """Tells one connection why its frames were not carried out."""

    def __init__(self, server: VoiceServer, connection: Connection) -> None:
        self._server, self._connection = server, connection

    def refuse(self, frame: Any, refusal: Refused) -> None:
        """Say why a command was not carried out, in the form its kind is answered in."""
        if isinstance(frame, commands.AgentCreate):
            refuse_agent(self._connection, frame.agent_id, refusal)
        elif isinstance(frame, commands.LineCreate):
            code = refusal.code if refusal.code in LINE_CODES else phone_lines.CODE
            refuse_line(self._connection, frame.number, code, refusal.message)
        elif isinstance(frame, commands.CallDial | commands.CallBridge):
            self._connection.send(
                events.CallError(agent_id=frame.agent_id, error=refusal.message, code=refusal.code)
            )
        elif name_of(frame).startswith("history."):
            self._history(name_of(frame), structs.asdict(frame), refusal.message)
        else:
            about: dict[str, Any] = {
                key: getattr(frame, key)
                for key in ("agent_id", "call_id", "session_id")
                if isinstance(getattr(frame, key, None), str)
            }
            self._error(refusal.code, refusal.message, **(about | refusal.extra))

    def unknown(self, frame: Unknown) -> None:
        """Answer a frame that is of another generation, unknown, or not as its kind must be."""
        fields, problem = frame.fields, frame.problem
        about = {
            key: fields[key]
            for key in ("agent_id", "call_id", "session_id")
            if isinstance(fields.get(key), str)
        }
        if frame.event in LEGACY:
            self._error("UNSUPPORTED", f"`{frame.event}` is of a generation before this one")
        elif problem is None:
            name = frame.event[:100]
            self._error("UNKNOWN_EVENT", f"this server knows no `{name}`", **about)
        elif frame.event == "agent.create":
            why = f"REGISTRATION_ERROR: {problem}"
            self._error("REGISTRATION_ERROR", why, **about)
        elif frame.event.startswith("history."):
            self._history(frame.event, fields, problem)
        elif frame.event == "line.create":
            number = fields.get("number")
            number = number if isinstance(number, str) else ""
            refuse_line(self._connection, number, phone_lines.CODE, problem)
        elif frame.event == "llm.chat":
            stamps = {k: v for k, v in about.items() if k != "call_id"}
            self._connection.send(events.LlmChatError(error=problem, **stamps))
        else:
            self._error("INVALID_FRAME", problem, **about)

    def _history(self, name: str, fields: Mapping[str, Any], why: str) -> None:
        call, request = fields.get("call_id"), fields.get("request_id", UNSET)
        answer = events.HistoryData if name == "history.get" else events.HistoryUpdated
        stamps: dict[str, Any] = {}
        if isinstance(call, str):
            session = self._server.registry.session(self._connection.org, call)
            stamps = {"call_id": call, "session_id": call}
            if session is not None and session.agent.connection is self._connection:
                stamps["agent_id"] = session.agent.slug
        request = request if isinstance(request, str) else UNSET
        self._connection.send(answer(request_id=request, error=why, **stamps))

    def _error(self, code: str, message: str, **fields: Any) -> None:
        self._connection.send(events.Error(code=code, error=message, **fields))


def refused(wrong: Sequence[ConfigRefused]) -> Refused:
    """Return the answer to a configuration that the grammars refuse."""
    texts = [f"{one.message}; {one.fix}" if one.fix else one.message for one in wrong]
    return Refused(wrong[0].code.upper(), ". ".join(texts))


def name_of(frame: Any) -> str:
    """Return a frame's name on the wire."""
    return str(type(frame).__struct_config__.tag)
