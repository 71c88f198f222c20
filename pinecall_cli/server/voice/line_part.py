"""What a phone line has of a call: its extension window, and what was said (commands.md §11).

Pure: times are milliseconds of the call's audio clock, and epoch seconds where a text is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UnsetType

from pinecall_cli.protocol import events
from pinecall_cli.protocol.events import LineEntry
from pinecall_cli.protocol.frames import Event

CLOSES = "#"
ROUTED = "routed"
"""How a call ends for a line that handed it over; readers go on, so no other end is called so."""
LONGEST_REASON = 80
MOST_DIGITS = 32
"""Of an extension; whoever keys in more means something else."""


class LinePart:
    """The part of one call that a line has, before an agent may get it.

    While the window is open keys make up the extension, and nothing of the call is told: the
    line hears of it when the window closes, and then of what has happened meanwhile.
    """

    def __init__(self, window_ms: float, wall: Callable[[], float]) -> None:
        """``window_ms`` is 0 for no window; ``wall`` is epoch seconds."""
        self.waiting = window_ms > 0
        """Whether the window is open."""
        self._window_ms, self._wall = window_ms, wall
        self._digits = ""
        self._closed_by_key = False
        self._early: list[Event] = []
        self._said: list[tuple[LineEntry, int | UnsetType | None]] = []
        """Each text with the caller's turn it is of."""

    # -- the window ------------------------------------------------------------------------

    @property
    def extension(self) -> str | None:
        """Return what was keyed in; None for nothing."""
        return self._digits or None

    def due(self, clock_ms: int) -> bool:
        """Say whether the window is to be closed now."""
        return self.waiting and (self._closed_by_key or clock_ms >= self._window_ms)

    def pressed(self, digits: str) -> str:
        """Take keys that the caller presses; return those that are not the extension's."""
        if not self.waiting or self._closed_by_key:
            return digits
        keyed, closing, rest = digits.partition(CLOSES)
        room = MOST_DIGITS - len(self._digits)
        self._digits += "".join(key for key in keyed if key in "0123456789*")[:room]
        self._closed_by_key = bool(closing)
        return rest

    def close(self) -> list[Event]:
        """Close the window; return what has happened since the call began."""
        self.waiting = False
        early, self._early = self._early, []
        return early

    @staticmethod
    def ended_by(reason: str) -> str:
        """Return the end reason for a line that hangs up and says why."""
        said = " ".join(reason.split())[:LONGEST_REASON]
        return "hangup" if said in ("", ROUTED) else said

    # -- what is told ----------------------------------------------------------------------

    def passes(self, event: Event) -> bool:
        """Say whether an event may be told now; one that may not is kept for `close`."""
        self._note(event)
        if self.waiting:
            self._early.append(event)
        return not self.waiting

    def transcript(self) -> tuple[LineEntry, ...]:
        """Return what both sides have said so far: of the line's texts, what was heard."""
        return tuple(entry for entry, _ in self._said)

    def _note(self, event: Event) -> None:
        match event:
            case events.UserMessage(text=text, turn_id=turn):
                self._said.append((self._entry("caller", text), turn))
            case events.TurnContinued(turn_id=turn):
                # The whole turn is told again when it ends.
                self._said = [one for one in self._said if one[1] is None or one[1] != turn]
            case events.MessageConfirmed(text=text) if text.strip():
                self._said.append((self._entry("line", text), None))
            case _:
                pass

    def _entry(self, who: str, text: str) -> LineEntry:
        return LineEntry(who=who, text=text, at=round(self._wall() * 1000))


def messages_of(transcript: tuple[LineEntry, ...]) -> list[dict[str, Any]]:
    """Return what was said on a line as a model's history: the line's texts are the assistant's."""
    roles = {"caller": "user", "line": "assistant"}
    return [{"role": roles[entry.who], "content": entry.text} for entry in transcript]
