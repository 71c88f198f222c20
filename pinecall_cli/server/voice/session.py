"""One voice call: hearing, turn-taking, the conversation and the voice, wired together.

The call advances in steps of 20 ms of its audio clock (`VoiceSession.step`): the caller's frames
in, one frame of the agent out. Nothing here reads a clock; a `Pace` says when the next step is
due, so a call runs in real time on a line and as fast as it can in a test.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol

from msgspec import UnsetType

from pinecall_cli.engines.types import EndOfTurn, Model, Recogniser, Synthesiser, Vad
from pinecall_cli.errors import EngineError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.config import greeting_for, merge_payload, session_limits
from pinecall_cli.protocol.frames import Command, Event
from pinecall_cli.protocol.ids import message_id
from pinecall_cli.server.dialogue.conversation import Conversation
from pinecall_cli.server.voice.activity import VoiceStarted, VoiceStopped
from pinecall_cli.server.voice.answering import Answering
from pinecall_cli.server.voice.arrivals import Arrivals
from pinecall_cli.server.voice.attention import Attention
from pinecall_cli.server.voice.details import CallDetails as CallDetails
from pinecall_cli.server.voice.details import OverLine
from pinecall_cli.server.voice.forwarding import Leg
from pinecall_cli.server.voice.hearing import Hearing
from pinecall_cli.server.voice.keys import Keypad
from pinecall_cli.server.voice.limits import Expire, Limits
from pinecall_cli.server.voice.line_part import LinePart
from pinecall_cli.server.voice.lines import Line
from pinecall_cli.server.voice.meters import Meters
from pinecall_cli.server.voice.opening import Opening
from pinecall_cli.server.voice.replies import Voice
from pinecall_cli.server.voice.rules import TurnRules, barge_in_of, clear_voice, turn_rules
from pinecall_cli.server.voice.speaking import FRAME_MS, SILENCE, Speaker
from pinecall_cli.server.voice.tape import Tape
from pinecall_cli.server.voice.turn import Turns

log = logging.getLogger("pinecall.server")


GREETING_HOLD_MS = 600
"""How long the greeting waits for a call with metadata to be configured (sessions.md §2)."""


class Ears(Protocol):
    """The speech engines a voice call needs; ``end_of_turn`` may be missing."""

    recogniser: Recogniser
    synthesiser: Synthesiser
    end_of_turn: EndOfTurn | None

    def vad(self) -> Vad:
        """Return a fresh voice detector."""
        ...


Pace = Callable[[int], Coroutine[Any, Any, None]]
"""Wait until the step at this position, in ms of the audio clock, is due."""
Forward = Callable[["VoiceSession", commands.CallForward], Coroutine[Any, Any, None]]
"""Find who a call is to go on with, and connect them (`VoiceSession.connect`)."""


class VoiceSession:
    """One call, from ``call.started`` to ``call.ended`` (the `Session` of the registry)."""

    def __init__(
        self,
        details: CallDetails,
        *,
        agent: Any,
        config: Mapping[str, Any],
        conversation: Conversation,
        choose_model: Callable[[Any], Model | None],
        engines: Ears,
        emit: Callable[[Event], None],
        wall: Callable[[], float],
        opening: Opening | None = None,
        forward: Forward | None = None,
        line_part: LinePart | None = None,
    ) -> None:
        """``emit`` stamps and sends; ``wall`` is epoch seconds, for what leaves the process.

        ``opening`` is what the agent says first in a call that it made; ``line_part`` is there
        in a call to a phone line.
        """
        self.call_id, self.agent, self.details = details.call_id, agent, details
        self.contact = details.contact
        self.config = dict(config)
        self.conversation = conversation
        self._choose_model, self._engines = choose_model, engines
        self._send, self._wall = emit, wall
        self.line_part = line_part
        """What a phone line has of the call; None once an agent has it."""
        self.on_hand_over: Callable[[], None] = lambda: None
        """Called when another owner has the call, before they hear of it."""
        self.speaker = Speaker()
        self.voice = Voice(self.speaker, engines.synthesiser, self._engine_failed)
        self.arrivals = Arrivals()
        self.hearing = Hearing(engines.vad(), edge=self._edge)
        self.tape = Tape(self.hearing.audio)
        self.turns = Turns(TurnRules(), mint=message_id, epoch=details.started_at)
        self._heed_interruption()
        self.limits = Limits(session_limits(self.config.get("session_limits")))
        self.meters = Meters(self.config, epoch=details.started_at, emit=self._emit)
        self.clock_ms = 0
        self.audible = True
        """Whether the caller can hear yet; until then the agent waits with all it has to say."""
        self._greet_at: int | None = GREETING_HOLD_MS if details.metadata else 0
        self._tasks: asyncio.TaskGroup | None = None
        self.answering = Answering(
            conversation,
            turns=self.turns,
            hearing=self.hearing,
            speaker=self.speaker,
            voice=self.voice,
            readers=engines,
            opening=opening,
            emit=self._emit,
            spawn=self._spawn,
            failed=self._engine_failed,
            clock=lambda: self.clock_ms,
        )
        self._ending: str | None = None
        self._when_ended: list[Callable[[], None]] = []
        self.attention = Attention(
            engines, emit=self._emit, spawn=self._spawn, failed=self._engine_failed
        )
        self.opener: Any = None
        """The connection that had this call made, if one did; it too may hang up."""
        self.keypad = Keypad()
        self._forward = forward
        self._leg: Leg | None = None
        self._running: set[asyncio.Task[None]] = set()

    # -- the call's life -----------------------------------------------------------------

    @property
    def announced(self) -> bool:
        """Whether the owner has heard of the call; a line lets the caller dial on first."""
        return self.line_part is None or not self.line_part.waiting

    async def run(self, line: Line, pace: Pace) -> None:
        """Hold the call until it ends; always closes with ``call.ended``."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                if self.announced:
                    self._announce()
                while self._ending is None:
                    line.send(self.step(line.receive()))
                    await pace(self.clock_ms)
                self._hang_up()
        finally:
            self._send(self.ended(self._ending or "failed"))

    def step(self, arrived: list[bytes]) -> bytes:
        """Advance the call by 20 ms: take what the caller sent, return the agent's frame."""
        if self.line_part is not None and self.line_part.due(self.clock_ms):
            self._announce()
        self._greet_when_due()
        frames = self.arrivals.lay(
            arrived,
            clock=self.clock_ms,
            position=self.hearing.position,
            voiced=self.hearing.voiced,
        )
        for frame in frames:
            self.hearing.push(self.attention.hear(frame))
            self.turns.stirring = self.hearing.stirring
            self.turns.faint_ms = self.hearing.faint_ms
            self.turns.tick(self.hearing.position)
            self.meters.caller(
                frame,
                self.hearing.position,
                speech=self.hearing.voiced,
                voice=self.hearing.probability,
            )
        self.answering.obey()
        self.answering.open_when_due()
        frame = self._next_frame(arrived)
        self.tape.step(frame)
        self.answering.played(frame)
        self.meters.agent(frame, self.clock_ms + FRAME_MS, speech=self.speaker.last is not None)
        self._count()
        self.voice.stepped()
        self.clock_ms += FRAME_MS
        return frame

    def _next_frame(self, heard: list[bytes]) -> bytes:
        """Return what the other side hears next: who it was forwarded to, keys, or the agent."""
        frame = self._instead(heard)
        if frame is None:
            return self.speaker.step()
        self.speaker.rest()
        return frame

    def _instead(self, heard: list[bytes]) -> bytes | None:
        """Return what is heard in the agent's place; None when the agent has the line."""
        if not self.audible:
            return SILENCE
        if self._leg is not None:
            return self._leg.step([] if self.attention.deaf else heard)
        frame = self.keypad.step()
        if frame is None and self.speaker.idle:
            frame = self.attention.music()
        return frame

    def end(self, reason: str) -> None:
        """Begin to end: ``call.ended`` follows within one step."""
        if self._ending is None:
            self._ending = reason

    @property
    def over(self) -> bool:
        """Whether the call is ending, or the caller talks to somebody else by now."""
        return self._ending is not None or self._leg is not None

    def when_ended(self, told: Callable[[], None]) -> Callable[[], None]:
        """Call ``told`` after the last frame of the call; returns how to take that back."""
        self._when_ended.append(told)

        def stop() -> None:
            if told in self._when_ended:
                self._when_ended.remove(told)

        return stop

    def reannounce(self) -> None:
        """Say again what this call is: its agent has come back."""
        if self.announced:
            self._send(self.details.started())

    def hand_over(
        self,
        agent: Any,
        details: CallDetails,
        config: Mapping[str, Any],
        conversation: Conversation,
    ) -> None:
        """Go on with another owner, who greets the caller at the next step.

        To be called once the call has fallen silent. The caller notices nothing else: their
        line, their turn and the clock go on.
        """
        self._spawn(self.conversation.aclose())
        self.agent, self.details, self.config = agent, details, dict(config)
        self.conversation, self.line_part = conversation, None
        self.answering.adopt(conversation)
        self._heed_interruption()
        self.limits = Limits(session_limits(self.config.get("session_limits")))
        self.meters.configure(self.config)
        self.attention.release()
        self._greet_at = self.clock_ms + (GREETING_HOLD_MS if details.metadata else 0)
        self.on_hand_over()

    # -- configuration -------------------------------------------------------------------

    def configure(self, patch: Mapping[str, Any]) -> None:
        """Change this call alone, from the next utterance on."""
        self._greet_at = None if self._greet_at is None else 0
        self.config = dict(merge_payload(self.config, patch))
        model = self.conversation.model
        if "llm" in patch:
            model = self._choose_model(patch["llm"])
        self.conversation.configure(patch, model)
        if "interruption" in patch or "config" in patch:
            self._heed_interruption()
        self.meters.configure(self.config)
        if isinstance(patch.get("language"), str):
            self.details = replace(self.details, language=patch["language"])
        if "session_limits" in patch:
            self.limits.change(session_limits(patch["session_limits"]))

    def payload_changed(self, patch: Mapping[str, Any]) -> None:
        """Hear of the agent's new configuration; live calls are changed by `configure` alone.

        flows.md §7: calls that are up keep what they have; `agent.configure` sets the default.
        """

    # -- commands of the agent's owner, and of the caller ----------------------------------

    def handle(self, command: Command) -> None:
        """Obey a call-scoped command (commands.md §6-§9)."""
        match command:
            case commands.BotReply() | commands.BotReplyStream() if self._leg is not None:
                self.refuse("CALL_FORWARDED", "the call goes on with somebody else")
            case commands.BotReply():
                self._spoken_first(command.in_reply_to)
                self.answering.words.reply(command)
            case commands.BotReplyStream():
                if command.action == "start":
                    self._spoken_first(command.in_reply_to)
                self.answering.words.stream(command)
            case commands.BotCancel(message_id=message):
                self.answering.cancel(message if isinstance(message, str) else None)
            case commands.BotClear():
                self.answering.clear()
            case commands.CallHangup(reason=str() as reason) if self.line_part is not None:
                self.end(self.line_part.ended_by(reason))
            case commands.CallHangup():
                self.end("hangup")
            case commands.CallDtmf(digits=digits):
                self._press(digits)
            case (
                commands.CallHold()
                | commands.CallUnhold()
                | commands.CallMute()
                | commands.CallUnmute()
            ):
                self.attention.obey(command)
            case commands.CallForward() if self._forward is not None:
                self._spawn(self._forward(self, command))
            case _:
                if not self.conversation.handle(command):
                    name = type(command).__struct_config__.tag
                    self.refuse("NOT_SUPPORTED", f"{name} is not available on this call")

    def refuse(self, code: str, why: str) -> None:
        """Tell the agent's owner that something cannot be done on this call."""
        self._emit(events.Error(code=code, error=why, call_id=self.call_id))

    def inject(self, text: str) -> None:
        """Take typed text as if the caller had said it."""
        self.turns.injected(text, self.hearing.position)
        self.limits.spoken()
        self.answering.obey()

    def mute(self, muted: bool) -> None:
        """Stop or start hearing the caller, who switched their microphone off or on."""
        self.attention.silenced = muted

    def human(self, text: str) -> None:
        """Say what a person wrote in the agent's place, after what is being said."""
        self.answering.begin(text)

    def pressed(self, digits: str) -> None:
        """Hear keys that the other side presses."""
        if self.line_part is not None:
            digits = self.line_part.pressed(digits)
        for event in self.keypad.pressed(digits):
            self._emit(event)

    def _press(self, digits: str) -> None:
        if self.details.transport != "phone":
            self.refuse("NOT_PHONE", "keys can be pressed on phone calls only")
            return
        sent = self.keypad.press(digits)
        if sent is None:
            keys = "keys: 0 to 9, * and #, a hundred at once"
            self.refuse("INVALID_DIGITS", f"`{digits[:40]}` is not {keys}")
        else:
            self._emit(sent)

    def connect(self, line: Line, to: str) -> None:
        """Go on with somebody else in the agent's place; it hears and says nothing more."""
        self.fall_silent()
        self._leg, self.answering.handed_on = Leg(line), True
        self._emit(events.CallForwarded(to=to))

    # -- saying things -------------------------------------------------------------------

    async def say(self, text: str) -> None:
        """Say a text, and return when it was heard or cut off."""
        await self.answering.say(text)

    async def say_asked(self) -> None:
        """Return when the texts that the application gave by now were heard or cut off."""
        await self.answering.say_asked()

    def fall_silent(self) -> None:
        """Drop what is said and what would be said next."""
        self.answering.fall_silent()

    def _greet_when_due(self) -> None:
        if self._greet_at is not None and self.clock_ms >= self._greet_at:
            self._greet_at = None
            self._greet()

    def _spoken_first(self, in_reply_to: str | UnsetType) -> None:
        """Leave the greeting to the application, which says something before it is due."""
        if not in_reply_to:
            self._greet_at = None

    def _greet(self) -> None:
        if self.details.direction != "inbound":
            return  # a call that the agent made has an opening of its own, if any
        own = None if self.agent is None else self.agent.language
        text = greeting_for(self.config.get("greeting"), self.details.language, own)
        text = self.conversation.expand(text) if text else ""
        if text:
            self.answering.begin(text)

    # -- what has happened ---------------------------------------------------------------

    def _edge(self, edge: VoiceStarted | VoiceStopped, now: int) -> None:
        match edge:
            case VoiceStarted(onset=onset, confidence=confidence):
                self.turns.voice_started(onset, now, confidence)
            case VoiceStopped(last=last):
                self.turns.voice_stopped(last, now)
        self.answering.obey()

    def _count(self) -> None:
        due = self.limits.step(
            FRAME_MS,
            caller=self.hearing.voiced,
            agent=self.attention.held  # nobody can be expected to answer music
            or self.answering.busy,
        )
        if isinstance(due, Expire):
            self._emit(events.SessionTimeout(reason=due.reason))
            self.end(due.reason)
        elif due is not None:
            self._emit(
                events.SessionIdleWarning(
                    remaining_seconds=due.remaining_seconds,
                    idle_timeout_seconds=due.idle_timeout_seconds,
                )
            )

    def _engine_failed(self, error: EngineError) -> None:
        log.warning("call %s: %s", self.call_id, error.message)
        self._emit(events.LlmError(error=error.message))

    # -- the ends ------------------------------------------------------------------------

    def _announce(self) -> None:
        """Tell the owner of the call, and of what has happened in it before."""
        part = self.line_part
        early = [] if part is None else part.close()
        if part is not None:
            self.details = replace(self.details, line=OverLine(part.extension))
        for event in (self.details.started(), *early):
            self._send(event)

    def _emit(self, event: Event) -> None:
        """Send an event, once the call has been announced."""
        if self.line_part is None or self.line_part.passes(event):
            self._send(event)

    def _hang_up(self) -> None:
        if not self.announced:
            self._announce()
        self.turns.close(self.hearing.position)
        self.answering.obey()
        self.answering.close()
        self.tape.flush()
        for told in tuple(self._when_ended):
            told()
        for task in tuple(self._running):
            task.cancel()
        self._spawn(self.conversation.aclose())

    def ended(self, reason: str) -> events.CallEnded:
        """Return what the call's owner is told when it ends for them now."""
        return self.details.ended(
            reason,
            self._wall(),
            seconds=round(self.clock_ms / 1000, 2),
            messages=self.conversation.history,
        )

    def _heed_interruption(self) -> None:
        barge_in = barge_in_of(self.config)
        self.turns.rules = turn_rules(barge_in, judged=self._engines.end_of_turn is not None)
        self.hearing.clear = clear_voice(barge_in)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._tasks is not None, "the call is not running"
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task
