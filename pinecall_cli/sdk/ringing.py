"""A call that rings and waits for the agent to take it or turn it away (commands.md §9.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pinecall_cli.protocol import commands
from pinecall_cli.protocol.frames import Command


class RingingCall:
    """An inbound call of a number that was added with ``ringing``; the caller hears it ring.

    The first answer counts. Without one the server takes the call, after 5 s.
    """

    def __init__(
        self, post: Callable[[Command], None], *, id: str, agent_id: str, from_: str, to: str
    ) -> None:
        self.id = id
        """The id that the call will have."""
        self.agent_id = agent_id
        self.from_ = from_
        """The caller, E.164."""
        self.to = to
        self._post, self._decided = post, False

    def __repr__(self) -> str:
        return f"<RingingCall {self.id} {self.from_} → {self.to}>"

    def accept(self) -> None:
        """Take the call: ``call.started`` follows."""
        self._decide(commands.CallAccept(agent_id=self.agent_id, call_id=self.id))

    def reject(self, reason: Literal["busy", "rejected"] = "busy") -> None:
        """Turn the call away: the caller hears that it is busy, or that it was rejected."""
        self._decide(commands.CallReject(agent_id=self.agent_id, call_id=self.id, reason=reason))

    def _decide(self, frame: Command) -> None:
        if not self._decided:
            self._decided = True
            self._post(frame)
