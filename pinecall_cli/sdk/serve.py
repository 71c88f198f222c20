"""`Pinecall.run`: serve until a signal, the loss of the connection for good, or of every agent."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import PinecallError
from pinecall_cli.sdk.handlers import Handlers
from pinecall_cli.sdk.office import log_error
from pinecall_cli.settings.logger import redacted

if TYPE_CHECKING:
    from pinecall_cli.sdk.client import Pinecall

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C has ended."""


def run(client: Pinecall, agents: Iterable[Agent]) -> None:
    """Serve these agents as a whole program.

    Raises:
        SystemExit: If the connection is given up, or every agent is refused or taken.
    """
    try:
        asyncio.run(serve(client, agents))
    except KeyboardInterrupt:  # the second Ctrl-C, or any where the system has no signals
        raise SystemExit(INTERRUPTED) from None
    except PinecallError as problem:
        sys.stderr.write(in_lines(problem) + "\n")
        raise SystemExit(problem.exit_code) from problem


def in_lines(problem: PinecallError) -> str:
    """Return an error as people read it: what, where, fix. Nothing in it steers a terminal."""
    parts = [("error", problem.message), ("  where", problem.where), ("  fix", problem.fix)]
    return "\n".join(f"{name}: {inert(redacted(str(said)))}" for name, said in parts if said)


def inert(text: str) -> str:
    r"""Return a text with control characters, invisible ones and line breaks as ``\x1b``."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)


async def serve(client: Pinecall, agents: Iterable[Agent]) -> None:
    """Serve these agents until the first SIGINT or SIGTERM; the second ends the process at once.

    Raises:
        PinecallError: If the connection is given up, or every agent is refused or taken.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    take_signals(loop, stop.set)
    for agent in agents:
        client.add(agent)
    unheard = Unheard(client)
    client._office.unheard = unheard
    why: BaseException | None = None
    try:
        reception = client.start()
        tasks: list[asyncio.Task[object]] = [
            loop.create_task(outcome(reception.over), name="over"),
            loop.create_task(none_left(client), name="agents"),
            loop.create_task(stop.wait(), name="stop"),
        ]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        problems = [task.exception() for task in tasks if task in done]
        why = next((problem for problem in problems if problem is not None), None)
        if why is not None:
            raise why
    finally:
        unheard.release(but=why)
        await client.disconnect()


class Unheard:
    """Logs errors that nobody handles, but for the one that serving ends with: that is raised."""

    def __init__(self, client: Pinecall) -> None:
        self._client = client
        self._kept: list[Exception] = []

    def __call__(self, problem: Exception) -> None:
        """Log an error, once it is clear that we go on after it."""
        asyncio.get_running_loop().call_soon(self._judge, problem)

    def release(self, *, but: BaseException | None) -> None:
        """Log what was kept back."""
        kept, self._kept = self._kept, []
        for problem in kept:
            if problem is not but:
                log_error(problem)

    def _judge(self, problem: Exception) -> None:
        reception = self._client._reception
        given_up = reception is not None and reception.over.done()
        if given_up or nobody_serves(self._client):
            self._kept.append(problem)
        else:
            log_error(problem)


def take_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call ``stop`` at the first signal, and leave the second to the system."""

    def asked() -> None:
        stop()
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    try:
        for number in SIGNALS:
            loop.add_signal_handler(number, asked)
    except (NotImplementedError, RuntimeError):
        return  # Windows, or not the main thread: there KeyboardInterrupt cancels us instead


async def outcome(future: asyncio.Future[None]) -> None:
    """Await a future that others await too."""
    await asyncio.shield(future)


async def none_left(client: Pinecall) -> None:
    """Wait for ever; raise when every agent was refused or taken: there is nothing to serve."""
    taken = asyncio.Event()
    listening = Handlers()
    listening.on("agent.displaced", lambda *_: taken.set())
    client._office.audiences.append(listening)
    try:
        while True:
            outcomes = await asyncio.gather(
                *(client.registered(name) for name in client.names), return_exceptions=True
            )
            refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
            if refused and nobody_serves(client):
                raise refused[-1]
            await taken.wait()
            taken.clear()
    finally:
        client._office.audiences.remove(listening)


def nobody_serves(client: Pinecall) -> bool:
    """Tell whether there are agents, and none of them is registered or will be."""
    registrations = client._office.registrations.values()
    return bool(registrations) and all(one.problem is not None for one in registrations)
