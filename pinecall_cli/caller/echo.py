"""Somebody who repeats what they hear, once the other side has gone quiet. Pure."""

from __future__ import annotations

from collections import deque

from pinecall_cli.audio.pcm import AUDIBLE_DBFS, FRAME_MS, level_dbfs, silence
from pinecall_cli.caller.steps import Hangup, Press
from pinecall_cli.protocol.frames import Event

QUIET_MS = 700
"""Silence after which the other side is taken to have finished, as a virtual caller does."""
GIVE_UP_MS = 10_000
"""Silence after which nothing more will come, and the echo hangs up."""
LONGEST_MS = 60_000
"""What is repeated of one turn, at most."""


class Echo:
    """One such call at ``rate`` Hz: `hear` a frame, then ask for the `next_frame`."""

    def __init__(self, *, rate: int) -> None:
        self._silence = silence(FRAME_MS, rate)
        self._heard: deque[bytes] = deque(maxlen=LONGEST_MS // FRAME_MS)
        self._saying: deque[bytes] = deque()
        self._quiet_ms = 0
        self._over = False

    def hear(self, frame: bytes) -> None:
        """Take 20 ms of the other side."""
        if level_dbfs(frame) > AUDIBLE_DBFS:
            self._quiet_ms = 0
            self._saying.clear()  # they speak again: nobody repeats into that
        else:
            self._quiet_ms += FRAME_MS
        if self._heard or not self._quiet_ms:
            self._heard.append(frame)

    def on_event(self, event: Event, now: float) -> None:
        """Take in an event of the call; an echo knows what it hears alone."""

    def next_frame(self, now: float) -> bytes:
        """Return the 20 ms that are said at ``now``, silence included."""
        if self._heard and self._quiet_ms >= QUIET_MS:
            trailing = QUIET_MS // FRAME_MS
            self._saying.extend(list(self._heard)[:-trailing])
            self._heard.clear()
        if self._saying:
            self._quiet_ms = 0
            return self._saying.popleft()
        self._over = self._over or self._quiet_ms >= GIVE_UP_MS
        return self._silence

    def actions(self) -> list[Press | Hangup]:
        """Return whether to hang up."""
        return [Hangup()] if self._over else []
