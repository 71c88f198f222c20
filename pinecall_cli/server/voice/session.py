"""One voice call: hearing, turn-taking, the conversation and the voice, wired together.

The call advances in steps of 20 ms of its audio clock (`VoiceSession.step`): the caller's frames
in, one frame of the agent out. Nothing here reads a clock; a `Pace` says when the next step is
due, so a call runs in real time on a line and as fast as it can in a test. Engines and models
run in tasks of the call and are given up when the caller goes on speaking.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol

from msgspec import structs

from pinecall_cli.audio.pcm import AUDIBLE_DBFS, first_above
from pinecall_cli.engines.types import EndOfTurn, Model, Recogniser, Synthesiser, Vad
from pinecall_cli.errors import EngineError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.config import greeting_for, interruption, merge_payload, session_limits
from pinecall_cli.protocol.frames import Command, Event
from pinecall_cli.protocol.ids import message_id
from pinecall_cli.server.dialogue.conversation import Conversation
from pinecall_cli.server.voice.activity import VoiceStarted, VoiceStopped
from pinecall_cli.server.voice.arrivals import Arrivals
from pinecall_cli.server.voice.attention import Attention
from pinecall_cli.server.voice.details import CallDetails as CallDetails
from pinecall_cli.server.voice.details import OverLine
from pinecall_cli.server.voice.forwarding import Leg
from pinecall_cli.server.voice.hearing import Hearing
from pinecall_cli.server.voice.keys import Keypad
from pinecall_cli.server.voice.latency import Stopwatch
from pinecall_cli.server.voice.limits import Expire, Limits
from pinecall_cli.server.voice.line_part import LinePart
from pinecall_cli.server.voice.lines import Line
from pinecall_cli.server.voice.opening import Opening
from pinecall_cli.server.voice.own_words import OwnWords
from pinecall_cli.server.voice.replies import Voice, one
from pinecall_cli.server.voice.speaking import FRAME_MS, RATE, SILENCE, Said, Speaker, Utterance
from pinecall_cli.server.voice.tape import Tape
from pinecall_cli.server.voice.turn import (
    Answer,
    Continue,
    CutIn,
    Decode,
    Emit,
    Judge,
    Order,
    Playing,
    TurnRules,
    Turns,
)

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
        self.turns = Turns(self._rules(), mint=message_id, epoch=details.started_at)
        self.limits = Limits(session_limits(self.config.get("session_limits")))
        self.clock_ms = 0
        self.audible = True
        """Whether the caller can hear yet; until then the agent waits with all it has to say."""
        self._greet_at: int | None = GREETING_HOLD_MS if details.metadata else 0
        self._tasks: asyncio.TaskGroup | None = None
        self._reply: tuple[asyncio.Task[None], Utterance] | None = None
        self._watch: Stopwatch | None = None
        self._words = OwnWords(
            lambda utterance, pieces: self._spawn(self._say(utterance, pieces)),
            turn=lambda: self.turns.turn_id,
            emit=self._emit,
            answers=lambda: self._mark("first_token"),
        )
        self._ending: str | None = None
        self._when_ended: list[Callable[[], None]] = []
        self.attention = Attention(
            engines, emit=self._emit, spawn=self._spawn, failed=self._engine_failed
        )
        self.opener: Any = None
        """The connection that had this call made, if one did; it too may hang up."""
        self.keypad = Keypad()
        self._opening, self._forward = opening, forward
        self._greeting: Utterance | None = None
        self._leg: Leg | None = None
        self._running: set[asyncio.Task[None]] = set()
        conversation.on_mark = self._mark

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
            self.turns.tick(self.hearing.position)
        self._obey()
        self._open_when_due()
        frame = self._next_frame(arrived)
        self.tape.step(frame)
        self._report()
        self._time(frame)
        self.turns.playback(self._playing(), self.hearing.position)
        self._obey()
        self._count()
        self.voice.stepped()
        self.clock_ms += FRAME_MS
        return frame

    def _next_frame(self, heard: list[bytes]) -> bytes:
        """Return what the other side hears next: who it was forwarded to, keys, or the agent."""
        if not self.audible:
            return SILENCE
        if self._leg is not None:
            return self._leg.step([] if self.attention.deaf else heard)
        frame = self.keypad.step()
        if frame is None and self.speaker.idle:
            frame = self.attention.music()
        return frame or self.speaker.step()

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
        conversation.on_mark = self._mark
        self.turns.rules = self._rules()
        self.limits = Limits(session_limits(self.config.get("session_limits")))
        self.attention.release()
        self._words.asked = ""
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
            self.turns.rules = self._rules()
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
                self._words.reply(command)
            case commands.BotReplyStream():
                self._words.stream(command)
            case commands.BotCancel(message_id=message):
                named = message if isinstance(message, str) else None
                self._forget(named)
                self.speaker.cancel(named)
            case commands.BotClear():
                self._forget(None)
                self.speaker.interrupt("cancelled")
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
        self._obey()

    def mute(self, muted: bool) -> None:
        """Stop or start hearing the caller, who switched their microphone off or on."""
        self.attention.silenced = muted

    def human(self, text: str) -> None:
        """Say what a person wrote in the agent's place, after what is being said."""
        self._spawn(self._say(Utterance(message_id(), text=text), one(text)))

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
            self.refuse("INVALID_DIGITS", f"`{digits[:40]}` is not keys: 0 to 9, * and #")
        else:
            self._emit(sent)

    def connect(self, line: Line, to: str) -> None:
        """Go on with somebody else in the agent's place; it hears and says nothing more."""
        self.fall_silent()
        self._leg = Leg(line)
        self._emit(events.CallForwarded(to=to))

    # -- saying things -------------------------------------------------------------------

    async def say(self, text: str) -> None:
        """Say a text, and return when it was heard or cut off."""
        utterance = Utterance(message_id(), text=text)
        await self._say(utterance, one(text))
        await self.voice.heard(utterance)

    def _greet_when_due(self) -> None:
        if self._greet_at is not None and self.clock_ms >= self._greet_at:
            self._greet_at = None
            self._greet()

    def _greet(self) -> None:
        if self.details.direction != "inbound":
            return  # a call that the agent made has an opening of its own, if any
        text = greeting_for(self.config.get("greeting"), self.details.language)
        text = self.conversation.expand(text) if text else ""
        if text:
            self._spawn(self._say(Utterance(message_id(), text=text), one(text)))

    def _open_when_due(self) -> None:
        opening = self._opening
        if opening is not None and opening.due(self.clock_ms, voiced=self.hearing.voiced):
            self._open(None)

    def _open(self, turn_id: int | None) -> None:
        """Speak the opening, unasked or in answer to a turn of the other side's."""
        assert self._opening is not None
        self._opening.spoken()
        text = self.conversation.expand(self._opening.text)
        self._greeting = Utterance(message_id(), turn_id=turn_id, text=text)
        self._reply = self._spawn(self._say(self._greeting, one(text))), self._greeting

    async def _say(self, utterance: Utterance, pieces: AsyncIterator[str]) -> None:
        await self.voice.speak(
            utterance, pieces, queued=True, first_audio=lambda: self._mark("first_audio")
        )

    async def _answer(self, answer: Answer, utterance: Utterance) -> None:
        turn = answer.turn_id
        try:
            await self.voice.speak(
                utterance,
                self.conversation.answer(answer.text, turn=turn),
                first_audio=lambda: self._mark("first_audio"),
            )
        finally:
            if not utterance.audio:
                self.turns.reply_over(turn, self.hearing.position)

    # -- what the turn machine orders ----------------------------------------------------

    def _edge(self, edge: VoiceStarted | VoiceStopped, now: int) -> None:
        match edge:
            case VoiceStarted(onset=onset, confidence=confidence):
                self.turns.voice_started(onset, now, confidence)
            case VoiceStopped(last=last):
                self.turns.voice_stopped(last, now)
        self._obey()

    def _obey(self) -> None:
        orders = self.turns.take()
        if self._leg is not None:
            return  # they talk to somebody else now
        for order in orders:
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        match order:
            case Emit(event=event):
                if isinstance(event, events.UserMessage):
                    self._words.asked = event.message_id
                if isinstance(event, events.TurnEnd) and self._opening and self._opening.after_turn:
                    event = structs.replace(event, source="bot")
                self._emit(event)
            case Decode():
                self._spawn(self._decode(order))
            case Judge():
                self._spawn(self._judge(order))
            case Answer():
                self._begin_answer(order)
            case Continue():
                self._watch = None
                if self._opening is not None and self._greeting and not self._greeting.over:
                    self._opening.cut()
                self._greeting = None
                self._give_up()
                self.conversation.retract()
                self.speaker.interrupt("continuation")
                self._report()
            case CutIn():
                self._watch = self._greeting = None
                self._give_up()
                self.speaker.interrupt("user_spoke")
                self._report()

    def _begin_answer(self, answer: Answer) -> None:
        if self._opening is not None and self._opening.takes_turn:
            self.conversation.add("user", answer.text)
            self._open(answer.turn_id)
            return
        self._watch = Stopwatch(answer)
        if self.conversation.model is None:
            self.conversation.add("user", answer.text)
            return
        utterance = Utterance(message_id(), turn_id=answer.turn_id)
        self._reply = self._spawn(self._answer(answer, utterance)), utterance

    def _give_up(self) -> None:
        """Stop producing replies: whatever is generated or streamed now will not be heard."""
        if self._reply is not None:
            self._reply[0].cancel()
            self._reply = None
        self._forget(None)

    def _forget(self, message: str | None) -> None:
        self._words.forget(message)
        if self._reply is not None and message == self._reply[1].message_id:
            self._reply[0].cancel()
            self._reply = None

    def fall_silent(self) -> None:
        """Drop what is said and what would be said next."""
        self._watch = self._greeting = self._opening = None
        self._give_up()
        self.speaker.interrupt("cancelled")
        self._report()

    async def _decode(self, order: Decode) -> None:
        end, upto = order.end, None
        if order.kind == "piece":
            end = upto = self.hearing.quiet_before(order.end)
        text = ""
        try:
            text = await self._engines.recogniser.transcribe(self.hearing.audio(order.start, end))
        except EngineError as error:
            self._engine_failed(error)
        self.turns.decoded(order.job, text, self.hearing.position, upto)
        self._obey()

    async def _judge(self, order: Judge) -> None:
        assert self._engines.end_of_turn is not None
        start = max(0, order.end - 8000)
        probability = await self._engines.end_of_turn.probability(
            self.hearing.audio(start, order.end)
        )
        self.turns.judged(order.job, probability, self.hearing.position)
        self._obey()

    # -- what has happened ---------------------------------------------------------------

    def _playing(self) -> Playing | None:
        current = self.speaker.current
        if current is not None and current.started:
            return Playing(current.played_ms, current.turn_id)
        if self._reply is not None:
            task, utterance = self._reply
            if utterance.started and not task.done():
                return Playing(utterance.played_ms, utterance.turn_id)
        return None

    def _report(self) -> None:
        """Emit what the speaker did, and let the conversation remember what was heard."""
        happened, said = self.speaker.take()
        for event in happened:
            self._emit(event)
        for end in said:
            self._remember(end)

    def _remember(self, said: Said) -> None:
        utterance = said.utterance
        if said.heard and utterance.remembered:
            if utterance.owned or utterance.turn_id is None:
                self.conversation.add("assistant", said.heard)
            else:
                self.conversation.confirm(said.heard)

    def _time(self, frame: bytes) -> None:
        """Send ``turn.latency`` with the first audible frame of the awaited reply.

        Its end point is the first sample above −50 dBFS in it, as a recording would show.
        """
        watch, last = self._watch, self.speaker.last
        if watch is None or last is None or last.turn_id != watch.answer.turn_id:
            return
        sound = first_above(frame, AUDIBLE_DBFS)
        if sound is not None:
            self._watch = None
            at = self.clock_ms + sound * 1000 // RATE
            self._emit(watch.report(last.message_id, at))

    def _mark(self, point: str) -> None:
        if self._watch is not None:
            self._watch.mark(point, self.clock_ms)

    def _count(self) -> None:
        due = self.limits.step(
            FRAME_MS,
            caller=self.hearing.voiced,
            agent=self.attention.held  # nobody can be expected to answer music
            or not self.speaker.idle
            or (self._reply is not None and not self._reply[0].done()),
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
        self._obey()
        self._give_up()
        self.speaker.interrupt("cancelled")
        self._report()
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

    def _rules(self) -> TurnRules:
        nested = self.config.get("config")
        value = self.config.get("interruption")
        if value is None and isinstance(nested, Mapping):
            value = nested.get("interruption")
        barge_in = interruption(value)
        return replace(
            TurnRules(),
            judged=self._engines.end_of_turn is not None,
            barge_in_ms=int(barge_in.min_duration_ms) if barge_in.enabled else None,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._tasks is not None, "the call is not running"
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task
