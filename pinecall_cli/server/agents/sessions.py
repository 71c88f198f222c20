"""What a live session looks like to the rest of the server, be it a voice call or a chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pinecall_cli.protocol.frames import Command

if TYPE_CHECKING:
    from pinecall_cli.server.agents.registry import RegisteredAgent
    from pinecall_cli.server.dialogue.conversation import Conversation


class Session(Protocol):
    """One live call or chat. All methods are called on the server's loop and return at once.

    A session puts itself on the books with `Registry.opened` before its first event and takes
    itself off with `Registry.closed` after its last.
    """

    call_id: str
    agent: RegisteredAgent
    conversation: Conversation
    contact: str
    """Whoever is at the other end: a number, or the `userId` a token sealed; or nothing."""

    def handle(self, command: Command) -> None:
        """Obey a call-scoped command of the agent's owner and emit what answers it.

        Commands arrive in the order they were sent. `session.configure` does not come here
        but to `configure`.
        """
        ...

    def configure(self, patch: Mapping[str, Any]) -> None:
        """Change this session alone (`session.configure`), from the next utterance on.

        ``patch`` is wire payload: snake_case keys, the ``:`` form of stt expanded, checked
        against the grammars. The client route acknowledges it when this returns.
        """
        ...

    def payload_changed(self, patch: Mapping[str, Any]) -> None:
        """Hear that the agent's own configuration changed (`agent.configure`)."""
        ...

    def reannounce(self) -> None:
        """Say again what this session is (`call.started`): its agent has come back."""
        ...

    def inject(self, text: str) -> None:
        """Take text as if the other side had said or written it."""
        ...

    def human(self, text: str) -> None:
        """Say or send what a person wrote in the agent's place (`session.send`).

        Raises:
            Refused: If nobody is there yet to take it.
        """
        ...

    def end(self, reason: str) -> None:
        """Begin to end: the last event is `call.ended` with ``reason``. Once is enough."""
        ...
