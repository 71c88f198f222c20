"""Plays a virtual caller into one call: events in, 20 ms frames and key presses out.

Pure. Times are seconds on the call's audio clock: the frame asked for at ``now`` is heard from
``now`` to ``now`` + 20 ms. The order of a driver is: hand over the events that have come, ask for
a frame, send it, carry out `actions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Literal, TypeAlias

from pinecall_cli.audio.pcm import FRAME_MS, frames, silence
from pinecall_cli.caller.ear import NEVER, SLACK_S, Ear
from pinecall_cli.caller.line import Line
from pinecall_cli.caller.steps import (
    NOWHERE,
    TIMEOUT_S,
    Hangup,
    Interrupt,
    LineQuality,
    Play,
    Press,
    Say,
    Silence,
    Step,
    Wait,
)
from pinecall_cli.errors import CallFailedError, Where
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event

FRAME_S = FRAME_MS / 1000
NO_GREETING_S = 3.0
"""From the start of the call; an agent that has not spoken by then has no greeting."""
QUIET_S = 0.7
"""Silence after which a reply is over."""
STAY_S = 2.0
"""Silence after the last answer before hanging up."""
NO_ANSWER_S = 10.0
HEARD_LATE_S = 1.0
"""How long after a file's end the server may still report speech from it."""

Outcome: TypeAlias = Literal["ok", "caller_timeout", "reply_ended_before_interrupt", "no_answer"]
Sounds: TypeAlias = Mapping[str | Path, bytes]
"""PCM at the call's rate for every text of `steps.texts` and every file of `steps.files`."""

_SPEECH = events.SpeechStarted | events.SpeechEnded | events.UserSpeaking


