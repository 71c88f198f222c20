"""Rooms with a virtual microphone and loudspeaker, and tapes of what is heard in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.engines.moonshine import Moonshine
from tests.audio.room import ROOT, RUNNER

HOLD = """
import json, os, sys
shared = {k: v for k, v in os.environ.items() if k.startswith("PULSE_") or k == "ALSA_CONFIG_PATH"}
print(json.dumps(shared), flush=True)
sys.stdin.read()
"""
"""Tells what programs in the room have to have in their environment, and keeps the room."""

RATE = 16_000
BYTES_PER_MS = 32
AUDIBLE_DBFS = -50.0
PATIENCE_S = 30.0


class Room:
    """A room of its own, until it is closed. ``--echo`` and ``--no-devices`` are options."""

    def __init__(self, *options: str) -> None:
        self._runner = subprocess.Popen(
            [str(RUNNER), *options, sys.executable, "-c", HOLD],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._runner.stdout is not None
        told = self._runner.stdout.readline()
        assert told, f"no room: exit {self._runner.wait()}"
        self.env: dict[str, str] = json.loads(told)
        """What a program needs to be in this room."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.communicate(timeout=PATIENCE_S)

    def say(self, path: Path) -> None:
        """Play a recording into the microphone, to its end."""
        self._run("paplay", "--device=micpipe", str(path))

    def lose_the_sound_server(self) -> None:
        """Take both devices away, as a crash of the sound server does."""
        self._run("pactl", "exit")

    def tape(self, device: str) -> Tape:
        """Return a tape of a device, already running: ``spk.monitor``, ``micpipe.monitor``."""
        return Tape(device, {**os.environ, **self.env})

    def _run(self, *argv: str) -> None:
        subprocess.run(argv, env={**os.environ, **self.env}, check=True, timeout=PATIENCE_S)


class Tape:
    """What is heard at one device, with the times at which it was heard. A context manager."""

    def __init__(self, device: str, env: dict[str, str]) -> None:
        shape = ["--raw", "--format=s16le", f"--rate={RATE}", "--channels=1"]
        self._recorder = subprocess.Popen(
            ["parec", f"--device={device}", *shape, "--latency-msec=100"],
            env=env,
            stdout=subprocess.PIPE,
        )
        self._sound = bytearray()
        self._begun = float("inf")
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.until(lambda tape: tape.ms > 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._recorder.terminate()
        self._recorder.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)

    @property
    def ms(self) -> int:
        """How much there is."""
        return len(self._sound) // BYTES_PER_MS

    def sound(self, start: int = 0, end: int | None = None) -> bytes:
        """Return the sound between two positions in ms."""
        return bytes(
            self._sound[start * BYTES_PER_MS : None if end is None else end * BYTES_PER_MS]
        )

    def quiet_ms(self) -> int:
        """Return how long it has been quiet by now."""
        step, now = 20, self.ms
        quiet = 0
        while quiet < now and level_dbfs(self.sound(now - quiet - step, now - quiet)) <= (
            AUDIBLE_DBFS
        ):
            quiet += step
        return quiet

    def until(self, true: Callable[[Tape], bool]) -> None:
        """Return once this is true of the tape."""
        with self._news:
            if not self._news.wait_for(lambda: true(self), PATIENCE_S):
                raise AssertionError(f"not heard within {PATIENCE_S:g} s")

    def wait_for_quiet(self, ms: int) -> None:
        """Return once it has been quiet for so long."""
        self.until(lambda tape: tape.ms > ms and tape.quiet_ms() >= ms)

    def stretches(
        self, *, apart_ms: int = 300, loud_dbfs: float = AUDIBLE_DBFS
    ) -> list[tuple[int, int]]:
        """Return where there is sound, in ms: stretches that lie at least so far apart."""
        found: list[tuple[int, int]] = []
        values = array("h", self.sound())
        bound = 32768 * 10 ** (loud_dbfs / 20)
        block = RATE // 1000
        for ms in range(len(values) // block):
            if max(map(abs, values[ms * block : (ms + 1) * block])) <= bound:
                continue
            if found and ms - found[-1][1] <= apart_ms:
                found[-1] = found[-1][0], ms + 1
            else:
                found.append((ms, ms + 1))
        return found

    def words(self, recogniser: Moonshine) -> str:
        """Return what a listener understood."""
        return " ".join(
            recogniser.recognise(self.sound(max(0, start - 100), end + 100))
            for start, end in self.stretches(apart_ms=500)
        )

    def time_of(self, ms: int) -> float:
        """Return when, on the monotonic clock, the sound at this position was heard."""
        return self._begun + ms / 1000

    def _read(self) -> None:
        assert self._recorder.stdout is not None
        while chunk := self._recorder.stdout.read1(1 << 16):  # type: ignore[attr-defined]
            now = time.monotonic()
            with self._news:
                self._sound += chunk
                # A recorder hands on in bursts; what came soonest after it was heard tells when.
                self._begun = min(self._begun, now - len(self._sound) / BYTES_PER_MS / 1000)
                self._news.notify_all()
        self._recorder.stdout.close()
