"""What the agent says first in a call that it made, and when (commands.md §9.2). Pure."""

from __future__ import annotations

UNPROMPTED_MS = 8_000
"""When the other side never speaks (open-questions 34)."""
QUIET_MS = 3_000
"""When it made a noise that was no turn, and nothing more came."""
STEP_MS = 20


class Opening:
    """The greeting of an outbound call: spoken on pick-up, or once the other side has finished."""

    def __init__(self, text: str, *, after_turn: bool = False) -> None:
        """``after_turn`` is ``detect_turn_end``: let the other side speak first."""
        self.text = text
        self.after_turn = after_turn
        self._owed = bool(text)
        self._quiet_ms = 0

    def due(self, clock_ms: int, *, voiced: bool) -> bool:
        """Say whether it is to be spoken now, unasked. To be asked once a step of 20 ms.

        ``voiced`` says that the other side makes itself heard.
        """
        self._quiet_ms = 0 if voiced else self._quiet_ms + STEP_MS
        if not self._owed:
            return False
        return not self.after_turn or (clock_ms >= UNPROMPTED_MS and self._quiet_ms >= QUIET_MS)

    @property
    def takes_turn(self) -> bool:
        """Whether the other side's turn is answered with it, and not by the model."""
        return self._owed and self.after_turn

    def spoken(self) -> None:
        """Note that it is being spoken."""
        self._owed = False

    def cut(self) -> None:
        """Note that the other side went on with its turn: it is still to be greeted."""
        self._owed = self.after_turn