class Player:
    """One virtual caller in one call at ``rate`` Hz.

    ``stay`` is `--stay`: hang up so many seconds after the last thing said; None is the default,
    2 s after an answer. ``line`` spoils the caller's sound.

    Raises:
        ValueError: If the sound of a step is missing from ``sounds``.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        sounds: Sounds,
        *,
        rate: int = 16_000,
        stay: float | None = None,
        line: LineQuality | None = None,
    ) -> None:
        self.outcome: Outcome | None = None
        """How it went, once `done`."""
        self._steps = tuple(steps)
        self._sounds = sounds
        self._rate = rate
        self._stay = STAY_S if stay is None else max(0.0, stay)
        self._line = None if line is None else Line(line, rate)
        self._silence = silence(FRAME_MS, rate)
        self._ear = Ear()
        self._actions: list[Press | Hangup] = []
        self._index = 0
        self._began: float | None = None
        self._entered: float | None = None
        self._sound: Iterator[bytes] | None = None
        self._speaking = False
        self._file_until = NEVER
        self._target: int | None = None
        self._cut_in = False
        missing = [key for step in steps for key in _needed(step) if key not in sounds]
        if missing:
            raise ValueError(f"no sound was rendered for {missing[0]!r}")

    @property
    def done(self) -> bool:
        """Whether the call is over, or the caller has hung up; from then on there is silence."""
        return self.outcome is not None

    @property
    def failure(self) -> CallFailedError | None:
        """What went wrong, as an error of the outcome's name; None while nothing has."""
        if self.outcome in {None, "ok"}:
            return None
        step = self._step
        where = step.where if step is not None and step.where is not NOWHERE else None
        message, fix = _FAILURES[str(self.outcome)]
        return CallFailedError(message, where=where, fix=fix, code=self.outcome)

    @property
    def where(self) -> Where | None:
        """The step that is being played; None after the last."""
        return None if self._step is None else self._step.where

    @property
    def begun(self) -> int:
        """How many steps have begun; an interruption begins when the caller speaks."""
        waits = self._entered is None or (isinstance(self._step, Interrupt) and not self._speaking)
        return self._index if waits else min(self._index + 1, len(self._steps))

    def on_event(self, event: Event, now: float) -> None:
        """Take in one event of the call."""
        if self.done:
            return
        self._begin(now)
        if isinstance(event, events.CallStarted):
            self._began = now  # a phone line says it again when its owner hears of the call
        self._ear.hear(event, now)
        if self._ear.call_over:
            self._end("ok")  # the agent hung up: what was still to be done is dropped
        elif isinstance(event, _SPEECH) and now <= self._file_until:
            # Where speech lies in a file, and where only noise, the server knows.
            self._ear.spoke(now)
        elif isinstance(self._step, Interrupt) and self._entered is not None:
            self._watch(self._step, now)

    def next_frame(self, now: float) -> bytes:
        """Return the 20 ms that the caller sends at ``now``, silence included."""
        self._begin(now)
        frame = self._next_sound(now)
        if self.done:
            return self._silence
        if frame is None:
            frame = self._silence
        elif self._speaking:
            self._ear.spoke(now + FRAME_S)
        return frame if self._line is None else self._line.process(frame)

    def actions(self) -> list[Press | Hangup]:
        """Return the keys to press and whether to hang up, since this was last asked."""
        actions, self._actions = self._actions, []
        return actions

    @property
    def _step(self) -> Step | None:
        return self._steps[self._index] if self._index < len(self._steps) else None

    def _begin(self, now: float) -> None:
        if self._began is None:
            self._began = now

    def _next_sound(self, now: float) -> bytes | None:
        """Go on to the step that is due and return its sound, or None while it waits."""
        while not self.done:
            if self._sound is not None:
                frame = next(self._sound, None)
                if frame is not None:
                    return frame
                self._leave(now)
                continue
            if self._entered is None:
                self._entered = now
                self._enter(now)
                continue
            step = self._step
            if step is None:
                self._stay_on(now)
                return None
            if not self._is_over(step, now):
                return None
            if self._sound is None:
                self._leave(now)
        return None

    def _enter(self, now: float) -> None:
        match self._step:
            case Say(text=text):
                self._speak(text)
            case Play(file=file):
                self._ear.spoke(now)
                self._file_until = float("inf")
                self._sound = frames(self._sounds[file], self._rate)
            case Silence(seconds=seconds):
                self._sound = repeat(self._silence, round(seconds / FRAME_S))
            case Press() as press:
                self._actions.append(press)
            case Hangup():
                self._hang_up("ok")
            case Interrupt() as step:
                self._watch(step, now)

    def _speak(self, text: str) -> None:
        self._sound = frames(self._sounds[text], self._rate)
        self._speaking = True

    def _leave(self, now: float) -> None:
        if isinstance(self._step, Play):
            self._file_until = now + HEARD_LATE_S
        self._sound, self._speaking = None, False
        self._target, self._cut_in = None, False
        self._entered = None
        self._index += 1

    def _is_over(self, step: Step, now: float) -> bool:
        """Say whether a step that sends nothing by itself is over; an interruption may begin."""
        entered = self._entered if self._entered is not None else now
        match step:
            case Wait(until="greeting"):
                begun = self._began if self._began is not None else now
                if self._ear.began:
                    over = self._ear.reply is None
                else:
                    over = now - begun >= NO_GREETING_S - SLACK_S
            case Wait(until="reply"):
                over = self._ear.answered and self._ear.quiet(now, QUIET_S)
            case Wait(until=float() | int() as seconds):
                return now - entered >= seconds - SLACK_S
            case Interrupt():
                self._watch(step, now)
                if self._cut_in:
                    self._speak(step.text)
                over = self._cut_in
            case _:
                return True
        if not over and not self.done and now - entered >= step.timeout - SLACK_S:
            self._hang_up("caller_timeout")
        return over

    def _watch(self, step: Interrupt, now: float) -> None:
        """See whether the moment to interrupt has come, or has been missed."""
        reply = self._ear.reply
        if self._cut_in or self._sound is not None:
            return
        if reply is not None and self._target is None:
            self._target = self._ear.began
        if reply is not None and self._target == self._ear.began:
            if step.after_words is not None:
                self._cut_in = reply.words >= step.after_words
            else:
                self._cut_in = now - reply.began >= (step.after or 0.0) - SLACK_S
        elif self._target is not None:
            if self._ear.last_end == "continuation":
                self._target = None  # that reply is void, the one to interrupt is still to come
            else:
                self._hang_up("reply_ended_before_interrupt")

    def _stay_on(self, now: float) -> None:
        """After the last step: hang up once the agent has answered and been quiet."""
        ear = self._ear
        entered = self._entered if self._entered is not None else now
        if ear.reply is not None:
            return
        if ear.answered:
            if ear.quiet(now, self._stay):
                self._hang_up("ok")
                return
            patience = TIMEOUT_S  # a tool may run that long, and no longer
        else:
            patience = TIMEOUT_S if ear.busy else max(NO_ANSWER_S, self._stay)
        waited = now - max(entered, ear.spoke_at, ear.quiet_since)
        if waited >= max(patience, self._stay) - SLACK_S:
            self._hang_up("no_answer")

    def _hang_up(self, outcome: Outcome) -> None:
        self._actions.append(Hangup())
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._sound, self._speaking = None, False


def _needed(step: Step) -> tuple[str | Path, ...]:
    match step:
        case Say(text=key) | Interrupt(text=key):
            return (key,)
        case Play(file=file):
            return (file,)
        case _:
            return ()


_FAILURES = {
    "caller_timeout": (
        "the caller waited too long for the agent and hung up",
        "see what the agent did with `pinecall logs`, or give the step a longer `timeout:`",
    ),
    "reply_ended_before_interrupt": (
        "the reply ended before the caller could interrupt it",
        "interrupt earlier, or make the agent say more",
    ),
    "no_answer": (
        f"the agent did not answer within {NO_ANSWER_S:.0f} s",
        "an agent without `llm` is answered by its application; `pinecall agents check` says so",
    ),
}
