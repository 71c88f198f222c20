"""Frames about calls: their start and end, what happens in them, and what the model asks for."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.codec import encode
from pinecall_cli.protocol.frames import Event, Unknown, wire_name
from pinecall_cli.protocol.ids import CHAT_PREFIX
from pinecall_cli.sdk import story
from pinecall_cli.sdk.call import Call, Said
from pinecall_cli.sdk.completed import as_voice, completed
from pinecall_cli.sdk.keeping import keep
from pinecall_cli.sdk.office import Office, end
from pinecall_cli.sdk.registration import same_number
from pinecall_cli.sdk.ringing import RingingCall
from pinecall_cli.sdk.toolbox import answer_round
from pinecall_cli.settings.logger import logger

OLD_WEBRTC_PREFIX = "wrt_"
"""Calls of older servers, which may be heard of before they are announced (events.md §2.3)."""
BEFORE_A_CALL = (events.CallRinging, events.CallDialing, events.CallRejected, events.CallError)
"""Events that bear a call id while there is no call yet, or will be none."""
ACKNOWLEDGED = (
    events.CallForwarded,
    events.CallDtmfSent,
    events.CallHeld,
    events.CallUnheld,
    events.CallMuted,
)
"""Events that answer a request of a call, by their own name."""
TAKEN_OVER = (events.SessionPaused, events.SessionResumed, events.SessionSent)
PASSING = frozenset(
    (
        events.BotWord,
        events.UserSpeaking,
        events.SpeechStarted,
        events.SpeechEnded,
        events.TurnPause,
        events.AudioMetrics,
        events.LlmStart,
        events.LlmToken,
        events.LlmDone,
    )
)
"""By far the most events of a call: nothing waits for them, and of them only words are kept."""
REMEMBERED_ROUNDS = 10_000
CHANNEL_KEYS = frozenset({"type", "ref", "ringing"})
"""Fields of a phone channel that are not configuration."""


class CallBook:
    """Keeps an office's calls as the server tells of them."""

    def __init__(self, office: Office, *, idle: Callable[[], None]) -> None:
        self._office = office
        self._idle = idle
        self._rounds: dict[str, tuple[events.ToolCall, ...]] = {}
        """Rounds of tool calls that were taken; a server may send one twice."""
        self._results: dict[tuple[str, str], None] = {}
        """Results of tools that were told, by call and id; a server may tell them once more."""
        office.answered = self._tools_answered

    # --- from start to end ---

    def started(self, event: events.CallStarted) -> None:
        """Open a call; one of the same id that is open is replaced: the server starts over."""
        agent_id, call_id = self._office.local_id(event.agent_id), id_of(event)
        if agent_id is None or call_id is None:
            return
        transport = event.transport
        if transport == "unknown" and call_id.startswith(OLD_WEBRTC_PREFIX):
            transport = "webrtc"
        call = self._open(
            agent_id,
            call_id,
            from_=event.from_,
            to=event.to,
            direction=event.direction,
            transport=transport,
            metadata=event.metadata if isinstance(event.metadata, dict) else None,
            language=event.language if isinstance(event.language, str) else None,
        )
        self._tell_start("call.started", event, call)

    def chat_started(self, event: events.LlmChatStarted) -> None:
        """Open a text session. The sender of ``llm.chat`` gets such a frame too: once counts."""
        agent_id, call_id = self._office.local_id(event.agent_id), id_of(event)
        if agent_id is None or call_id is None or call_id in self._office.calls:
            return
        if not isinstance(event.call_id, str):
            return  # the sender's copy, for an agent that is somewhere else
        call = self._chat(agent_id, call_id, event)
        self._tell_start("chat.started", event, call)

    def whatsapp_started(self, event: events.WhatsappSessionStarted) -> None:
        """Open a WhatsApp session."""
        agent_id, call_id = self._office.local_id(event.agent_id), id_of(event)
        if agent_id is None or call_id is None:
            return
        call = self._open(
            agent_id, call_id, from_=event.contact_phone, to=agent_id, transport="whatsapp"
        )
        self._tell_start("whatsapp.started", event, call)

    def ended(
        self,
        event: events.CallEnded
        | events.LlmChatEnded
        | events.LlmChatError
        | events.WhatsappSessionEnded,
    ) -> None:
        """Close a call; of one that is not open nobody is told."""
        call = self._office.call_of(event)
        if call is None:
            return
        match event:
            case events.CallEnded(reason=reason):
                pass
            case events.LlmChatError():
                reason = "chat_error"
            case events.LlmChatEnded():
                reason = "chat_completed"
            case _:
                reason = event.reason if isinstance(event.reason, str) else "ended"
        self._close(call, reason, event)

    def lost(self, reason: str) -> None:
        """Close every call: the connection is gone, or we are going."""
        for call in tuple(self._office.calls.values()):
            call.abort_streams("connection_lost", tell=False)
            self._close(call, reason, None)

    def _open(self, agent_id: str, call_id: str, **about: Any) -> Call:
        if call_id in self._office.calls:  # nobody hears what was being written for that one
            self._office.calls[call_id].abort_streams("call_ended")
        call = Call(
            self._office,
            id=call_id,
            agent_id=agent_id,
            overrides=self._channel_overrides(agent_id, about["to"]),
            **about,
        )
        self._office.calls[call_id] = call
        return call

    def _chat(self, agent_id: str, call_id: str, event: Any) -> Call:
        metadata, language = getattr(event, "metadata", None), getattr(event, "language", None)
        return self._open(
            agent_id,
            call_id,
            from_="chat",
            to=agent_id,
            transport="chat",
            metadata=metadata if isinstance(metadata, dict) else None,
            language=language if isinstance(language, str) else None,
        )

    def _channel_overrides(self, agent_id: str, to: str) -> set[str]:
        """Return the keys that the phone channel of a call sets for itself."""
        number = same_number(to)
        for channel in self._office.registrations[agent_id].channels:
            if channel["type"] == "phone" and same_number(channel["ref"]) == number:
                return channel.keys() - CHANNEL_KEYS
        return set()

    def _greet(self, call: Call) -> None:
        """Say the greeting that only the application knows (config.md §5)."""
        agent = self._office.agents.get(call.agent_id)
        greets = call.direction == "inbound" and call.transport != "whatsapp"
        if agent is None or agent.greet is None or not greets:
            return
        if call.transport == "chat" and agent.config.greeting_in_chat is not True:
            return
        greeting = agent.greet

        async def greet() -> None:
            text = greeting.function(call)
            if inspect.isawaitable(text):
                text = await text
            if text:
                call.say(str(text), add_to_history=greeting.remembered)

        self._office.crew.spawn(greet(), f"the greeting of {agent.name}")

    def _tell_start(self, name: str, event: Event, call: Call) -> None:
        keep(self._office, call)
        self._greet(call)
        self._office.tell(name, call, agent_id=call.agent_id, whole=(event, call))

    def _close(self, call: Call, reason: str, event: Event | None) -> None:
        call.abort_streams("call_ended")
        story.end(call, reason, event)
        self._office.calls.pop(call.id, None)
        answers = self._office.answers
        for key in answers.waiting(about=call.id):
            while end(answers, key, reason):
                pass
        said = event if event is not None else events.CallEnded(call_id=call.id, reason=reason)
        self._office.crew.call(call.take_handlers("call.ended"), said)
        self._office.tell("call.ended", call, reason, agent_id=call.agent_id, whole=(said, call))
        if not self._office.calls_of(call.agent_id):
            self._idle()

    # --- in between ---

    def happened(self, event: Event) -> None:
        """Take any other event that we know: of a call, of an agent, or of neither."""
        if isinstance(event, TAKEN_OVER):
            self._taken_over(event)
        if isinstance(event, events.LlmToolResult) and self._was_told(event):
            return
        call = self._office.call_of(event) or self._made_up(event)
        if call is not None:
            self._in_call(call, wire_name(type(event)), event)
            return
        if id_of(event) is None or isinstance(event, BEFORE_A_CALL):
            agent_id = self._office.local_id(event.agent_id)
            if isinstance(event, events.CallRinging) and agent_id is not None:
                ringing = self._ringing(event, agent_id)
                self._office.tell("call.ringing", event, ringing, agent_id=agent_id)
                return
            self._office.tell(wire_name(type(event)), event, agent_id=agent_id)

    def _taken_over(self, event: Event) -> None:
        """Settle a request of human takeover: about a session, or about the agent."""
        name, agent_id = wire_name(type(event)), self._office.local_id(event.agent_id)
        answers = self._office.answers
        if not answers.settle((name, str(event.session_id)), None) and agent_id is not None:
            answers.settle((name, agent_id), None)

    def _ringing(self, event: events.CallRinging, agent_id: str) -> RingingCall:
        return RingingCall(
            lambda frame: self._office.post(agent_id, frame),
            id=id_of(event) or "",
            agent_id=agent_id,
            from_=event.from_,
            to=event.to,
        )

    def unknown(self, event: Unknown) -> None:
        """Take an event that we do not know, under its own name (events.md §2.3)."""
        if not event.event or event.problem is not None:
            logger.warning("a frame that cannot be read: %s %s", event.event, event.problem)
            return
        ids = [event.fields.get(key) for key in ("call_id", "session_id")]
        call = next((c for id in ids if (c := self._office.calls.get(str(id)))), None)
        if call is not None:
            self._office.crew.call(call.take_handlers(event.event), event)
            self._office.tell(event.event, event, call, agent_id=call.agent_id)
        elif event.event.startswith("llm.") and not any(isinstance(id, str) for id in ids):
            agent_id = self._office.local_id(event.fields.get("agent_id"))
            self._office.tell(event.event, event, agent_id=agent_id)

    def _made_up(self, event: Event) -> Call | None:
        """Open the call of an event that came before its start, where that is known to happen."""
        agent_id, call_id = self._office.local_id(event.agent_id), id_of(event)
        if agent_id is None or call_id is None:
            return None
        early_chat = events.LlmChatChunk | events.ChatMessage | events.LlmToolCall
        if call_id.startswith(CHAT_PREFIX) and isinstance(event, early_chat):
            call, name = self._chat(agent_id, call_id, event), "chat.started"
        elif call_id.startswith(OLD_WEBRTC_PREFIX) and not isinstance(event, BEFORE_A_CALL):
            call = self._open(agent_id, call_id, from_="webrtc", to=agent_id, transport="webrtc")
            name = "call.started"
        else:
            return None
        self._tell_start(name, event, call)
        return call

    def _in_call(self, call: Call, name: str, event: Event) -> None:
        if type(event) in PASSING:
            if isinstance(event, events.BotWord):
                story.word(call, event)
            self._tell_in_call(call, name, event)
            return
        event = completed(call, event)
        story.before(call, event)
        self._spoken(call, event)
        self._acknowledged(call, event)
        self._tell_in_call(call, name, event)
        if (same := as_voice(event)) is not None:
            self._tell_in_call(call, wire_name(type(same)), same)
        story.after(call, event)

    def _tell_in_call(self, call: Call, name: str, event: Event) -> None:
        if handlers := call.take_handlers(name):
            self._office.crew.call(handlers, event)
        self._office.tell(name, event, call, agent_id=call.agent_id)

    def _spoken(self, call: Call, event: Event) -> None:
        """Settle what `Call.say` waits for."""
        match event:
            case events.BotFinished(message_id=id):
                said = Said("", interrupted=False)
            case events.BotInterrupted(message_id=id, reason=why):
                said = Said("", interrupted=True, reason=why if isinstance(why, str) else None)
            case (
                events.ReplyRejected(message_id=id, reason=why)
                | events.MessageAborted(message_id=id, reason=why)
            ):
                said = Said("", interrupted=True, reason=why if isinstance(why, str) else "dropped")
            case _:
                return
        for key in self._office.answers.waiting(kind="spoken", about=call.id):
            if id in (UNSET, "", key[2]):
                whose = Said(key[2], said.interrupted, said.reason)
                self._office.answers.settle(key, whose)

    def _acknowledged(self, call: Call, event: Event) -> None:
        """Settle the request of a call that an event acknowledges."""
        name = wire_name(type(event))
        match event:
            case events.SkillLoaded(skill=skill) | events.SkillUnloaded(skill=skill):
                self._office.answers.settle((name, call.id, skill), None)
            case events.CallUnmuted(muted_transcript=text):
                said = text if isinstance(text, str) else None
                self._office.answers.settle((name, call.id), said)
            case _ if isinstance(event, ACKNOWLEDGED):
                self._office.answers.settle((name, call.id), None)

    # --- the model ---

    def before_answer(self, event: events.LlmBefore) -> None:
        """Run the ``call.preparing`` handlers, then release the answer that waits for them."""
        call = self._office.call_of(event)
        if call is None:
            return
        self._tell_in_call(call, "llm.before", event)
        crew, agent = self._office.crew, self._office.agents.get(call.agent_id)
        handlers = [*call.take_handlers("call.preparing")]
        handlers += agent.take_handlers("call.preparing") if agent is not None else ()
        tasks = crew.call(handlers, call)
        ready = commands.LlmReady(call_id=call.id, agent_id=call.agent_id, turn=event.turn)

        async def release() -> None:
            await asyncio.wait(tasks)
            self._office.send(encode(ready))

        if tasks:
            crew.spawn(release(), "llm.ready")
        else:
            self._office.send(encode(ready))

    def tools_wanted(self, event: events.LlmToolCall) -> None:
        """Run a round of tool calls and answer it; with no tools at all, the code answers."""
        call, call_id = self._office.call_of(event) or self._made_up(event), id_of(event)
        chat = call_id is not None and call_id.startswith(CHAT_PREFIX)
        if call_id is None or (not chat and event.msg_id in self._rounds):
            return
        self._rounds[event.msg_id] = event.tool_calls
        if len(self._rounds) > REMEMBERED_ROUNDS:
            del self._rounds[next(iter(self._rounds))]
        if call is not None:
            self._tell_in_call(call, "llm.tool_call", event)
        agent_id = call.agent_id if call is not None else self._some_agent(event, chat)
        registration = self._office.registrations.get(agent_id or "")
        if agent_id is None or registration is None:
            return
        # As they are now: a reload must not reach into this round.
        tools = {**registration.tools, **(call.own_tools if call is not None else {})}
        if not tools:
            return

        async def answer() -> None:
            self._office.post(agent_id, await answer_round(event, call_id, call, tools))

        self._office.crew.spawn(answer(), "llm.tool_call")

    def _was_told(self, event: events.LlmToolResult) -> bool:
        """Tell whether the server repeats a result of ours; those of its own tools are news."""
        return (id_of(event) or "", str(event.tool_call_id)) in self._results

    def _tools_answered(self, agent_id: str, frame: commands.LlmToolResult) -> None:
        """Tell what tools have returned, one event for each."""
        names = {wanted.id: wanted.name for wanted in self._rounds.get(frame.msg_id, ())}
        call = self._office.calls.get(frame.call_id)
        for one in frame.results:
            self._results[frame.call_id, one.tool_call_id] = None
            if len(self._results) > REMEMBERED_ROUNDS:
                del self._results[next(iter(self._results))]
            event = events.LlmToolResult(
                agent_id=agent_id,
                call_id=frame.call_id,
                tool_call_id=one.tool_call_id,
                name=names.get(one.tool_call_id, UNSET),
                result=one.result,
            )
            if call is not None:
                self._tell_in_call(call, "llm.tool_result", event)
            else:
                self._office.tell("llm.tool_result", event, agent_id=agent_id)

    def _some_agent(self, event: events.LlmToolCall, chat: bool) -> str | None:
        """Return whose tools to run for a call that we do not know."""
        agent_id = self._office.local_id(event.agent_id)
        if agent_id is not None or chat:
            return agent_id
        return next((id for id, known in self._office.registrations.items() if known.tools), None)


def id_of(event: Event) -> str | None:
    """Return the call or session that an event names."""
    return next((id for id in (event.call_id, event.session_id) if isinstance(id, str)), None)
