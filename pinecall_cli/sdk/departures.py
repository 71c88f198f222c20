"""Agents that are taken out: at the server at once, here when their last call has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from pinecall_cli.errors import PinecallError, ServerUnreachableError
from pinecall_cli.protocol import commands
from pinecall_cli.protocol.codec import encode
from pinecall_cli.sdk.answers import REQUEST_TIMEOUT, RequestTimeoutError
from pinecall_cli.sdk.office import Office
from pinecall_cli.sdk.registration import Registration


class Departures:
    """The removed agents of one office. Lives on the client's loop.

    Args:
        office: Where they are.
        reopen: Makes a new connection: how a server that is not the embedded one hears of it.
    """

    def __init__(self, office: Office, reopen: Callable[[], None]) -> None:
        self._office, self._reopen = office, reopen
        self._reopen_wanted = False

    async def remove(self, name: str, *, connected: bool) -> bool:
        """Take an agent out; return whether there was one of that name.

        Raises:
            RequestTimeoutError: If the embedded server does not say that it has let it go.
        """
        registration = self._office.registrations.get(name)
        if registration is None or registration.leaving:
            return False
        known_there = registration.leave() and connected
        if known_there and self._office.embedded:
            await self._tell_server(registration)
        elif known_there:
            self._reopen_wanted = True
        self.settle()
        return True

    def settle(self) -> None:
        """Forget the removed agents that have no call any more."""
        office = self._office
        for name, registration in tuple(office.registrations.items()):
            if registration.leaving and not office.calls_of(name):
                del office.registrations[name]
                agent = office.agents.pop(name, None)
                if agent is not None:
                    agent.wire = None
        if self._reopen_wanted and not office.calls:
            self._reopen_wanted = False
            self._reopen()

    async def _tell_server(self, registration: Registration) -> None:
        """Return when the embedded server has let an agent go, or has refused it before."""
        name = registration.agent_id
        with contextlib.suppress(ServerUnreachableError):  # who is not connected has no agents
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT):
                    await registration.registered()
            except TimeoutError:
                raise RequestTimeoutError("no `agent.created` from the server") from None
            except PinecallError:
                return
            frame = encode(commands.AgentRemove(agent_id=name))
            asked = ("agent.removed", name)
            await self._office.ask_raw(name, frame, asked, timeout=REQUEST_TIMEOUT)
