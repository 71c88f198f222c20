"""The keys of one phone call: those the other side presses, and those the agent presses. Pure."""

from __future__ import annotations

import re

from pinecall_cli.audio import tones
from pinecall_cli.protocol import events
from pinecall_cli.server.voice.speaking import FRAME_BYTES, RATE

KEYS = re.compile(r"[0-9*#]+")
MOST_KEYS = 100
"""At once, by either side: 18 s of tones."""
MOST_SOUND = MOST_KEYS * (tones.KEY_MS + tones.KEY_GAP_MS) * RATE * 2 // 1000
"""Bytes of tones that may wait when the agent presses more."""
MOST_KEPT = 256
"""Of those the other side presses; each event repeats them, so the oldest are left out."""


class Keypad:
    """Keeps what was pressed, and makes the sound of what the agent presses."""

    def __init__(self) -> None:
        self.audible = True
        """Whether the agent's keys are sounds; not where they reach the other side as data."""
        self._received = ""
        self._sound = bytearray()

    def pressed(self, digits: str) -> list[events.CallDtmfReceived]:
        """Return the events of keys that the other side presses, one each; of too many, none."""
        found: list[events.CallDtmfReceived] = []
        for digit in digits if len(digits) <= MOST_KEYS else "":
            if KEYS.fullmatch(digit):
                self._received = (self._received + digit)[-MOST_KEPT:]
                found.append(events.CallDtmfReceived(digit=digit, digits=self._received))
        return found

    def press(self, digits: str) -> events.CallDtmfSent | None:
        """Press keys; None if these are none, too many, or as many have still to sound."""
        if len(digits) > MOST_KEYS or not KEYS.fullmatch(digits):
            return None
        if self.audible:
            if len(self._sound) >= MOST_SOUND:
                return None
            self._sound += tones.keys(digits, RATE)
        return events.CallDtmfSent(digits=digits)

    def step(self) -> bytes | None:
        """Return the next 20 ms of keys being pressed, before which the agent's voice waits."""
        if not self._sound:
            return None
        frame = bytes(self._sound[:FRAME_BYTES]).ljust(FRAME_BYTES, b"\0")
        del self._sound[:FRAME_BYTES]
        return frame
