"""What turn-taking orders, carried out: words recognised, turns answered, replies given up.

Engines and models run in tasks of the call and are given up when the caller goes on speaking. All
positions are ms of the call's audio clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol

from msgspec import UnsetType, structs

from pinecall_cli.audio.pcm import AUDIBLE_DBFS, first_above
from pinecall_cli.engines.types import EndOfTurn, Recogniser
from pinecall_cli.engines.worker import CALLS, INTERIM, unhurried
from pinecall_cli.errors import EngineError
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.protocol.ids import message_id
from pinecall_cli.server.dialogue.conversation import Conversation
from pinecall_cli.server.voice.hearing import Hearing
from pinecall_cli.server.voice.latency import Stopwatch
from pinecall_cli.server.voice.opening import Opening
from pinecall_cli.server.voice.orders import (
    Answer,
    Continue,
    CutIn,
    Decode,
    Emit,
    Judge,
    Order,
    Playing,
)
from pinecall_cli.server.voice.own_words import OwnWords
from pinecall_cli.server.voice.replies import Voice, one
from pinecall_cli.server.voice.speaking import RATE, Reason, Said, Speaker, Utterance
from pinecall_cli.server.voice.turn import Turns

JUDGED_MS = 8_000
"""How much of the caller's sound, up to now, the judge of a turn's end is shown."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Run work of a call until it is done or the call is over."""


class Readers(Protocol):
    """The engines that read the caller's sound; ``end_of_turn`` may be missing."""

    recogniser: Recogniser
    end_of_turn: EndOfTurn | None


