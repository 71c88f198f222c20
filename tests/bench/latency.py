"""End of the caller's speech → the agent's first sound, off the recording and as the server says.

One real call: the embedded server in its thread, the microphone socket, every engine, and the
recordings played one after the other as a virtual caller plays them. Frame n of either side
stands at n·20 ms of the call's audio clock, so both are laid side by side, and the time is read
from the last sample of the caller above −50 dBFS to the first of the agent above it. Beside it
stands ``turn.latency``; then how often a turn ended before its recording did (a split), and how
often only the limit of silence ended it.

    python -m tests.bench.latency [--only NAME] [--phone] [--each] [--output PAIR.wav]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pinecall_cli.agent.load import load
from pinecall_cli.audio.pcm import FRAME_MS, interleave
from pinecall_cli.audio.resample import resample
from pinecall_cli.audio.wav import WavWriter
from pinecall_cli.caller.player import Player
from pinecall_cli.caller.steps import NOWHERE, Play, Step, Wait
from pinecall_cli.commands.talk import virtual
from pinecall_cli.errors import Where
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event, Received
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.voice.rules import TurnRules
from pinecall_cli.settings import Secret
from tests.bench.figures import head, row
from tests.bench.recordings import (
    RATE,
    Recording,
    first_audible,
    last_audible,
    recordings,
)

NUMBER = "+15550100"
AGENT = f"""\
name: bench
greeting: Hello.
phone_numbers: ["{NUMBER}"]
llm: openai/gpt-5-chat-latest
local: {{llm: script, script: bench.script.yaml}}
"""
SCRIPT = "- say: Okay, I have noted that.\n"
AGREE_MS = 40
PARTS = ("vad", "asr", "eou", "tools", "llm_ttft", "tts_ttfb", "playout", "other")


@dataclass
class Turn:
    """What became of one recording."""

    recording: Recording
    started: int
    """Where its first frame stands, in ms."""
    ended: int = 0
    """Where its last frame ends, room and all."""
    happened: list[Event] = field(default_factory=list)
    recorded: float | None = None
    """The time off the stereo recording, in ms; None if it was split, or its room is loud."""

    @property
    def said(self) -> events.TurnLatency | None:
        """The server's own account: of the reply that was heard to its end, so the last."""
        own = [event for event in self.happened if isinstance(event, events.TurnLatency)]
        return own[-1] if own else None

    @property
    def ends(self) -> list[events.TurnEnd]:
        """Every end of turn that the server announced; more than one: the turn was split."""
        return [event for event in self.happened if isinstance(event, events.TurnEnd)]

    @property
    def split(self) -> bool:
        """Whether the turn was taken from the caller before the recording was over."""
        return len(self.ends) > 1

    @property
    def late(self) -> bool:
        """Whether the limit ended the turn: the judge never said that it was over."""
        return not self.split and any(
            end.probability < TurnRules().end_threshold for end in self.ends
        )


class Tape:
    """Both sides of a call, and the turns in it."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.caller, self.agent = bytearray(), bytearray()
        self.turns: list[Turn] = []

    def at(self, side: bytearray) -> int:
        """Return how much of one side there is, in ms."""
        return len(side) * 500 // self.rate

    def measure(self) -> None:
        """Read the time of each turn off the tape."""
        caller, agent = bytes(self.caller), bytes(self.agent)
        nexts = [turn.started for turn in self.turns[1:]]
        for turn, until in zip(self.turns, [*nexts, self.at(self.agent)], strict=True):
            last = last_audible(caller, self.rate, turn.started, turn.ended)
            if turn.recording.quiet and last is not None and not turn.split:
                first = first_audible(agent, self.rate, last, until)
                turn.recorded = None if first is None else first - last

    def write(self, path: Path) -> None:
        """Keep the call as a WAV file: caller left, agent right."""
        with WavWriter(path, self.rate, 2) as wav:
            wav.write(interleave(bytes(self.caller), bytes(self.agent)))


async def hold(played: Sequence[Recording], *, number: str | None = None) -> Tape:
    """Call the agent once, play it every recording, and return the tape."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer() as server:
        file = Path(folder) / "bench.yaml"
        file.write_text(AGENT, encoding="utf-8")
        file.with_name("bench.script.yaml").write_text(SCRIPT, encoding="utf-8")
        await server.engines.wait()
        client = Pinecall(Secret(server.key), server.url)
        client.add(load(file)[0].agent)
        try:
            await client.connect()
            await client.registered()
            async with Rest(server.url, Secret(server.key)) as rest:
                token = await rest.token("webrtc", "bench")
            async with await MicCall.dial(token.server, token.token, to=number) as call:
                return await record(call, played)
        finally:
            await client.disconnect()


