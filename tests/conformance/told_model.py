"""A language model that says what it was told to say, and shows what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from pinecall_cli.engines.types import ModelRequest, ToolCall
from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines
from tests.server.peer import Peer, embedded


class ToldModel:
    """Answers with the next of its prepared answers, or with `Fine.` when there is none."""

    name = "told"

    def __init__(self, *answers: str | ToolCall) -> None:
        self.answers = list(answers)
        self.requests: list[ModelRequest] = []
        self.asked_for: list[Any] = []
        """Each ``llm`` that a session was to have."""

    def choose(self, llm: Any) -> ToldModel | None:
        """Stand in for whatever model is asked for; nobody answers where none is."""
        self.asked_for.append(llm)
        return None if llm is None else self

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ToolCall]:
        self.requests.append(request)
        yield self.answers.pop(0) if self.answers else "Fine."

    @property
    def prompt(self) -> str:
        """The system prompt of the last request; empty for none."""
        first = self.requests[-1].messages[0]
        return str(first["content"]) if first["role"] == "system" else ""

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Who said what in the last request, without the prompt."""
        return [
            (message["role"], str(message.get("content")))
            for message in self.requests[-1].messages
            if message["role"] != "system"
        ]

    @property
    def tools(self) -> dict[str, Mapping[str, Any]]:
        """The functions that the last request offered, by name."""
        return {tool["function"]["name"]: tool["function"] for tool in self.requests[-1].tools}


def serving(model: ToldModel, **options: Any) -> EmbeddedServer:
    """Return a server, on a free port, on which every agent has this model."""
    return embedded(**({"models": model.choose, "engines": Engines()} | options))


async def ask(peer: Peer, text: str, session: str = "chat-1", agent: str = "desk") -> str:
    """Write to an agent and return its answer."""
    await peer.send("llm.chat", agent_id=agent, session_id=session, text=text)
    return str((await peer.until("llm.chat.done", session_id=session))["text"])
