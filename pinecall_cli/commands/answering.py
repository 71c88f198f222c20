"""This terminal as a telephone: it rings, and a person, a virtual caller or nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

from pinecall_cli.caller.player import Player
from pinecall_cli.commands.talk import Ends, virtual
from pinecall_cli.protocol import events
from pinecall_cli.sdk.handset import Handset
from pinecall_cli.sdk.mic import MicCall

ANSWER_WITHIN_S = 60.0
"""For a server that is still loading its speech engines to begin the call."""


class Telephone:
    """Waits at one number until it has had a call, or is given up.

    Args:
        how: mic, caller, busy, no-answer or reject.
        ends: What a person holds the call with; None for everybody else.
        player: Who a virtual caller is.
        asks: Told whether it rings for a person; None where nobody can be asked: it is answered.
    """

    def __init__(
        self,
        how: str,
        *,
        ends: Ends | None = None,
        player: Player | None = None,
        asks: Callable[[bool], None] | None = None,
        taped: Callable[[Ends], Ends] = lambda ends: ends,
    ) -> None:
        self._how, self._ends, self._player = how, ends, player
        self._asks, self._taped = asks, taped
        self._decision: asyncio.Future[bool] | None = None
        self.call: MicCall | None = None
        """The call that was taken."""

    @property
    def rings(self) -> bool:
        """Whether it rings, and a person is to decide."""
        return self._decision is not None and not self._decision.done()

    def decide(self, take: bool) -> None:
        """Take the call that rings, or turn it away."""
        if self._decision is not None and not self._decision.done():
            self._decision.set_result(take)

    async def serve(self, handset: Handset) -> None:
        """Wait for a call and hold it to its end; further calls are not for us.

        Raises:
            PinecallError: If the connection is lost.
        """
        while True:
            event = await handset.next()
            if not isinstance(event, events.CallRinging):
                continue
            match self._how:
                case "busy" | "reject":
                    await handset.reject("busy" if self._how == "busy" else "rejected")
                case "no-answer":
                    pass
                case _ if await self._taken(handset):
                    await self._hold(await handset.accept())
                    return

    async def _taken(self, handset: Handset) -> bool:
        """Return whether to take the call that rings; False if it has stopped meanwhile."""
        if self._asks is None:
            return True
        loop = asyncio.get_running_loop()
        self._decision = loop.create_future()
        stopped = loop.create_task(handset.next(), name="ringing")
        self._asks(True)
        try:
            waiting: set[asyncio.Future[object]] = {self._decision, stopped}  # type: ignore[arg-type]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._asks(False)
            stopped.cancel()
            await asyncio.wait({stopped})
        if not stopped.cancelled():
            stopped.result()
            return False
        if not self._decision.result():
            await handset.reject("rejected")
            return False
        return True

    async def _hold(self, call: MicCall) -> None:
        self.call = call
        ends = self._ends
        if self._player is not None:
            ends = virtual(call, self._player)
        ends = self._taped(ends or deaf())
        await call.hold(
            ends.frames, play=ends.play, hear=ends.heard, answer_within_s=ANSWER_WITHIN_S
        )


def deaf() -> Ends:
    """Return ends without sound: silence goes out, and nothing is heard."""

    async def frames() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    return Ends(frames, lambda frame: None, lambda received: None)


async def plug_in(
    stack: AsyncExitStack, telephone: Telephone, handset: Handset
) -> asyncio.Task[None]:
    """Let a telephone ring from now on, until the stack closes."""
    await stack.enter_async_context(handset)
    task = asyncio.get_running_loop().create_task(telephone.serve(handset), name="telephone")

    async def unplug() -> None:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # whoever cared has asked

    stack.push_async_callback(unplug)
    return task
