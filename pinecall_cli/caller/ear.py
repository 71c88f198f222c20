"""What a caller knows of the agent from the call's events: speaking, silent, busy, gone."""

from __future__ import annotations

from dataclasses import dataclass

from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event

NEVER = float("-inf")
SLACK_S = 1e-6
"""Times are multiples of 20 ms reckoned in floats; a frame must not come late over rounding."""


@dataclass(slots=True)
class Reply:
    """A message whose audio plays."""

    id: str
    began: float
    words: int = 0


class Ear:
    """Folds the events of one call; pure, seconds on the call's audio clock."""

    def __init__(self) -> None:
        self.reply: Reply | None = None
        """What the agent is saying now."""
        self.began = 0
        """How many messages the agent has begun."""
        self.last_end: str | None = None
        """How the last message ended: ``finished``, or the reason of its interruption."""
        self.spoke_at = NEVER
        """When the caller last made itself heard."""
        self.call_over = False
        self._answered_by: str | None = None
        self._quiet_since = NEVER
        self._tools: set[str] = set()
        self._ended: set[str] = set()

    @property
    def answered(self) -> bool:
        """Whether the agent has said something since the caller last spoke."""
        return self._answered_by is not None

    @property
    def busy(self) -> bool:
        """Whether the agent speaks, or works at an answer with a tool."""
        return self.reply is not None or bool(self._tools)

    @property
    def quiet_since(self) -> float:
        """When the agent last spoke or its last tool ended; -inf if never."""
        return self._quiet_since

    def quiet(self, now: float, seconds: float) -> bool:
        """Say whether the agent has been quiet, with no tool running, for so long."""
        return not self.busy and now - self._quiet_since >= seconds - SLACK_S

    def spoke(self, until: float) -> None:
        """Note that the caller was heard until then: an answer is still to come."""
        self.spoke_at = max(self.spoke_at, until)
        self._answered_by = None

    def hear(self, event: Event, now: float) -> None:
        """Take in one event of the call; those that say nothing of the agent change nothing."""
        match event:
            case events.BotSpeaking(message_id=message):
                self._speaks(message, now)
            case events.BotWord(message_id=message, word_index=index):
                self._speaks(message, now)
                if self.reply is not None and self.reply.id == message:
                    self.reply.words = max(self.reply.words, index + 1)
            case events.BotFinished(message_id=message):
                self._ends(message, "finished", now)
            case events.BotInterrupted(message_id=message, reason=reason):
                self._tools.clear()  # the answer they were for is void
                self._ends(message, reason if isinstance(reason, str) else "user_spoke", now)
            case events.LlmToolCall(tool_calls=calls):
                self._tools.update(call.id for call in calls)
            case events.LlmToolResult():
                self._tool_ends(event, now)
            case events.TurnEnd() | events.TurnContinued():
                self._tools.clear()
            case events.CallEnded():
                self.call_over = True

    def _speaks(self, message: str, now: float) -> None:
        if message and message in self._ended:
            return  # a word that comes after its message's end brings nothing back
        if self.reply is None or self.reply.id != message:
            self.reply = Reply(message, now)
            self.began += 1
        self._answers(message, now)

    def _answers(self, message: str, now: float) -> None:
        # The end of a reply that the caller spoke into is no answer to what the caller said.
        if now >= self.spoke_at - SLACK_S:
            self._answered_by = self._answered_by or message or "a message"

    def _ends(self, message: object, how: str, now: float) -> None:
        reply = self.reply
        if reply is None or (isinstance(message, str) and message != reply.id):
            return
        self.reply, self.last_end, self._quiet_since = None, how, now
        if reply.id:
            self._ended.add(reply.id)
        if how in {"finished", "cancelled"}:
            self._answers(reply.id, now)
        elif self._answered_by == (reply.id or "a message"):
            self._answered_by = None  # cut off by the caller: the answer is still to come

    def _tool_ends(self, event: events.LlmToolResult, now: float) -> None:
        before = len(self._tools)
        if isinstance(event.results, list):
            self._tools.difference_update(
                str(result.get("tool_call_id")) for result in event.results
            )
        elif isinstance(event.tool_call_id, str):
            self._tools.discard(event.tool_call_id)
        else:
            self._tools.clear()
        if before and not self._tools:
            self._quiet_since = max(self._quiet_since, now)
