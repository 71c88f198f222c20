"""WhatsApp messages, and what is kept of them: values, and bounded tables of one organisation."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

KEPT = 1_000
"""Messages in an organisation's outbox, and contacts whose last message is remembered."""
SEEN = 10_000
"""Ids of messages that came in: Meta sends one again when it was not answered in time."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a contact wrote or sent."""

    id: str
    contact: str
    """Meta's form: digits, no ``+``."""
    name: str
    type: str
    """``text``, ``audio``, ``image``, ``video`` or ``document``."""
    text: str


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a message that went out."""

    id: str
    recipient: str
    status: str
    """``sent``, ``delivered`` or ``read``."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that would have gone to Meta."""

    id: str
    org: str
    agent: str
    """Slug."""
    session_id: str
    to: str
    text: str
    at: float
    """Epoch seconds."""


@dataclass(slots=True)
class Remembered:
    """What is kept of one organisation: what others do takes nothing from it."""

    seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Ids of the newest `SEEN` messages that came in."""
    last: OrderedDict[tuple[str, str], tuple[float, str, str]] = field(default_factory=OrderedDict)
    """By agent and contact: when they wrote last, their name, the channel; of `KEPT`."""
    outbox: deque[Outgoing] = field(default_factory=lambda: deque(maxlen=KEPT))

    def note(self, agent: str, message: Incoming, at: float, ref: str) -> bool:
        """Note that a message came in; False if it has come before."""
        if message.id in self.seen:
            return False
        self.seen[message.id] = None
        while len(self.seen) > SEEN:
            self.seen.popitem(last=False)
        key = agent, message.contact
        self.last[key] = at, message.name, ref
        self.last.move_to_end(key)
        while len(self.last) > KEPT:
            self.last.popitem(last=False)
        return True
