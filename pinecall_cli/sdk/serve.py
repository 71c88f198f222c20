"""`Pinecall.run`: serve until a signal, the loss of the connection for good, or of every agent."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pinecall_cli.agent.define import Agent

if TYPE_CHECKING:
    from pinecall_cli.sdk.client import Pinecall

SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def serve(client: Pinecall, agents: Iterable[Agent]) -> None:
    """Serve these agents until the first SIGINT or SIGTERM; the second ends the process at once.

    Raises:
        PinecallError: If the connection is given up, or every agent is refused.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    take_signals(loop, stop.set)
    for agent in agents:
        client.add(agent)
    try:
        reception = client.start()
        tasks = [
            loop.create_task(outcome(reception.over), name="over"),
            loop.create_task(none_left(client), name="agents"),
            loop.create_task(stop.wait(), name="stop"),
        ]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        for task in done:
            task.result()
    finally:
        await client.disconnect()


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
    """Wait for ever; raise when every agent was refused, for then there is nothing to serve."""
    names = client.names
    outcomes = await asyncio.gather(
        *(client.registered(name) for name in names), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if refused and len(refused) == len(names):
        raise refused[0]
    await asyncio.Event().wait()
