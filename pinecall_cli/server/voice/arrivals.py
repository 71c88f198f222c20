"""Lays the caller's frames on the call's audio clock, however unevenly they come.

Frame n of the caller stands at n·20 ms (protocol: sessions.md §7.2), but no microphone, socket
or busy machine delivers one frame every 20 ms. What is late or early is kept whole, since a hole
or a cut inside a word costs the word; the clock is caught up with where nobody speaks. Pure:
time is the position in ms of the audio clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.server.voice.speaking import FRAME_MS, SILENCE

GAP_MS = 200
"""A gap in what the caller sends that is longer than this counts as silence."""
LAG_MS = 200
"""How far the caller's audio may lag before a pause is used to mend it: a far line is just late."""
LEAD_MS = 0
"""How far it may lead. It never does by itself (a frame is heard one step after it was sent): it
was held up, and its gap has been filled."""
PATIENCE = 10
"""Steps that bring sound while it leads, before a pause is used to mend that. When it was the
server that was held up, the sound of that time comes at once and leads, but the clock catches up
by itself, in steps without a pause: were frames left out, all later ones would stand too early."""
LIMIT_MS = 1000
"""Beyond this it is mended at once: nobody can have spoken in that time what was sent."""
QUIET_DBFS = -45.0
"""Only frames below this are left out to catch up; an onset is louder before it counts as voice."""


class Arrivals:
    """What was heard of one caller at each step of the call. Ask `lay` once a step."""

    def __init__(self) -> None:
        self._heard_at = 0
        """The clock when a frame came last."""
        self._led = 0
        """How many of the last steps brought sound while it led."""

    def lay(
        self, arrived: Sequence[bytes], *, clock: int, position: int, voiced: bool
    ) -> list[bytes]:
        """Return the frames to hear in this step.

        ``position`` is how much has been heard so far; ``voiced`` says that the caller is
        speaking, as far as is known.
        """
        gap = clock - self._heard_at
        if not arrived:
            return [SILENCE] if gap > GAP_MS and position < clock else []
        self._heard_at = clock
        lag = clock - position - FRAME_MS * len(arrived)
        if gap > GAP_MS or (lag > LAG_MS and not voiced) or lag > LIMIT_MS:
            # They stand where they would have, had nothing been missing; a burst that makes up
            # for the gap leaves nothing to fill.
            return [SILENCE] * max(0, lag // FRAME_MS) + list(arrived)
        self._led = self._led + 1 if position - clock > LEAD_MS else 0
        patient = self._led > PATIENCE
        frames: list[bytes] = []
        for frame in arrived:
            lead = position + FRAME_MS * len(frames) - clock
            mend = patient and lead > LEAD_MS and not voiced
            quiet = mend and level_dbfs(frame) < QUIET_DBFS
            if not quiet and lead <= LIMIT_MS:
                frames.append(frame)
        return frames
