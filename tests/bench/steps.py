"""What the hot paths cost: a 20 ms step of a call, and an event on its way to the screen.

The step is a whole `VoiceSession.step` (hearing, turn machine, speaker, limits) with engines that
cost nothing, while nobody speaks, while the caller does and while the agent does; then the real
voice detector, which is called in the same step. An event is folded into the state and shown.

    python -m tests.bench.steps [--seconds N]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO, StringIO

from rich.console import Console

from pinecall_cli.call.session import SessionState, advance
from pinecall_cli.engines.script import ScriptModel
from pinecall_cli.engines.silero import Silero
from pinecall_cli.protocol.frames import Event
from pinecall_cli.server.dialogue.conversation import Conversation
from pinecall_cli.server.voice.session import CallDetails, VoiceSession
from pinecall_cli.server.voice.speaking import FRAME_BYTES, FRAME_MS, SILENCE
from pinecall_cli.view.live import LiveView
from pinecall_cli.view.ndjson import NdjsonView
from pinecall_cli.view.output import Output
from pinecall_cli.view.plain import PlainView
from pinecall_cli.view.twins import View
from tests.bench.figures import head, row
from tests.call.conversations import START, order_call
from tests.fakes.engines import Engines, utterance

REPLY = "one two three four five six seven eight nine ten " * 4


class StepClock:
    """A call at full speed that notes how long each step takes, and what went on in it."""

    def __init__(self, seconds: int) -> None:
        self.taken: dict[str, list[float]] = {"nobody": [], "the caller": [], "the agent": []}
        self.until = seconds * 1000
        self.engines = Engines({1: "tell me"})
        turn = bytes(2 * FRAME_BYTES) + utterance(1, 2000)
        self.caller = turn.ljust(20_000 * 32, b"\0")
        model = ScriptModel([{"say": REPLY}])
        self.conversation = Conversation(
            config={"preparing": False},
            channel="webrtc",
            model=model,
            emit=self.emit,
            now=lambda: datetime.now(UTC),
            metadata={},
        )
        self.session = VoiceSession(
            CallDetails("bench", "webrtc", "webrtc", "inbound", "webrtc"),
            agent=None,
            config={"preparing": False, "session_limits": {"idle_timeout_seconds": 3600}},
            conversation=self.conversation,
            choose_model=lambda llm: model,
            engines=self.engines,
            emit=self.emit,
            wall=time.time,
        )

    def emit(self, event: Event) -> None:
        """Drop an event: what becomes of it is measured by itself."""

    def receive(self) -> list[bytes]:
        """Return the caller's next frame."""
        at = self.session.clock_ms * 32 % len(self.caller)
        return [self.caller[at : at + FRAME_BYTES] or SILENCE]

    async def hold(self) -> None:
        """Run the call: one utterance of 2 s and a reply of some 10 s in every 20 s."""
        session = self.session
        step = session.step

        def timed(arrived: list[bytes]) -> bytes:
            begun = time.perf_counter()
            frame = step(arrived)
            taken = 1e6 * (time.perf_counter() - begun)
            who = (
                "the caller"
                if session.hearing.voiced
                else "nobody"
                if session.speaker.idle
                else "the agent"
            )
            self.taken[who].append(taken)
            return frame

        session.step = timed  # type: ignore[method-assign]
        await session.run(self, self.pace)

    def send(self, frame: bytes) -> None:
        """Take the agent's frame."""

    async def pace(self, position: int) -> None:
        """Let the call's tasks run between two steps."""
        if position >= self.until:
            self.session.end("hangup")
        for _ in range(5):
            await asyncio.sleep(0)


def detector(frames: int) -> list[float]:
    """Return what the real voice detector takes for each of so many frames, in µs."""
    vad = Silero().open()
    audio = utterance(1, 3200)
    size = 2 * vad.frame_samples
    taken = []
    for number in range(frames):
        at = number * size % (len(audio) - size)
        begun = time.perf_counter()
        vad.probability(audio[at : at + size])
        taken.append(1e6 * (time.perf_counter() - begun))
    return taken


class Sink(BytesIO):
    """Where a view's bytes go: nowhere in particular."""


def shown(view: View | None, rounds: int) -> list[float]:
    """Return what it takes to fold each event of a call, and to show it if there is a view."""
    taken = []
    for _ in range(rounds):
        state = SessionState()
        for received in order_call():
            begun = time.perf_counter()
            if isinstance(received.frame, Event):
                state = advance(state, received.frame, at=START)
            if view is not None:
                view.show(state, received, at=START)
            if isinstance(view, LiveView):
                view.draw()
            taken.append(1e6 * (time.perf_counter() - begun))
    return taken


async def views(rounds: int) -> dict[str, list[float]]:
    """Return the cost of an event for each kind of view."""
    console = Console(file=StringIO(), width=100, height=30, force_terminal=True)
    return {
        "an event: folded": shown(None, rounds),
        "  and written as NDJSON": shown(NdjsonView(Output(Sink())), rounds),
        "  and written as a plain line": shown(
            PlainView(Output(Sink()), encoding="utf-8", events=False, colour=False), rounds
        ),
        "  and drawn (12 a second at most)": shown(LiveView(console, Output(Sink())), rounds),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=120, help="of the call")
    chosen = parser.parse_args(arguments)
    clock = StepClock(chosen.seconds)
    asyncio.run(clock.hold())
    print(head(f"a step of {FRAME_MS} ms while … speaks"))
    for who, taken in clock.taken.items():
        print(row(who, taken, "µs", f"{mean_share(taken):.2f} % of a core"))
    print(row("the voice detector, per 32 ms", detector(30 * chosen.seconds), "µs"))
    for name, taken in asyncio.run(views(max(1, chosen.seconds // 2))).items():
        print(row(name, taken, "µs"))


def mean_share(taken: Sequence[float]) -> float:
    """Return the mean of steps as a share of the time they have, in percent."""
    return 100 * sum(taken) / max(1, len(taken)) / (1000 * FRAME_MS)


if __name__ == "__main__":
    main()
