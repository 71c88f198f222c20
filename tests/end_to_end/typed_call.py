"""A voice call that a test holds: it types what the caller says, and reads what is answered."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.program import Program, Record
from tests.end_to_end.terminal import Terminal

PATIENT = "steps: [{silence: 30m}]\n"
"""A caller without a voice, who stays on the line."""


class TypedCall:
    """A call from a terminal of its own, to an agent with a greeting that ``dev --json`` runs."""

    def __init__(self, dev: Program, terminal: Terminal) -> None:
        self.dev, self.terminal = dev, terminal
        since = dev.mark()
        terminal.shows("hang up")
        self.started = dev.wait("call.started", since=since)
        self.id: str = self.started["call_id"]
        dev.wait("bot.finished", where=self.mine)  # the greeting: typing over it would cut it off

    def ask(self, text: str) -> str:
        """Type a turn and return what the agent says, when it has been said."""
        return str(self.turn(text)["text"])

    def turn(self, text: str) -> Record:
        """Type a turn and return the ``message.confirmed`` of its answer."""
        since = self.dev.mark()
        self.terminal.type(f"t{text}\r")
        self.dev.wait("turn.end", since=since, where=self.mine)
        self.dev.wait("bot.finished", since=since, where=self.mine)
        return self.dev.wait("message.confirmed", since=since, where=self.mine)

    def mine(self, record: Record) -> bool:
        """Tell whether a record is about this call."""
        return record.get("call_id") == self.id

    def hang_up(self) -> Record:
        """End the call and return its ``call.ended``."""
        self.terminal.type("q")
        ended = self.dev.wait("call.ended", where=self.mine)
        assert self.terminal.end() == 0
        return ended


def patient_caller(folder: Path) -> Path:
    """Write the file of a caller who says nothing, and return it."""
    path = folder / "patient.caller.yaml"
    path.write_text(PATIENT, encoding="utf-8")
    return path
