"""What one client knows: its agents, their calls, its requests under way, and who is to be told.

All of it lives on the client's loop. What to do about a frame is decided in `registrar` (agents
and requests) and `callbook` (calls).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pinecall_cli.agent.define import Agent
from pinecall_cli.protocol import commands, ids
from pinecall_cli.protocol.codec import encode
from pinecall_cli.protocol.frames import Command, Received
from pinecall_cli.sdk.answers import Answer, Answers, Key, RequestRejectedError
from pinecall_cli.sdk.call import Call, Said
from pinecall_cli.sdk.crew import Crew
from pinecall_cli.sdk.handlers import Handler, Handlers
from pinecall_cli.sdk.registration import Registration
from pinecall_cli.settings.logger import logger


class Office:
    """The shared knowledge of one client. It is the `Line` of every call.

    Args:
        send: Sends an encoded frame at once; False if there is no connection.
    """

    def __init__(self, send: Callable[[str], bool]) -> None:
        self.send = send
        self.audiences: list[Handlers] = []
        """The client's own handlers, and those of its handles in imported files."""
        self.taps: list[Callable[[Received], None]] = []
        self.agents: dict[str, Agent] = {}
        self.registrations: dict[str, Registration] = {}
        self.calls: dict[str, Call] = {}
        self.answers = Answers()
        self.crew = Crew(self._handler_failed)
        self.dev_callers: list[str] = []
        self.prompts = Path("prompts")
        """Where `Call.set_prompt_file` finds its files."""
        self.answered: Callable[[str, commands.LlmToolResult], None] = lambda *_: None
        """Told of every round of tool calls that is answered, and in which agent's name."""
        self.unheard: Callable[[Exception], None] = log_error
        """Told of what nobody handles: an ``error`` without handlers, an agent that was taken."""
        self.embedded = False
        """Whether the server is the embedded one, as it says itself."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """Set when the client first connects."""

    # --- finding ---

    def local_id(self, incoming: object) -> str | None:
        """Return the agent that an incoming ``agent_id`` means."""
        if not isinstance(incoming, str):
            return None
        return ids.match_agent_id(incoming, self.registrations)

    def call_of(self, frame: Any) -> Call | None:
        """Return the call that an event is of, by ``call_id``, else ``session_id``."""
        for id in (frame.call_id, frame.session_id):
            if isinstance(id, str) and id in self.calls:
                return self.calls[id]
        return None

    def calls_of(self, agent_id: str) -> tuple[Call, ...]:
        """Return an agent's live calls, oldest first."""
        return tuple(call for call in self.calls.values() if call.agent_id == agent_id)

    # --- sending, from any thread ---

    def on_loop(self, work: Callable[[], None]) -> None:
        """Run ``work`` on the client's loop: now, if that is where we are."""
        if self.loop is None or running_loop() is self.loop:
            work()
        else:
            self.loop.call_soon_threadsafe(work)

    def post(self, agent_id: str, frame: Command) -> None:
        """Send a frame in an agent's name: now, or when it is registered."""
        text = encode(frame)  # here, so that what has no JSON form is an error of the caller's

        def send() -> None:
            registration = self.registrations.get(agent_id)
            if registration is not None:
                registration.post(text)
                if isinstance(frame, commands.LlmToolResult):
                    self.answered(agent_id, frame)

        self.on_loop(send)

    def ask(self, agent_id: str, frame: Command, key: Key, *, timeout: float | None) -> Answer[Any]:
        """Send a frame in an agent's name, and return what will come of it."""
        return self.ask_raw(agent_id, encode(frame), key, timeout=timeout)

    def ask_raw(self, agent_id: str, frame: str, key: Key, *, timeout: float | None) -> Answer[Any]:
        """Send an encoded frame in an agent's name, and return what will come of it.

        Raises:
            RuntimeError: If the client has never been connected.
        """

        def send(answer: asyncio.Future[Any]) -> None:
            registration = self.registrations.get(agent_id)
            if registration is not None:
                registration.post(frame, for_=answer)

        return self.request(key, send, timeout=timeout)

    def over(self, key: Key, reason: str) -> Answer[Any]:
        """Return what comes of a request of a call that has ended: nothing is sent."""
        return self.request(key, lambda _: end(self.answers, key, reason), timeout=None)

    def request(
        self,
        key: Key,
        send: Callable[[asyncio.Future[Any]], object],
        *,
        timeout: float | None,
    ) -> Answer[Any]:
        """Do ``send``, and return what will come of it; it is given the future of the answer.

        Raises:
            RuntimeError: If the client has never been connected.
        """
        if self.loop is None:
            raise RuntimeError("the client is not connected: there is nobody to ask")
        future: asyncio.Future[Any] = self.loop.create_future()

        def begin() -> None:
            self.answers.expect(key, future, timeout)
            send(future)

        answer: Answer[Any] = Answer(future, key[0])
        self.on_loop(begin)
        return answer

    # --- telling ---

    def tell(
        self,
        name: str,
        *args: object,
        agent_id: str | None = None,
        whole: tuple[object, ...] | None = None,
    ) -> None:
        """Call the handlers of an agent and of the client, in that order.

        Args:
            name: The event's name.
            args: What its handlers are given.
            agent_id: The agent it is of, if it is of one.
            whole: What handlers of ``*`` are given, where that is not ``args``.
        """
        agent = self.agents.get(agent_id) if agent_id is not None else None
        if agent is not None:
            self._tell_those(agent.take_handlers, name, args, whole)
        for audience in tuple(self.audiences):
            self._tell_those(audience.take, name, args, whole)

    def tell_error(self, problem: Exception) -> None:
        """Tell the client's ``error`` handlers; without one, `unheard`."""
        handlers = self._of_client("error")
        if handlers:
            self.crew.call(handlers, problem)
        else:
            self.unheard(problem)

    def _tell_those(
        self,
        take: Callable[[str], tuple[Handler, ...]],
        name: str,
        args: tuple[object, ...],
        whole: tuple[object, ...] | None,
    ) -> None:
        if handlers := take(name):
            self.crew.call(handlers, *args)
        if handlers := take("*"):
            self.crew.call(handlers, *(args if whole is None else whole))

    def _of_client(self, name: str) -> tuple[Handler, ...]:
        return tuple(handler for audience in self.audiences for handler in audience.take(name))

    def _handler_failed(self, problem: Exception, name: str) -> None:
        logger.error("%s raised", name, exc_info=problem)
        handlers = self._of_client("error")
        names = {getattr(handler, "__qualname__", repr(handler)) for handler in handlers}
        if name not in names:  # one that fails at errors is not told of its own, for ever
            self.crew.call(handlers, problem)


def end(answers: Answers, key: Key, reason: str) -> bool:
    """Settle the oldest request of a key of a call that has ended; False if there is none."""
    if key[0] == "ended":
        return answers.settle(key, reason)
    if key[0] == "spoken":
        return answers.settle(key, Said(key[2], interrupted=True, reason=reason))
    return answers.refuse(key, RequestRejectedError(f"the call has ended: {reason}"))


def log_error(problem: Exception) -> None:
    """Write an error into the log."""
    logger.error("%s", problem)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