async def record(call: MicCall, played: Sequence[Recording]) -> Tape:
    """Hold ``call`` as a caller who plays the recordings, and return the tape."""
    tape = Tape(call.rate)
    steps: list[Step] = [Wait("greeting")]
    sounds: dict[str | Path, bytes] = {}
    for number, one in enumerate(played):
        steps += [Play(Path(one.name), Where(one.name, number)), Wait("reply")]
        pcm = one.pcm if call.rate == RATE else resample(one.pcm, RATE, call.rate)
        sounds[Path(one.name)] = pcm
    player = Player(steps, sounds, rate=call.rate, stay=0.2)
    ends = virtual(call, player)

    async def frames() -> AsyncIterator[bytes]:
        async for frame in ends.frames():
            at, where = tape.at(tape.caller), player.where
            if where is not None and where is not NOWHERE:
                if where.line == len(tape.turns):
                    tape.turns.append(Turn(played[where.line], at))
                tape.turns[-1].ended = at + FRAME_MS
            tape.caller += frame
            yield frame

    def hear(received: Received) -> None:
        ends.heard(received)
        if tape.turns and isinstance(received.frame, Event):
            tape.turns[-1].happened.append(received.frame)

    await call.hold(frames, play=tape.agent.extend, hear=hear)
    if player.failure is not None:
        raise player.failure
    tape.measure()
    return tape


def report(turns: Sequence[Turn], *, each: bool = False) -> None:
    """Print what was measured."""
    if each:
        print(f"{'':<22} {'recorded':>9} {'e2e':>6}  parts")
        for turn in turns:
            print(line(turn))
    whole = [turn for turn in turns if turn.recorded is not None]
    recorded = [turn.recorded for turn in whole if turn.recorded is not None]
    told = [own for turn in whole if (own := turn.said) is not None]
    apart = [
        abs(turn.recorded - own.e2e)
        for turn in whole
        if turn.recorded is not None and (own := turn.said) is not None
    ]
    print(head("end of the caller's speech → the agent's first sound"))
    print(row("off the stereo recording", recorded, "ms", "goal 700, 1000"))
    print(row("turn.latency e2e", [own.e2e for own in told], "ms"))
    print(row("apart", apart, "ms", f"largest {max(apart, default=0):.0f}, goal {AGREE_MS}"))
    for part in PARTS:
        print(row(f"  {part}", [getattr(own, part) for own in told], "ms"))
    split, late = sum(turn.split for turn in turns), sum(turn.late for turn in turns)
    print(f"{len(turns)} turns: {split} split, {late} ended by the limit")


def line(turn: Turn) -> str:
    """Return one turn's figures."""
    own = turn.said
    parts = "" if own is None else " ".join(f"{part}={getattr(own, part)}" for part in PARTS)
    marks = [f"split {len(turn.ends)}×"] if turn.split else ["limit"] if turn.late else []
    judged = [f"p={end.probability:g}" for end in turn.ends]
    recorded = "-" if turn.recorded is None else f"{turn.recorded:.0f}"
    e2e = "-" if own is None else own.e2e
    return f"{turn.recording.name:<22} {recorded:>9} {e2e:>6}  {' '.join([parts, *judged, *marks])}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", metavar="NAME", help="recordings named so")
    parser.add_argument("--phone", action="store_true", help="as a phone call: 8 kHz µ-law")
    parser.add_argument("--each", action="store_true", help="a line for every turn")
    parser.add_argument("--output", type=Path, metavar="WAV", help="keep the stereo recording")
    chosen = parser.parse_args(arguments)
    tape = asyncio.run(hold(recordings(chosen.only), number=NUMBER if chosen.phone else None))
    if chosen.output:
        tape.write(chosen.output)
    report(tape.turns, each=chosen.each)


if __name__ == "__main__":
    main()
