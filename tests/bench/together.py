"""All six commands beside each other, from processes of their own, again and again.

A round: `dev` with two agents and `logs -f`; a call that dials out, listened to and recorded while
`agents` lists it; calls to every number that fails; tokens as two web pages would ask for them;
`agents kick`; then `dev` ends and begins anew under the same `logs -f`, and one more call. Exit
codes and outputs are checked each time, and in the end what `logs -f` has printed is held against
what the call log keeps. A step waits for what is said, never for a time.

    python -m tests.bench.together [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.bench.figures import head, row
from tests.end_to_end.program import Program

AGENTS = Path(__file__).parents[2] / "agents"
ECHOES = "+15005550008"
"""It talks on for as long as it is answered, however slow the machine is on which others join."""
FAILING = {
    "+15005550001": "busy",
    "+15005550002": "no-answer",
    "+15005550003": "rejected",
    "+15005550004": "failed",
}
ALLOWED, FOREIGN = "http://localhost:3000", "https://evil.example"


class Round:
    """One round in a home of its own; raises AssertionError at whatever is not as it should be."""

    def __init__(self, home: Path, took: Callable[[str, float], None]) -> None:
        self.home, self._took = home, took
        self.calls: list[str] = []
        self.devs: list[Program] = []
        self._stack = ExitStack()

    @property
    def said(self) -> list[str]:
        """What every `dev` has said on stderr."""
        return [f"  dev: {line}" for dev in self.devs for line in dev.talk]

    def run(self) -> None:
        """Do all of it."""
        shutil.copytree(AGENTS, self.home / "agents", dirs_exist_ok=True)
        with self._stack:
            dev = self.begin_dev()
            follower = self.start("logs", "-f", "--json")
            follower.hears("following")
            self.talk()
            self.fail()
            self.tokens()
            self.kick(dev)
            self.start_anew(dev, follower)
            self.compare(follower)

    # -- the steps -------------------------------------------------------------------------

    def begin_dev(self) -> Program:
        """Start `dev` and wait until its agents can be called."""
        with self.timed("dev: ready"):
            dev = self.start("dev", "agents", "--json", "-v")
            self.devs.append(dev)
            ready = dev.wait("dev.ready")
        agents = [one["agent"] for one in ready["agents"]]
        assert agents == ["front-desk", "reservations"], agents
        return dev

    def talk(self) -> None:
        """Dial a number that answers, and listen in; end it as Ctrl-C does."""
        with self.timed("call: answered"):
            call = self.start("call", ECHOES, "--agent", "front-desk", "--yes", "--json")
            started = call.wait("call.started")
        self.calls.append(started["call_id"])
        with self.timed("listen: in the call"):
            listener = self.start("listen", "--record", "l.wav", "--no-audio")
            listener.hears("listening to")
        listed = self.told("agents", "--json")["agents"]
        assert [one["live_calls"] for one in listed] == [1, 0], listed
        with self.timed("Ctrl-C in call → all over"):
            call.signal(signal.SIGINT)
            assert call.end() == 130, call.talk
            assert listener.end() == 0, listener.talk
        (summary,) = call.of("call.summary")
        assert summary["reason"] == "hangup", summary
        with wave.open(str(self.home / "l.wav")) as recording:
            assert recording.getnframes(), "nothing was recorded"
        (self.home / "l.wav").unlink()

    def fail(self) -> None:
        """Dial every number that fails."""
        for number, reason in FAILING.items():
            with self.timed(f"call: {reason}"):
                self.dial_in_vain(number, reason)

    def dial_in_vain(self, number: str, reason: str) -> None:
        """Dial a number that fails, and check how that is told."""
        words = (number, "--agent", "front-desk", "--yes", "--json", "--ring-timeout", "1")
        call = self.start("call", *words)
        assert call.end() == 1, call.talk
        (summary,) = call.of("call.summary")
        assert summary["reason"] == reason, summary
        self.calls.append(summary["call_id"])

    def tokens(self) -> None:
        """Ask for tokens as a page that may have them, and as one that may not."""
        with self.timed("token: minted"):
            program = self.start("token", "front-desk", "--origin", ALLOWED)
            assert program.end() == 0, program.talk
        (token,) = program.out
        assert len(token.split()) == 1, token
        assert len(token) > 32, "a token is one long word"
        refused = self.start("token", "front-desk", "--origin", FOREIGN)
        assert refused.end() == 4, refused.talk
        assert refused.out == [], refused.out

    def kick(self, dev: Program) -> None:
        """Disconnect one agent; the other stays."""
        with self.timed("agents kick: told to dev"):
            program = self.start("agents", "kick", "front-desk", "--yes")
            assert program.end() == 0, program.talk
            dev.wait("agent.displaced", where=lambda record: record["agent"] == "front-desk")
        listed = self.told("agents", "--json")["agents"]
        assert [one["agent"] for one in listed] == ["reservations"], listed
        again = self.start("agents", "kick", "front-desk", "--yes")
        assert again.end() == 1, again.talk

    def start_anew(self, dev: Program, follower: Program) -> None:
        """End `dev` and begin another; whoever follows the log comes along."""
        with self.timed("SIGTERM in dev → ended"):
            assert dev.stop() == 143, dev.talk
        assert dev.wait("dev.stopped")["reason"] == "terminated"
        follower.hears("lost ")
        dev = self.begin_dev()
        before = follower.mark()
        self.dial_in_vain("+15005550001", "busy")
        follower.wait(
            "call.ended",
            since=before,
            where=lambda entry: entry["call"] == self.calls[-1],
        )
        follower.signal(signal.SIGINT)
        assert follower.end() == 130, follower.talk
        assert dev.stop() == 143, dev.talk

    def compare(self, follower: Program) -> None:
        """Hold what was followed against what was kept: the same entries, in order, once each."""
        for call_id in self.calls:
            program = self.start("logs", call_id, "--json")
            assert program.end() == 0, program.talk
            followed = [entry for entry in follower.records if entry.get("call") == call_id]
            assert followed == program.records, f"{call_id}: followed {followed}"

    # -- processes -------------------------------------------------------------------------

    def start(self, *words: str) -> Program:
        """Start `pinecall` with these words; it ends with the round at the latest."""
        place = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "run")}
        program = Program(*words, cwd=self.home, env=place)
        self._stack.callback(program.kill)
        return program

    def told(self, *words: str) -> dict[str, Any]:
        """Return the one document that a query prints."""
        with self.timed(" ".join(words)):
            program = self.start(*words)
            assert program.end() == 0, program.talk
        found = json.loads("".join(program.out))
        assert isinstance(found, dict)
        return found

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note how long a step takes, in seconds."""
        begun = time.perf_counter()
        yield
        self._took(step, time.perf_counter() - begun)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the rounds, print how long the steps took, and fail if a round has failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    chosen = parser.parse_args(arguments)
    taken: dict[str, list[float]] = {}
    failed = 0
    for number in range(1, chosen.rounds + 1):
        with tempfile.TemporaryDirectory() as name:
            round = Round(Path(name), lambda step, s: taken.setdefault(step, []).append(s))
            try:
                round.run()
            except AssertionError as problem:
                failed += 1
                print(f"round {number}: {problem}", file=sys.stderr)
                print(*round.said, sep="\n", file=sys.stderr)
    print(head(f"{chosen.rounds} rounds of all commands, {failed} failed"))
    for step, values in taken.items():
        print(row(step, values, "s"))
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