class Answering:
    """The agent's part of one call: what it says, in answer or unasked."""

    def __init__(
        self,
        conversation: Conversation,
        *,
        turns: Turns,
        hearing: Hearing,
        speaker: Speaker,
        voice: Voice,
        readers: Readers,
        opening: Opening | None,
        emit: Callable[[Event], None],
        spawn: Spawn,
        failed: Callable[[EngineError], None],
        clock: Callable[[], int],
    ) -> None:
        """``failed`` is told of an engine that could not; ``clock`` is the call's, in ms."""
        self.on_silence: Callable[[str], None] = lambda message: None
        """Told of a reply that turned out to be none: the message's id."""
        self.handed_on = False
        """Whether the caller talks to somebody else by now: nothing is ordered any more."""
        self._turns, self._hearing = turns, hearing
        self._speaker, self._voice, self._readers = speaker, voice, readers
        self._opening = opening
        self._emit, self._spawn, self._failed, self._clock = emit, spawn, failed, clock
        self._reply: tuple[asyncio.Task[None], Utterance] | None = None
        self._greeting: Utterance | None = None
        self._known: str | UnsetType = ""
        """The last message that the history had before its turn was over."""
        self._watch: Stopwatch | None = None
        self._decoding: asyncio.Task[None] | None = None
        self.words = OwnWords(
            lambda utterance, pieces: spawn(self._say(utterance, pieces)),
            turn=lambda: turns.turn_id,
            emit=emit,
            answers=lambda: self._mark("first_token"),
        )
        self.adopt(conversation)

    def adopt(self, conversation: Conversation) -> None:
        """Answer from this conversation from now on."""
        self._conversation = conversation
        conversation.on_mark = self._mark
        self.words.asked = ""

    @property
    def busy(self) -> bool:
        """Whether something is being said, or will be in a moment."""
        return not self._speaker.idle or (self._reply is not None and not self._reply[0].done())

    # -- saying things -------------------------------------------------------------------

    def begin(self, text: str) -> None:
        """Say a text after what is being said."""
        self._spawn(self._say(Utterance(message_id(), text=text), one(text)))

    async def say(self, text: str) -> None:
        """Say a text after what is being said; return when it was heard or cut off."""
        utterance = Utterance(message_id(), text=text)
        await self._say(utterance, one(text))
        await self._voice.heard(utterance)

    async def say_asked(self) -> None:
        """Return when the texts that the application gave by now were heard or cut off."""
        last = self._speaker.asked
        if last is not None:
            await self._voice.heard(last)

    def cancel(self, message: str | None) -> None:
        """Take back one message, or what is being said now; what comes after it stays."""
        if message is None:
            current = self._speaker.current or (self._reply and self._reply[1])
            if current is None:
                return
            message = current.message_id
        self._forget(message)
        self._speaker.cancel(message)

    def clear(self) -> None:
        """Take back everything that is said or waits to be."""
        self._forget(None)
        self._speaker.interrupt("cancelled")

    def fall_silent(self) -> None:
        """Drop what is said and what would be said next."""
        self._watch = self._greeting = self._opening = None
        self.close()

    def close(self) -> None:
        """Say and answer nothing more."""
        self._give_up("cancelled")
        self._speaker.interrupt("cancelled")
        self._report()

    def open_when_due(self) -> None:
        """Say what the agent says first in a call that it made, once it is time."""
        opening = self._opening
        if opening is not None and opening.due(self._clock(), voiced=self._hearing.voiced):
            self._open(None)

    def _open(self, turn_id: int | None) -> None:
        """Speak the opening, unasked or in answer to a turn of the other side's."""
        assert self._opening is not None
        self._opening.spoken()
        text = self._conversation.expand(self._opening.text)
        self._greeting = Utterance(message_id(), turn_id=turn_id, text=text)
        self._reply = self._spawn(self._say(self._greeting, one(text))), self._greeting

    def _say(self, utterance: Utterance, pieces: AsyncIterator[str]) -> Coroutine[Any, Any, None]:
        """Queue an utterance, and return the work of speaking it.

        It has its place at once: whatever is commanded next can already take it back.
        """
        self._speaker.enqueue(utterance)
        return self._speak(utterance, pieces)

    async def _speak(self, utterance: Utterance, pieces: AsyncIterator[str]) -> None:
        await self._voice.speak(
            utterance, pieces, queued=True, first_audio=lambda: self._mark("first_audio")
        )

    async def _answer(self, answer: Answer, utterance: Utterance) -> None:
        turn = answer.turn_id
        try:
            spoke = await self._voice.speak(
                utterance,
                self._conversation.answer(answer.text, turn=turn),
                first_audio=lambda: self._mark("first_audio"),
            )
            if not spoke:
                self.on_silence(utterance.message_id)
        finally:
            if not utterance.audio:
                self._turns.reply_over(turn, self._hearing.position)

    # -- what the turn machine orders ----------------------------------------------------

    def obey(self) -> None:
        """Carry out what turn-taking has ordered since the last time."""
        orders = self._turns.take()
        if self.handed_on:
            return
        for order in orders:
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        match order:
            case Emit(event=event):
                if isinstance(event, events.UserMessage):
                    self.words.asked = event.message_id
                if isinstance(event, events.EagerTurn):
                    self._announced(event)
                if isinstance(event, events.TurnEnd) and self._opening and self._opening.after_turn:
                    event = structs.replace(event, source="bot")
                self._emit(event)
            case Decode():
                if self._decoding is not None:
                    self._decoding.cancel()  # nobody waits for its words any more
                self._decoding = self._spawn(self._decode(order))
            case Judge():
                self._spawn(self._judge(order))
            case Answer():
                self._begin_answer(order)
            case Continue():
                self._watch = None
                if self._opening is not None and self._greeting and not self._greeting.over:
                    self._opening.cut()
                self._greeting = None
                self._give_up("continuation")
                self._conversation.retract()
                self._speaker.interrupt("continuation")
                self._report()
            case CutIn():
                self._watch = self._greeting = None
                self._give_up("user_spoke")
                self._speaker.interrupt("user_spoke")
                self._report()

    def _begin_answer(self, answer: Answer) -> None:
        if self._opening is not None and self._opening.takes_turn:
            self._conversation.add("user", answer.text)
            self._open(answer.turn_id)
            return
        self._watch = Stopwatch(answer)
        if self._conversation.model is None:
            if answer.message_id != self._known:
                self._conversation.add("user", answer.text)
            return
        utterance = Utterance(message_id(), turn_id=answer.turn_id)
        self._reply = self._spawn(self._answer(answer, utterance)), utterance

    def _announced(self, eager: events.EagerTurn) -> None:
        """Let the history have a turn that is probably over before an early reply to it.

        The reply may have been heard when the turn is over for certain. Should the turn go on
        instead, `Continue` takes its words back.
        """
        if self._conversation.model is None and isinstance(eager.text, str):
            self._known = eager.message_id
            self._conversation.add("user", eager.text)

    def _give_up(self, reason: Reason) -> None:
        """Stop producing replies: whatever is generated or streamed now will not be heard."""
        self._drop_reply(reason)
        self._forget(None)

    def _forget(self, message: str | None) -> None:
        self.words.forget(message)
        if self._reply is not None and message == self._reply[1].message_id:
            self._drop_reply("cancelled")

    def _drop_reply(self, reason: Reason) -> None:
        """Stop the model; of a reply that has not reached the speaker, nobody else will tell."""
        if self._reply is None:
            return
        (task, utterance), self._reply = self._reply, None
        pending = not task.done() and not utterance.audio and not self._speaker.holds(utterance)
        task.cancel()
        if pending:
            self._emit(events.MessageAborted(message_id=utterance.message_id, reason=reason))

    async def _decode(self, order: Decode) -> None:
        end, upto = order.end, None
        if order.kind == "piece":
            end = upto = self._hearing.quiet_before(order.end)
        text = ""
        try:
            with unhurried(INTERIM if order.kind == "partial" else CALLS):
                text = await self._readers.recogniser.transcribe(
                    self._hearing.audio(order.start, end)
                )
        except EngineError as error:
            self._failed(error)
        self._decoding = None
        self._turns.decoded(order.job, text, self._hearing.position, upto)
        self.obey()

    async def _judge(self, order: Judge) -> None:
        assert self._readers.end_of_turn is not None
        start = max(0, order.end - JUDGED_MS)
        probability = await self._readers.end_of_turn.probability(
            self._hearing.audio(start, order.end)
        )
        self._turns.judged(order.job, probability, self._hearing.position)
        self.obey()

    # -- what has happened ---------------------------------------------------------------

    def played(self, frame: bytes) -> None:
        """Take note of what one step of the call has let the caller hear."""
        self._report()
        self._time(frame)
        self._turns.playback(self._playing(), self._hearing.position)
        self.obey()

    def _playing(self) -> Playing | None:
        current = self._speaker.current
        if current is not None and current.started:
            return Playing(current.played_ms, current.turn_id)
        if self._reply is not None:
            task, utterance = self._reply
            if utterance.started and not task.done():
                return Playing(utterance.played_ms, utterance.turn_id)
        return None

    def _report(self) -> None:
        """Emit what the speaker did, and let the conversation remember what was heard."""
        happened, said = self._speaker.take()
        for event in happened:
            self._emit(event)
        for end in said:
            self._remember(end)

    def _remember(self, said: Said) -> None:
        utterance = said.utterance
        if said.heard and utterance.remembered:
            if utterance.owned or utterance.turn_id is None:
                self._conversation.add("assistant", said.heard)
            else:
                self._conversation.confirm(said.heard)

    def _time(self, frame: bytes) -> None:
        """Send ``turn.latency`` with the first audible frame of the awaited reply.

        Its end point is the first sample above −50 dBFS in it, as a recording would show.
        """
        watch, last = self._watch, self._speaker.last
        if watch is None or last is None or last.turn_id != watch.answer.turn_id:
            return
        sound = first_above(frame, AUDIBLE_DBFS)
        if sound is not None:
            self._watch = None
            at = self._clock() + sound * 1000 // RATE
            self._emit(watch.report(last.message_id, at))

    def _mark(self, point: str) -> None:
        if self._watch is not None:
            self._watch.mark(point, self._clock())
