"""Keeps calls as files: ``<call-id>.wav`` (caller left, agent right) and ``<call-id>.jsonl``.

Written as the call goes on, by a thread of its own, so the audio clock never waits for a disk;
valid at any moment, also after ``kill -9``. Files and folder are their owner's alone.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pinecall_cli.audio.pcm import interleave
from pinecall_cli.audio.wav import WavWriter
from pinecall_cli.server.speaking import RATE
from pinecall_cli.server.tape import Tape

log = logging.getLogger("pinecall.server")

BATCH = 25
"""Frames written at once: half a second."""


class Recorder:
    """Records one call into a folder. Any method may be called on the server's loop."""

    def __init__(self, folder: Path, call_id: str, rate: int = RATE) -> None:
        """Open the files; ``rate`` is that of both sides' frames, in Hz.

        Raises:
            OSError: If the folder cannot be written to.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in call_id)[:80]
        self.wav = folder / f"{name}.wav"
        self.events = folder / f"{name}.jsonl"
        self._sound = WavWriter(self.wav, rate, channels=2)
        descriptor = os.open(self.events, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._text = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")
        self._work: queue.SimpleQueue[bytes | str | None] = queue.SimpleQueue()
        self._pairs: list[bytes] = []
        self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
        self._thread.start()

    def hear(self, caller: bytes, agent: bytes) -> None:
        """Take both sides' frames of one position."""
        self._pairs.append(interleave(caller, agent))
        if len(self._pairs) >= BATCH:
            self._flush()

    def note(self, frame: str) -> None:
        """Take one event of the call, as its JSON text."""
        self._work.put(frame)

    def close(self) -> None:
        """Write what is left; returns at once."""
        self._flush()
        self._work.put(None)

    def join(self, timeout: float | None = None) -> None:
        """Wait until everything is on disk."""
        self._thread.join(timeout)

    def _flush(self) -> None:
        if self._pairs:
            self._work.put(b"".join(self._pairs))
            self._pairs.clear()

    def _write(self) -> None:
        failed = False
        while (item := self._work.get()) is not None:
            if failed:
                continue  # said once; the call goes on
            try:
                if isinstance(item, bytes):
                    self._sound.write(item)
                else:
                    self._text.write(item + "\n")
                    self._text.flush()
            except OSError as problem:
                failed = True
                log.error("recording %s stopped: %s", self.wav, problem.strerror or problem)
        for file in (self._sound, self._text):
            try:
                file.close()
            except OSError as problem:
                log.error("recording %s was not closed: %s", self.wav, problem.strerror)


@contextmanager
def recorded(
    folder: Path | None,
    call_id: str,
    tape: Tape,
    subscribe: Callable[[Callable[[str], None]], Callable[[], None]],
) -> Iterator[None]:
    """Record a call while the block runs, ``call.ended`` included; not at all without a folder.

    A disk that cannot be written to is said once in the log, and costs no call.
    """
    if folder is None:
        yield
        return
    try:
        recorder = Recorder(folder, call_id)
    except OSError as problem:
        log.error("cannot record to %s: %s", folder, problem.strerror or problem)
        yield
        return
    stops = (tape.listen(recorder.hear), subscribe(recorder.note))
    try:
        yield
    finally:
        for stop in stops:
            stop()
        recorder.close()
