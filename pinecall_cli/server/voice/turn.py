"""Turn-taking of one call: who has the floor, when a turn is over, when the caller cuts in.

A pure state machine (design: time is an argument, nothing is read from a clock, nothing is
awaited). Facts go in through methods: voice edges, decoded text, the end-of-turn judge's
probability, what is playing, and ticks. Orders come out of `Turns.take`: events to emit, audio
to decode or judge, a turn to answer, a reply to stop. All times are whole milliseconds of the
call's audio clock. The rules are events.md §5-§8 of the protocol:

- A turn ends when the judge says so in a silence that is long enough, or at the limit, and
  never before the words heard so far have been decoded.
- The caller's speech while a reply is pending, or has played for less than 2 s, *continues* the
  turn: the reply is void and the text goes on. Later it *cuts in*: a new turn.
- Every final transcript reaches a ``user.message``: what was said is never dropped because of
  when it was said. The one exception is a lone back-channel ("uh-huh") under the agent's
  speech, which is reported and not answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event
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
from pinecall_cli.server.voice.rules import TurnRules, is_back_channel

PREROLL_MS = 320
"""Audio kept from before the onset: the VAD needs 64 ms to be sure, soft starts need more."""
LEAST_CLEAR_MS = 40
"""What is not `Turns.faint_ms` of a voice may be up to a frame that nobody has judged yet."""
LONG_SEGMENT_MS = 12_000
"""Audio after which finished words are set down, so that decoding stays quick."""


class Turns:
    """The floor of one call. Feed it facts in the order they happen; drain `take` after each."""

    def __init__(self, rules: TurnRules, *, mint: Callable[[], str], epoch: float = 0.0) -> None:
        """Start with an empty floor.

        ``mint`` makes message ids; ``epoch`` is the wall-clock second of the audio clock's zero.
        """
        self.rules = rules
        self.turn_id = 0
        self.floor: Literal["idle", "user", "agent"] = "idle"
        self.playing: Playing | None = None
        self.stirring = False
        """Whether a voice may have begun just now: no turn ends before that is clear."""
        self.faint_ms = 0
        """How much of the voice that goes on now is too soft, or too doubtful, to cut in."""
        self._mint, self._epoch = mint, epoch
        self._orders: list[Order] = []
        self._jobs = 0
        # The caller's voice.
        self._voiced = False
        self._onset = 0
        self._last = 0
        self._speech_onset: int | None = None
        self._speech_turn = 0
        self._speech_end = 0
        self._voiced_ms = 0
        # The words of the open turn: parts set down, then the segment being decoded.
        self._parts: list[str] = []
        self._segment = 0
        self._heard, self._heard_upto = "", -1
        self._text_at = 0
        self._decoding: Decode | None = None
        self._partial_due = 0
        self._shown = ""
        # The silence being judged.
        self._asked = 0
        self._judging: int | None = None
        self._probability: float | None = None
        self._paused = False
        # What was promised.
        self._eager: tuple[str, str] | None = None
        self._answered = False
        """Whether a reply to the announced end of the open turn has been heard to its end."""
        self._pending_since: int | None = None
        self._contest: int | None = None
        self._contest_due = 0

    # -- facts ---------------------------------------------------------------------------

    def voice_started(self, onset: int, now: int, confidence: float) -> None:
        """Take the VAD's word that somebody has been speaking since ``onset``."""
        self._voiced, self._onset = True, onset
        self._asked, self._probability, self._judging = 0, None, None
        if self.floor == "user":
            self._resume(now)
        elif self.floor == "agent":
            if self._contest is None:
                self._contest, self._voiced_ms, self._heard = onset, 0, ""
                self._contest_due = onset + self.rules.min_speech_ms
        else:
            self._open(self.turn_id + 1, onset)
        if self._speech_onset is None:
            self._speech_onset = onset
            self._speech_turn = self._likely_turn()
            self._emit(
                events.SpeechStarted(
                    turn_id=self._speech_turn,
                    confidence=confidence,
                    timestamp=self._wall(onset),
                )
            )

    def voice_stopped(self, last: int, now: int) -> None:
        """Take the VAD's word that the last voiced frame ended at ``last``."""
        if not self._voiced:
            return
        self.tick(now)  # a barge-in that became due within the last frames
        self._voiced, self._last = False, max(last, self._onset)
        self._voiced_ms += self._last - self._onset
        self._paused = False

    def decoded(self, job: int, text: str, now: int, upto: int | None = None) -> None:
        """Take the text of a `Decode`; ``upto`` is where a piece really ended."""
        order = self._decoding
        if order is None or order.job != job:
            return
        self._decoding = None
        text = " ".join(text.split())
        if order.kind == "piece":
            self._parts += [text] if text else []
            self._segment = order.end if upto is None else upto
            self._heard, self._heard_upto = "", -1
            self._show(now)
            return
        if order.start != self._segment_start():
            return  # the segment was set down or replaced while this was being decoded
        self._heard = text
        if order.kind == "final":
            self._heard_upto, self._text_at = order.end, now
            if self._contest is not None and not self._voiced and order.end >= self._last:
                self._contested_words(text, now)
        else:
            rested = now + now - order.end
            self._contest_due = max(self._contest_due, rested)
            if self._voiced and self._cuts_in(text):
                self._take_floor(now)
            self._partial_due = max(self._partial_due, rested)
        if self.floor == "user":
            self._show(now)
        self.tick(now)

    def judged(self, job: int, probability: float, now: int) -> None:
        """Take the judge's probability that the turn is over."""
        if job != self._judging:
            return
        self._judging = None
        if self._voiced or self.floor != "user":
            return
        self._probability = probability
        if probability < self.rules.eager_threshold and not self._paused:
            self._paused = True
            self._emit(
                events.TurnPause(
                    turn_id=self.turn_id,
                    probability=round(probability, 3),
                    latency_ms=now - self._last,
                )
            )
        self.tick(now)

    def playback(self, playing: Playing | None, now: int) -> None:
        """Take what is playing now, once per step of the audio clock."""
        before, self.playing = self.playing, playing
        if playing is not None:
            self._pending_since = None
            if self.floor == "idle":
                self.floor = "agent"
        elif before is not None and self._pending_since is None and self.floor == "agent":
            self._release(now)
        elif before is not None and self._eager is not None and self.floor == "user":
            self._answered = before.turn_id == self.turn_id

    def reply_over(self, turn_id: int, now: int) -> None:
        """Take it that nothing (more) will be said in answer to ``turn_id``."""
        if turn_id == self.turn_id and self._pending_since is not None:
            self._pending_since = None
            if self.floor == "agent" and self.playing is None:
                self._release(now)

    def injected(self, text: str, now: int) -> None:
        """Take typed text as if it had been said and finished."""
        text = " ".join(text.split())
        if not text:
            return
        if self.floor == "agent":
            self._take_floor(now)
        elif self.floor == "idle":
            self._open(self.turn_id + 1, now)
            self._segment = now
        self._parts += [part for part in (self._heard, text) if part]
        self._heard, self._heard_upto, self._segment = "", now, now
        self._decoding, self._last, self._text_at = None, now, now
        self._speech_end = now
        self._finish(now)

    def tick(self, now: int) -> None:
        """Do what has become due at ``now``."""
        rules = self.rules
        if self.floor == "agent":
            if (
                self._pending_since is not None
                and self._contest is None
                and now - self._pending_since >= rules.pending_ms
            ):
                self._pending_since = None
                self._release(now)
            elif self._contest is not None:
                self._tick_contest(now)
        if self._voiced:
            if self.floor == "user":
                self._tick_voice(now)
            return
        if self._speech_onset is not None and now - self._last >= rules.hangover_ms:
            self._emit(
                events.SpeechEnded(
                    turn_id=self._speech_turn,
                    duration_ms=max(0, self._last - self._speech_onset),
                    timestamp=self._wall(self._last),
                )
            )
            self._speech_onset, self._speech_end = None, now
        if self.floor == "user":
            self._tick_silence(now)

    def close(self, now: int) -> None:
        """The call is over: report words that were heard but not yet part of a message."""
        text = self._text()
        if self.floor == "user" and text and (self._eager is None or self._eager[1] != text):
            self._emit(self._message(self._mint(), text, now))
        self.floor = "idle"

    def take(self) -> list[Order]:
        """Return the orders that have come up since the last call, oldest first."""
        orders, self._orders = self._orders, []
        return orders

    # -- the caller has the floor --------------------------------------------------------

    def _open(self, turn_id: int, onset: int) -> None:
        self.floor, self.turn_id = "user", turn_id
        self._parts, self._shown = [], ""
        self._new_segment(onset)
        self._eager, self._contest, self._pending_since = None, None, None
        self._answered = False
        self._paused, self._voiced_ms = False, 0
        self._asked, self._probability, self._judging = 0, None, None

    def _new_segment(self, onset: int) -> None:
        self._segment = max(0, onset - PREROLL_MS)
        self._heard, self._heard_upto, self._decoding = "", -1, None
        self._partial_due = onset + self.rules.partial_every_ms

    def _resume(self, now: int) -> None:
        """Go on speaking inside an open turn."""
        if self._paused:
            self._paused = False
            self._emit(events.TurnResumed(turn_id=self.turn_id, timestamp=self._wall(now)))
        if self._covered() and now - self._segment > LONG_SEGMENT_MS // 2:
            self._parts += [self._heard] if self._heard else []
            self._new_segment(self._onset)

    def _tick_voice(self, now: int) -> None:
        rules = self.rules
        if self._eager is not None and now - self._onset >= rules.resume_ms:
            self._continue(now)
        due = now - self._segment >= LONG_SEGMENT_MS
        if self._decoding is not None and not (due and self._decoding.kind == "partial"):
            return  # but interim words hold up nothing: they may wait for long
        if due:
            self._decode(self._segment, now, "piece")
        elif (
            now >= self._partial_due and self._voiced_ms + now - self._onset >= rules.min_speech_ms
        ):
            self._partial_due = now + rules.partial_every_ms
            self._decode(self._segment, now, "partial")

    def _tick_silence(self, now: int) -> None:
        rules, silence = self.rules, now - self._last
        if silence >= rules.final_after_ms and not self._covered():
            if self._voiced_ms < rules.min_speech_ms:
                if silence >= rules.hangover_ms:
                    self._heard_upto, self._text_at = now, now
                    if not self._text():
                        self._discard()
                        return
            elif (
                self._decoding is None
                or self._decoding.kind == "partial"
                or (self._decoding.kind == "final" and self._decoding.end < self._last)
            ):
                self._decode(self._segment, now, "final")
        if not rules.judged:
            if silence >= rules.silence_ms and self._covered() and not self.stirring:
                self._finish(now)
            return
        asks = sum(silence >= mark for mark in rules.ask_after_ms)
        sure = (self._probability or 0.0) >= rules.end_threshold
        if asks > self._asked and self._judging is None and not sure:
            self._asked, self._judging = asks, self._job()
            self._orders.append(Judge(self._judging, now))
        if not self._covered():
            return
        p = self._probability or 0.0
        if silence < rules.least_ms or self.stirring:
            return
        if p >= rules.end_threshold or silence >= rules.limit_ms:
            self._finish(now)
        elif p >= rules.eager_threshold and self._eager is None and self._text():
            self._announce(now, p)

    def _announce(self, now: int, probability: float) -> None:
        """Say that the turn is probably over, so that a reply may be prepared."""
        text, message_id = self._text(), self._mint()
        self._eager = (message_id, text)
        self._emit(self._message(message_id, text, now))
        self._emit(
            events.EagerTurn(
                turn_id=self.turn_id,
                message_id=message_id,
                text=text,
                probability=round(probability, 3),
                latency_ms=now - self._last,
            )
        )

    def _finish(self, now: int) -> None:
        text = self._text()
        if not text:
            self._discard()
            return
        if self._eager is not None and self._eager[1] != text:
            self._continue(now)
        if self._eager is None:
            message_id = self._mint()
            self._emit(self._message(message_id, text, now))
        else:
            message_id = self._eager[0]
        if self._speech_onset is not None:  # typed over speech: the order of events stays
            self._emit(events.SpeechEnded(turn_id=self.turn_id, duration_ms=0))
            self._speech_onset = None
        probability = 1.0 if self._probability is None else self._probability
        self._emit(
            events.TurnEnd(
                turn_id=self.turn_id,
                probability=round(probability, 3),
                latency_ms=now - self._last,
                text=text,
                message_id=message_id,
            )
        )
        self._orders.append(
            Answer(
                turn_id=self.turn_id,
                message_id=message_id,
                text=text,
                voice_end=self._last,
                vad_end=self._speech_end,
                text_at=self._text_at,
                decided_at=now,
            )
        )
        self.floor, self._pending_since = "agent", now
        self._eager, self._contest = None, None
        self._parts, self._heard, self._heard_upto = [text], "", now
        if self._answered:
            self.floor, self._pending_since = "idle", None

    def _discard(self) -> None:
        """Nothing was said: a cough, a click. The floor goes back to whoever had it."""
        self.turn_id -= 1
        self._parts, self._heard = [], ""
        self._decoding, self._judging = None, None
        self.floor = "idle" if self.playing is None else "agent"

    # -- the agent has the floor ---------------------------------------------------------

    def _tick_contest(self, now: int) -> None:
        """Decide about speech over the agent, or over its silence before a reply."""
        assert self._contest is not None
        rules = self.rules
        if self._voiced:
            if self.playing is None:
                if now - self._onset >= rules.resume_ms:
                    self._take_floor(now)
            elif rules.barge_in_ms is not None and now - self._onset >= rules.barge_in_ms:
                if now - self._onset - self.faint_ms >= max(rules.barge_in_ms, LEAST_CLEAR_MS):
                    self._take_floor(now)
                elif (
                    self._decoding is None
                    and now >= self._contest_due
                    and now - self._segment_start() < LONG_SEGMENT_MS
                ):
                    self._contest_due = now + rules.partial_every_ms
                    self._decode(self._segment_start(), now, "partial")
            return
        if now - self._last < rules.final_after_ms:
            return
        if self._voiced_ms < rules.min_speech_ms:
            if now - self._last >= rules.hangover_ms:
                self._contest = None
        elif not self._covered() and (self._decoding is None or self._decoding.kind == "partial"):
            self._decode(self._segment_start(), now, "final")

    def _contested_words(self, text: str, now: int) -> None:
        """Short words under the agent's speech: an objection, or a sign of listening?"""
        if not text:
            self._contest, self._heard = None, ""
        elif self.playing is not None and self._passes_by(text):
            self._contest, self._heard = None, ""
            self._emit(
                events.UserMessage(
                    message_id=self._mint(),
                    text=text,
                    confidence=1.0,
                    turn_id=self._speech_turn,
                    lag_ms=max(0, now - self._last),
                )
            )
        elif self.playing is None or self.rules.barge_in_ms is not None:
            self._take_floor(now)

    def _cuts_in(self, text: str) -> bool:
        """Return whether interim words of a voice that is too soft to cut in do so as words."""
        if self._contest is None or self.playing is None or self.rules.barge_in_ms is None:
            return False
        return bool(text) and not self._passes_by(text)

    def _passes_by(self, text: str) -> bool:
        """Return whether short words under the agent's speech leave it the floor."""
        rules = self.rules
        if rules.backchannel_filter and is_back_channel(text):
            return True
        return rules.barge_in_ms is not None and len(text.split()) < rules.min_words

    def _take_floor(self, now: int) -> None:
        """The caller speaks for good: the same turn goes on, or a new one begins."""
        onset = now if self._contest is None else self._contest
        words = (self._heard, self._heard_upto) if self._contest is not None else ("", -1)
        pending = self._decoding if self._contest is not None else None
        voiced = self._voiced_ms
        if self._continues():
            parts = list(self._parts)
            self._emit(events.TurnContinued(turn_id=self.turn_id, timestamp=self._wall(now)))
            self._orders.append(Continue(self.turn_id))
            self._open(self.turn_id, onset)
            self._parts = parts
        else:
            if self.playing is not None:
                self._orders.append(CutIn())
            self._open(self.turn_id + 1, onset)
        self._voiced_ms = voiced
        self._heard, self._heard_upto = words
        self._decoding = pending
        self.playing = None

    def _continues(self) -> bool:
        """Return whether the caller's speech belongs to the turn that was just answered."""
        if self.playing is None:
            return self._pending_since is not None
        tied = self.playing.turn_id == self.turn_id
        return tied and self.playing.played_ms < self.rules.continuation_ms

    def _continue(self, now: int) -> None:
        """Take back an announced end of turn."""
        self._emit(events.TurnContinued(turn_id=self.turn_id, timestamp=self._wall(now)))
        self._orders.append(Continue(self.turn_id))
        self._eager, self._answered = None, False

    def _release(self, now: int) -> None:
        """The agent has finished; speech that was waiting becomes a turn of its own."""
        self.floor = "idle"
        if self._contest is not None:
            contest, voiced = self._contest, self._voiced_ms
            words, pending = (self._heard, self._heard_upto), self._decoding
            self._open(self.turn_id + 1, contest)
            self._voiced_ms = voiced
            if words[1] >= 0:
                self._heard, self._heard_upto = words
            self._decoding = pending
            self.tick(now)

    # -- small things --------------------------------------------------------------------

    def _likely_turn(self) -> int:
        """The turn that speech starting now will probably belong to."""
        if self.floor != "agent":
            return self.turn_id
        if self.playing is None:
            return self.turn_id if self._pending_since is not None else self.turn_id + 1
        soon = self.playing.played_ms + (self.rules.barge_in_ms or 0)
        tied = self.playing.turn_id == self.turn_id
        return self.turn_id if tied and soon < self.rules.continuation_ms else self.turn_id + 1

    def _segment_start(self) -> int:
        if self._contest is not None:
            return max(0, self._contest - PREROLL_MS)
        return self._segment

    def _covered(self) -> bool:
        """Return whether everything voiced so far has been decoded."""
        return self._heard_upto >= self._last

    def _text(self) -> str:
        return " ".join(part for part in (*self._parts, self._heard) if part)

    def _show(self, now: int) -> None:
        """Send the words heard so far, when they have changed."""
        text = self._text()
        if text and text != self._shown:
            self._shown = text
            self._emit(events.UserSpeaking(text=text, confidence=1.0, turn_id=self.turn_id))

    def _message(self, message_id: str, text: str, now: int) -> events.UserMessage:
        return events.UserMessage(
            message_id=message_id,
            text=text,
            confidence=1.0,
            turn_id=self.turn_id,
            lag_ms=max(0, self._text_at - self._last),
        )

    def _decode(self, start: int, end: int, kind: Literal["partial", "final", "piece"]) -> None:
        self._decoding = Decode(self._job(), start, end, kind)
        self._orders.append(self._decoding)

    def _job(self) -> int:
        self._jobs += 1
        return self._jobs

    def _emit(self, event: Event) -> None:
        self._orders.append(Emit(event))

    def _wall(self, at: int) -> float:
        return self._epoch + at / 1000
