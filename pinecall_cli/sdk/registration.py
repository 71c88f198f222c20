"""One agent's registration: what is sent for it, what waits for it, and how it was refused."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from pinecall_cli.agent.config import AgentConfig, payload
from pinecall_cli.agent.tools import Tool
from pinecall_cli.errors import (
    ConflictError,
    InfrastructureError,
    NotAuthorisedError,
    PinecallError,
    ServerUnreachableError,
)
from pinecall_cli.protocol.conflict import ConflictRetry
from pinecall_cli.protocol.events import Error
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.protocol.refusal import ConfigRefused, Outcome

MAX_QUEUED = 1000
"""Frames of one agent that may wait for its registration before the oldest are dropped."""

State = Literal["waiting", "registered", "refused", "displaced"]
Channel = dict[str, Any]
"""The fields of a ``channel.add``, without ``agent_id``."""


class RegistrationRefusedError(PinecallError):
    """The server does not accept an agent's configuration. Exit code 2."""

    code = "registration_error"
    exit_code = 2


class CapacityError(InfrastructureError):
    """The server takes no more agents."""

    code = "server_at_capacity"

    def __init__(self, message: str, *, used: float | None = None, limit: float | None = None):
        super().__init__(message, fix="try again later, or ask for room for more agents")
        self.used, self.limit = used, limit
        """Agents that are connected, and that may be; None where the server does not say."""


