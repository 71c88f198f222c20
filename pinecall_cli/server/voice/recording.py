"""Keeps calls as files: ``<call-id>.wav`` (caller left, agent right) and ``<call-id>.jsonl``.

Written as the call goes on, by a thread of its own, so the audio clock never waits for a disk;
valid at any moment, also after ``kill -9``. Files and folder are their owner's alone.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pinecall_cli.audio.pcm import interleave
from pinecall_cli.audio.wav import WavWriter, disk_full, said
from pinecall_cli.errors import InfrastructureError, PinecallError
from pinecall_cli.server.voice.speaking import RATE
from pinecall_cli.server.voice.tape import Tape

log = logging.getLogger("pinecall.server")

PAIR_BYTES = 4
"""Of one sample of each side."""
BATCH = 25
"""Frames written at once: half a second."""
LONGEST_S = 1_800.0
"""Of a recording that an agent asks for, unless it says another length (config.md §9)."""


class Recorder:
    """Records one call into a folder. Any method may be called on the server's loop."""

    def __init__(
        self,
        folder: Path,
        call_id: str,
        rate: int = RATE,
        *,
        longest_s: float | None = None,
        failed: Callable[[PinecallError], None] = lambda problem: None,
    ) -> None:
        """Open the files.

        Args:
            folder: Where to; it is made if it is not there.
            call_id: The call.
            rate: Of both sides' frames, in Hz.
            longest_s: Seconds of sound after which no more is kept; None for all of it.
            failed: Told, from another thread, why no more is recorded; the call goes on.

        Raises:
            PinecallError: If the folder cannot be written to.
        """
        self._failed = failed
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as problem:
            raise cannot_record(folder, problem) from None
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in call_id)[:80]
        self.wav = folder / f"{name}.wav"
        self.events = folder / f"{name}.jsonl"
        self._sound = WavWriter(self.wav, rate, channels=2)
        try:
            descriptor = os.open(self.events, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as problem:
            self._sound.close()
            raise cannot_record(folder, problem) from None
        self._text = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")
        self._work: queue.SimpleQueue[bytes | str | None] = queue.SimpleQueue()
        self._pairs: list[bytes] = []
        self._room = None if longest_s is None else round(longest_s * rate) * PAIR_BYTES
        """Bytes of sound that may still be kept."""
        self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
        self._thread.start()

    def hear(self, caller: bytes, agent: bytes) -> None:
        """Take both sides' frames of one position."""
        pair = interleave(caller, agent)
        if self._room is not None:
            pair = pair[: self._room]
            self._room -= len(pair)
        self._pairs.append(pair)
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
            except (OSError, PinecallError) as problem:
                failed = True
                self._stopped(problem)
        for file in (self._sound, self._text):
            try:
                file.close()
            except (OSError, PinecallError) as problem:
                if not failed:
                    self._stopped(problem)

    def _stopped(self, problem: OSError | PinecallError) -> None:
        ours = problem if isinstance(problem, PinecallError) else disk_full(self.events, problem)
        log.error("recording %s stopped: %s", self.wav, ours.message)
        self._failed(ours)


def remember(wav: Path, recordings: Path) -> None:
    """Leave a link to a recording in the folder of all recordings: `logs --export` looks there."""
    link = recordings / wav.name
    try:
        recordings.mkdir(parents=True, exist_ok=True, mode=0o700)
        if link.is_symlink():
            link.unlink()
        if not link.exists():  # the server may keep a recording of its own there
            link.symlink_to(wav.absolute())
    except OSError as problem:  # on Windows not everybody may make links
        log.info("%s: no link to it in %s: %s", wav, recordings, said(problem))


def longest_of(media: object) -> float:
    """Return how many seconds of a call an agent's ``media`` lets be recorded."""
    asked = media.get("maxDurationSeconds") if isinstance(media, Mapping) else None
    if isinstance(asked, bool) or not isinstance(asked, int | float):
        return LONGEST_S
    return float(asked) if 0 <= asked < math.inf else LONGEST_S


def cannot_record(folder: Path, problem: OSError) -> PinecallError:
    """Return the error for a folder that cannot be written to."""
    return InfrastructureError(
        f"cannot record to `{folder}`: {said(problem)}",
        code="recording",
        fix="name a folder that can be written to",
    )


@contextmanager
def recorded(
    folder: Path | None,
    call_id: str,
    tape: Tape,
    subscribe: Callable[[Callable[[str], None]], Callable[[], None]],
    *,
    recordings: Path | None,
    longest_s: float | None,
    failed: Callable[[PinecallError], None],
) -> Iterator[None]:
    """Record a call while the block runs, ``call.ended`` included; not at all without a folder.

    After ``longest_s`` its sound is kept no more, its events are. A link in ``recordings`` leads
    to one that is kept elsewhere. A disk that cannot be written to is said once in the log and to
    ``failed``, and costs no call.
    """
    if folder is None:
        yield
        return
    try:
        recorder = Recorder(folder, call_id, longest_s=longest_s, failed=failed)
    except PinecallError as problem:
        log.error("%s", problem.message)
        failed(problem)
        yield
        return
    if recordings is not None and recordings != folder:
        remember(recorder.wav, recordings)
    stops = (tape.listen(recorder.hear), subscribe(recorder.note))
    try:
        yield
    finally:
        for stop in stops:
            stop()
        recorder.close()
