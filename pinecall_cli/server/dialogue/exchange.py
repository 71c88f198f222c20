"""One turn of the caller in a session's history, and what the model is shown of it. Pure.

While a turn is answered the model sees more than the history keeps: tool results for this reply
alone, and words it said before a tool call, which enter the history only once they were heard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pinecall_cli.engines.types import ToolCall
from pinecall_cli.server.dialogue.history import Message, tool_call


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool returned."""

    value: Any
    ephemeral: bool = False
    """For this reply alone; the history never sees it."""
    no_followup: bool = False

    def as_content(self) -> str:
        """Return it as the content of a tool message: always JSON, so that nothing is lost."""
        return msgspec.json.encode(self.value).decode()


class Exchange:
    """A user message, the tool rounds that answer it and the words that were heard."""

    def __init__(self, history: list[Message], text: str) -> None:
        """Append ``text`` to ``history``, which from now on is changed in place."""
        self._history = history
        user = {"role": "user", "content": text}
        history.append(user)
        self._anchors = [user]
        """Our messages in the history but for what was heard, in order."""
        self._heard: list[Message] = []
        self._shown = [user]
        """Our messages as the model sees them while it answers."""
        self.retracted = False

    def record(self, said: str, calls: Sequence[ToolCall], results: Mapping[str, Result]) -> None:
        """Take in a finished round: every call has its result, ``said`` came before them.

        In one step, so that no history ever holds a call without its result.
        """
        self._shown += round_messages(said, calls, results)
        lasting = [call for call in calls if not results[call.id].ephemeral]
        place = self._place(self._anchors[-1])
        if self.retracted or not lasting or place is None:
            return
        kept = round_messages("", lasting, results)
        self._history[place + 1 : place + 1] = kept
        self._anchors += kept

    def confirm(self, text: str) -> None:
        """Append what the caller heard as the assistant's words."""
        message = {"role": "assistant", "content": text}
        self._heard.append(message)
        self._history.append(message)

    def retract(self) -> None:
        """Take everything of this exchange out of the history; later rounds leave no trace."""
        self.retracted = True
        ours = {id(message) for message in (*self._anchors, *self._heard)}
        self._history[:] = [message for message in self._history if id(message) not in ours]

    def messages(self) -> list[Message]:
        """Return the history as the model is to see it while it answers this turn."""
        ours = {id(message) for message in (*self._anchors, *self._heard)}
        place = self._place(self._anchors[0])
        place = len(self._history) if place is None else place
        before = [message for message in self._history[:place] if id(message) not in ours]
        after = [message for message in self._history[place:] if id(message) not in ours]
        return [*before, *self._shown, *after]

    def _place(self, wanted: Message) -> int | None:
        """Return where a message of ours stands; None once somebody has replaced the history."""
        places = (at for at, message in enumerate(self._history) if message is wanted)
        return next(places, None)


def round_messages(
    said: str, calls: Sequence[ToolCall], results: Mapping[str, Result]
) -> list[Message]:
    """Return a round as messages: the assistant's calls, then their results."""
    entries = [tool_call(call.id, call.name, call.arguments) for call in calls]
    return [
        {"role": "assistant", "content": said or None, "tool_calls": entries},
        *(
            {"role": "tool", "tool_call_id": call.id, "content": results[call.id].as_content()}
            for call in calls
        ),
    ]
