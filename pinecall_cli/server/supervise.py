"""What a human who watches a call may do to it (protocol: sessions.md §6)."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from pinecall_cli.protocol import commands
from pinecall_cli.protocol.frames import Frame
from pinecall_cli.protocol.ids import message_id
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.outlet import Outlet
from pinecall_cli.server.agents.registry import Refused
from pinecall_cli.server.agents.sessions import Session
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.tokens import Scope

ALLOWED: Final[dict[Scope, frozenset[str]]] = {
    "observe": frozenset(),
    "participate": frozenset({"say", "inject_text", "hangup"}),
    "supervise": frozenset({"say", "inject_text", "hangup", "whisper", "pause", "resume"}),
}
WITH_TEXT = frozenset({"say", "inject_text", "whisper"})
LONGEST_TEXT = 4_000
"""Characters; five minutes of speech."""


class Action(Frame):
    """A message of whoever watches."""

    action: str
    text: str = ""


ACTIONS: msgspec.json.Decoder[Action] = msgspec.json.Decoder(Action)


class Supervision:
    """One watcher's hand in one call; calling it obeys a message and returns what answers it."""

    def __init__(
        self, server: VoiceServer, org: Organisation, call_id: str | None, scope: Scope
    ) -> None:
        """``call_id`` is None where there is no one call; a call may still ring, or be over."""
        self._server, self._org, self._call_id, self._scope = server, org, call_id, scope
        self._by = "supervisor" if scope == "supervise" else "participant"

    def __call__(self, text: str) -> str | None:
        """Obey a message; None when that is all there is to say about it."""
        try:
            action = ACTIONS.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
            return error("BAD_ACTION", str(problem))
        if action.action not in ALLOWED["supervise"]:
            return error("UNKNOWN_ACTION", f"`{action.action[:80]}` is none that there is")
        if action.action not in ALLOWED[self._scope]:
            return error("SCOPE", f"`{action.action}` is beyond the scope `{self._scope}`")
        said = action.text.strip()
        if action.action in WITH_TEXT and not 0 < len(said) <= LONGEST_TEXT:
            return error("BAD_ACTION", f"`text` must have 1 to {LONGEST_TEXT} characters")
        call = self._call_id
        session = None if call is None else self._server.registry.session(self._org, call)
        outlet = None if session is None else self._server.outlet_of(session)
        if session is None or outlet is None or outlet.closed:
            return error("CALL_OVER", "there is no live call to act on")
        try:
            self._act(action.action, said, session, outlet)
        except Refused as refused:
            return error(refused.code, refused.message)
        return None

    def _act(self, action: str, text: str, session: Session, outlet: Outlet) -> None:
        told: dict[str, Any] = {"text": text, "by": self._by}
        match action:
            case "say":
                outlet.note("supervisor.said", told)
                session.handle(
                    commands.BotReply(
                        call_id=session.call_id,
                        message_id=message_id(),
                        text=text,
                        add_to_history=True,
                    )
                )
            case "inject_text":
                session.inject(text)
            case "hangup":
                session.end("hangup")
            case "whisper":
                outlet.note("supervisor.whispered", told)
                session.conversation.add("system", text)
            case "pause" if not session.conversation.held_back:
                session.conversation.held_back = True
                outlet.note("handoff.active", {"by": self._by})
            case "resume" if session.conversation.held_back:
                session.conversation.held_back = False
                outlet.note("handoff.released", {"by": self._by})


def error(code: str, message: str) -> str:
    """Return the answer to a message that was not obeyed."""
    return json.dumps({"type": "error", "code": code, "error": message})
