"""What other numbers in `TurnRules` would do to the recordings: turns split, turns late, the wait.

The real engines hear each recording, at once and not in real time; decoding and judging take
the time they take on 2 cores, by the audio clock. So a set of rules is
tried in seconds, where a call would take minutes. The wait is from the last sample above
−50 dBFS to the decision; the voice adds 40 to 60 ms.

    python -m tests.bench.rules [--only NAME] [RULE=VALUE[,VALUE…] …]
    python -m tests.bench.rules least_ms=400,480,560 limit_ms=800,1000
"""

from __future__ import annotations

import argparse
import ast
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import count, product
from typing import Any

from pinecall_cli.audio.pcm import silence
from pinecall_cli.engines.choose import SpeechEngines
from pinecall_cli.server.voice.activity import VoiceStarted, VoiceStopped
from pinecall_cli.server.voice.hearing import Hearing
from pinecall_cli.server.voice.orders import Answer, Decode, Judge
from pinecall_cli.server.voice.rules import TurnRules
from pinecall_cli.server.voice.turn import Turns
from tests.bench.figures import head, percentile
from tests.bench.recordings import RATE, Recording, last_audible, recordings

STEP_MS = 20
BEFORE_MS, AFTER_MS = 1000, 1600
DECODE_MS, JUDGE_MS = 130, 70
"""How long the recogniser and the judge take beside each other, measured in calls on 2 cores."""


@dataclass
class Heard:
    """A recording as the machine hears it, and what the judge says of any moment of it."""

    recording: Recording
    pcm: bytes = field(init=False)
    last: float = field(init=False)
    verdicts: dict[int, float] = field(default_factory=dict)
    texts: dict[tuple[int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pcm = silence(BEFORE_MS, RATE) + self.recording.pcm + silence(AFTER_MS, RATE)
        length = len(self.pcm) * 500 // RATE
        self.last = last_audible(self.pcm, RATE, 0, length) or 0.0

    async def text(self, engines: SpeechEngines, start: int, end: int) -> str:
        """Return what the recogniser understands between two moments."""
        if (start, end) not in self.texts:
            heard = await engines.recogniser.transcribe(self.pcm[start * 32 : end * 32])
            self.texts[start, end] = heard
        return self.texts[start, end]

    async def verdict(self, engines: SpeechEngines, end: int) -> float:
        """Return what the judge thinks at a moment."""
        if end not in self.verdicts:
            audio = self.pcm[max(0, end - 8000) * 32 : end * 32]
            self.verdicts[end] = await engines.end_of_turn.probability(audio)
        return self.verdicts[end]


@dataclass(frozen=True)
class Outcome:
    """How one recording's turn went."""

    wait_ms: float
    split: bool
    late: bool


async def play(heard: Heard, rules: TurnRules, engines: SpeechEngines) -> Outcome:
    """Let the turn machine hear a recording under ``rules``."""
    numbers = count(1)
    turns = Turns(rules, mint=lambda: f"m{next(numbers)}")

    def edge(happened: VoiceStarted | VoiceStopped, now: int) -> None:
        match happened:
            case VoiceStarted(onset=onset, confidence=confidence):
                turns.voice_started(onset, now, confidence)
            case VoiceStopped(last=last):
                turns.voice_stopped(last, now)

    hearing = Hearing(engines.vad(), edge=edge)
    answers: list[Answer] = []
    due: list[tuple[int, Callable[[int], None]]] = []
    size = RATE // 50 * 2
    for at in range(0, len(heard.pcm), size):
        hearing.push(heard.pcm[at : at + size])
        now = hearing.position
        for when, finish in [one for one in due if one[0] <= now]:
            due.remove((when, finish))
            finish(now)
        turns.stirring = hearing.stirring
        turns.tick(now)
        for order in turns.take():
            match order:
                case Decode(job=job, start=start, end=end, kind=kind):
                    upto = end if kind == "piece" else None
                    text = "words," if kind == "partial" else await heard.text(engines, start, end)
                    due.append(
                        (
                            now + DECODE_MS,
                            lambda t, j=job, x=text, u=upto: turns.decoded(j, x, t, u),
                        )
                    )
                case Judge(job=job, end=end):
                    p = await heard.verdict(engines, end)
                    due.append((now + JUDGE_MS, lambda t, j=job, p=p: turns.judged(j, p, t)))
                case Answer():
                    answers.append(order)
    last = answers[-1] if answers else None
    silence_ms = 0 if last is None else last.decided_at - last.voice_end
    return Outcome(
        wait_ms=0.0 if last is None else last.decided_at - heard.last,
        split=len(answers) > 1,
        late=len(answers) == 1 and silence_ms >= rules.limit_ms,
    )


def variants(given: Sequence[str]) -> list[dict[str, Any]]:
    """Return every combination of ``rule=value,value`` as keywords of `TurnRules`.

    Values are Python's; one that is a tuple needs its brackets.
    """
    known = {one.name for one in fields(TurnRules)}
    names, choices = [], []
    for text in given:
        name, _, values = text.partition("=")
        if name not in known:
            raise SystemExit(f"no such rule: {name} (there are {', '.join(sorted(known))})")
        names.append(name)
        choices.append(ast.literal_eval(f"[{values}]"))
    return [dict(zip(names, chosen, strict=True)) for chosen in product(*choices)]


async def compare(tried: Sequence[Heard], rules: Sequence[dict[str, Any]]) -> None:
    """Print a line for each set of rules."""
    engines = await SpeechEngines().wait()
    print(head("end of the caller's speech → the turn is decided, in ms"))
    for variant in rules:
        outcomes = [await play(heard, TurnRules(**variant), engines) for heard in tried]
        waits = [one.wait_ms for one in outcomes if not one.split]
        name = " ".join(f"{key}={value}" for key, value in variant.items()) or "as they are"
        split = [heard.recording.name for heard, o in zip(tried, outcomes, strict=True) if o.split]
        late = sum(one.late for one in outcomes)
        print(
            f"{name:<44} {percentile(waits, 50):>9.0f} {percentile(waits, 95):>9.0f}  "
            f"{len(split)} of {len(tried)} split {' '.join(split)}, {late} by the limit"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Try the sets of rules."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rules", nargs="*", metavar="RULE=VALUE[,VALUE…]")
    parser.add_argument("--only", default="", metavar="NAME", help="recordings named so")
    chosen = parser.parse_args(arguments)
    tried = [Heard(one) for one in recordings(chosen.only)]
    asyncio.run(compare(tried, variants(chosen.rules)))


if __name__ == "__main__":
    main()