class Registration:
    """An agent at its server. Lives on the client's loop; sends through ``send``."""

    def __init__(
        self,
        config: AgentConfig,
        tools: Mapping[str, Tool],
        *,
        send: Callable[[str], bool],
        dropped: Callable[[int], None],
    ) -> None:
        self.agent_id = config.name
        self.config = config
        self.tools = tools
        """By name. Replaced whole, never changed: a round of calls runs on what it found."""
        self.channels: list[Channel] = config.channels()
        self.state: State = "waiting"
        self.leaving = False
        """Whether it was removed, and is only here for the calls that it still has."""
        self.problem: PinecallError | None = None
        """Why there is no registration, and will be none unless it is tried again."""
        self._send = send
        self._dropped = dropped
        self._queue: deque[tuple[str, asyncio.Future[Any] | None]] = deque()
        self._waiters: list[asyncio.Future[None]] = []
        self._conflict: ConflictRetry | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._embedded = False

    def replace(self, config: AgentConfig, tools: Mapping[str, Tool]) -> None:
        """Take another configuration and other tools, at once; nothing is sent.

        Channels change where the configuration's do; those added in a call of code stay.
        """
        before, now = self.config.channels(), config.channels()
        if now != before:
            configured = {known_by(channel) for channel in (*before, *now)}
            added = [one for one in self.channels if known_by(one) not in configured]
            self.channels = now + added
        self.config, self.tools = config, tools

    def leave(self) -> bool:
        """Stop trying to be registered; return whether the server has, or may get, the agent."""
        self.leaving = True
        if self._retry is not None:  # it was refused, and is not asked again
            self.give_up(ConflictError(f"agent `{self.agent_id}` was removed"))
            return False
        return self.state in ("registered", "waiting")

    # --- sending ---

    def create(self, *, embedded: bool) -> None:
        """Send ``agent.create`` with the configuration as it is now."""
        self._embedded = embedded
        self.problem = None
        if self.state in ("refused", "displaced"):
            self.state = "waiting"
        body = payload(self.config, embedded=embedded)
        if self.config.allowed_origins is not None:
            body["allowed_origins"] = list(self.config.allowed_origins)
        self._send(frame_of("agent.create", agent_id=self.agent_id, **body))

    def post(self, frame: str, for_: asyncio.Future[Any] | None = None) -> None:
        """Send a frame now if registered, else when it is; the oldest are dropped, and said.

        Args:
            frame: The frame.
            for_: What will come of it. Once that has failed, because it took too long or the
                connection was lost again, the frame is not sent: whoever asked may ask again.
        """
        if self.state == "registered" and self._send(frame):
            return
        if len(self._queue) >= MAX_QUEUED:
            self._queue.popleft()
            self._dropped(1)
        self._queue.append((frame, for_))

    # --- what the server says ---

    def created(self, then: Iterable[str] = ()) -> None:
        """Note ``agent.created``: send the channels, the frames ``then``, and what waited."""
        self._end_episode()
        again = self.state == "registered"
        self.state, self.problem = "registered", None
        if not again:
            for channel in self.channels:
                self._send(frame_of("channel.add", agent_id=self.agent_id, **channel))
            for frame in then:
                self._send(frame)
            while self._queue:
                frame, answer = self._queue.popleft()
                if answer is None or not answer.done():
                    self._send(frame)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def lost(self) -> None:
        """Note that the connection is gone: what is sent from here on waits."""
        self._end_episode()
        if self.state == "registered":
            self.state = "waiting"
        if self.leaving:
            self._fail(ServerUnreachableError(f"agent `{self.agent_id}` is gone"))

    def displaced(self, problem: PinecallError) -> None:
        """Note that the name was taken from us; it is not claimed again unless asked."""
        self._end_episode()
        self.state, self.problem = "displaced", problem
        self._fail(problem)

    def refused(self, outcome: Outcome, error: Error) -> PinecallError:
        """Note an ``error`` about this agent; return it as what to tell people.

        A conflict that may pass is retried by itself.
        """
        problem = problem_of(outcome, error)
        if outcome is Outcome.CONFLICT:
            if not self.leaving and self._wait_for_name(error):
                return problem
            problem = ConflictError(
                f"agent `{self.agent_id}` is held by another process, and stayed so for 90 s",
                fix="stop that process, or take another name",
            )
        elif outcome in (Outcome.OTHER, Outcome.PHONE_IN_USE, Outcome.UNAUTHORISED):
            return problem
        self._end_episode()
        if self.state != "registered":
            self.state, self.problem = "refused", problem
        self._fail(problem)
        return problem

    # --- channels: what is added again after a reconnection ---

    def keep_channel(self, channel: Mapping[str, Any]) -> None:
        """Remember a channel, in place of one of the same type and ref."""
        self.forget_channel(str(channel.get("ref", "")), channel["type"])
        self.channels.append(dict(channel))

    def change_channel(self, ref: str, patch: Mapping[str, Any]) -> None:
        """Remember what is different on a channel."""
        for channel in self.channels:
            if same_number(channel.get("ref", "")) == same_number(ref):
                channel.update(patch)

    def forget_channel(self, ref: str, kind: str | None = None) -> None:
        """Forget a channel: it was given up, or is not ours to have."""
        self.channels = [
            channel
            for channel in self.channels
            if same_number(channel.get("ref", "")) != same_number(ref)
            or kind not in (None, channel["type"])
        ]

    # --- waiting ---

    async def registered(self) -> None:
        """Return once the agent is registered.

        Raises:
            PinecallError: If it is refused or displaced.
        """
        if self.state == "registered":
            return
        if self.problem is not None:
            raise self.problem
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def give_up(self, problem: PinecallError) -> None:
        """Fail whoever waits: there will be no registration."""
        self._end_episode()
        self.problem = self.problem or problem
        self._fail(problem)

    def _fail(self, problem: PinecallError) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(problem)
        self._waiters.clear()

    # --- the name is held ---

    def _wait_for_name(self, error: Error) -> bool:
        """Schedule the next try; False when the time for trying is over."""
        loop = asyncio.get_running_loop()
        if self._conflict is None:
            self._conflict = ConflictRetry(random.uniform)
        verdict = self._conflict.refused(
            loop.time(),
            retry_after_s=_number(error.retry_after_s),
            holder_alive=error.holder_alive if isinstance(error.holder_alive, bool) else None,
        )
        if verdict == "exhausted":
            return False
        deadline = self._conflict.deadline
        if self._retry is None and deadline is not None:
            self._retry = loop.call_at(deadline, self._try_again)
        return True

    def _try_again(self) -> None:
        self._retry = None
        if self._conflict is not None and self._conflict.deadline is not None:
            # The timer fired, so the deadline is reached, whatever the clock's grain says.
            self._conflict.due(self._conflict.deadline)
            self.create(embedded=self._embedded)

    def _end_episode(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._conflict = None


def known_by(channel: Channel) -> tuple[str, str]:
    """Return what tells a channel of an agent from its others."""
    return channel["type"], same_number(channel.get("ref", ""))


def frame_of(event: str, **fields: Any) -> str:
    """Return a frame whose fields travel verbatim, as configuration does."""
    text = json.dumps(
        {"event": event, **fields}, ensure_ascii=False, separators=(",", ":"), default=dict
    )
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair goes out as `?`


def problem_of(outcome: Outcome, error: Error) -> PinecallError:
    """Return an ``error`` frame as one of our errors."""
    text = error.error or (error.code if isinstance(error.code, str) else "") or "refused"
    code = error.code.lower() if isinstance(error.code, str) else None
    match outcome:
        case Outcome.CONFLICT_FATAL:
            return ConflictError(
                f"agent `{error.agent_id}` is held by another live process{_holder(error)}",
                fix="stop that process, or take another name",
            )
        case Outcome.CONFLICT:
            return ConflictError(text, fix="it is tried again for 90 s")
        case Outcome.CAPACITY:
            return CapacityError(text, used=_number(error.used), limit=_number(error.limit))
        case Outcome.REFUSED:
            return RegistrationRefusedError(text)
        case Outcome.PHONE_IN_USE:
            return ConflictError(text, code="phone_in_use")
        case Outcome.UNAUTHORISED:
            return NotAuthorisedError(text, code=code)
    return PinecallError(text, code=code)


def _holder(error: Error) -> str:
    """Return who holds a name, as our server says it: process id, program."""
    holder = error.holder
    if not isinstance(holder, dict):
        return f" ({holder})" if isinstance(holder, str) else ""
    pid, name = holder.get("pid"), holder.get("name")
    parts = [str(name)] if name else []
    if pid:
        parts.append(f"process {pid}")
    return f" ({', '.join(parts)})" if parts else ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def same_number(number: str) -> str:
    """Return a number in a form in which equal numbers are equal texts."""
    try:
        return normalise_number(number)
    except ConfigRefused:
        return number
