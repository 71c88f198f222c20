"""Connecting and disconnecting, many times: what is left behind (also `tests/bench/cycles.py`)."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pinecall_cli.sdk.client import Pinecall
from tests.sdk.listening import Log

CANCELLED = "asyncio.events.TimerHandle"
"""A loop keeps some hundred cancelled ones; those that are not are counted by themselves."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a loop and a process hold."""

    tasks: int
    timers: int
    objects: Counter[str]
    """Objects of the SDK's and of the socket's classes, by their name."""

    @classmethod
    def now(cls) -> Left:
        """Count, after everything that can be let go has been."""
        gc.collect()
        loop = asyncio.get_running_loop()
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        kinds = (type(one) for one in gc.get_objects())
        ours = ("pinecall_cli.sdk", "pinecall_cli.agent", "websockets", "asyncio")
        names = (f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
        return cls(
            len(asyncio.all_tasks()),
            len(timers),
            Counter(name for name in names if name.startswith(ours) and name != CANCELLED),
        )

    def since(self, before: Left) -> dict[str, int]:
        """Return what there is more of, and by how much."""
        more = {"tasks": self.tasks - before.tasks, "timers": self.timers - before.timers}
        more |= {name: count - before.objects[name] for name, count in self.objects.items()}
        return {name: count for name, count in more.items() if count > 0}


async def same_client(client: Pinecall) -> None:
    """Connect with a client, register its agent, and disconnect."""
    await client.connect()
    await client.registered()
    await client.disconnect()


def new_client(url: str, key: str) -> Callable[[], Awaitable[None]]:
    """Return what makes a client, connects it, lets it act, and drops it."""

    async def cycle() -> None:
        async with Pinecall(key, url) as client:
            client.on("error", print)
            agent = client.agent("desk", llm="script", prompt="x")
            await client.registered()
            client.configure("desk", {"prompt": "y"})
            await agent.add_phone_number("+14155550100")

    return cycle


def lost_client(client: Pinecall) -> Callable[[], Awaitable[None]]:
    """Return what breaks a client's connection and waits until it is back."""

    async def cycle() -> None:
        await client.connect()
        back = Log()
        client.once("connected", back)
        assert client._link is not None
        client._link.reopen()
        await back.until()
        await client.registered()

    return cycle


async def left_by(cycle: Callable[[], Awaitable[None]], times: int) -> dict[str, int]:
    """Return what is left behind by so many cycles, a first few aside, which fill caches."""
    for _ in range(max(5, times // 20)):
        await cycle()
    before = Left.now()
    for _ in range(times):
        await cycle()
    await asyncio.sleep(0)
    return Left.now().since(before)
