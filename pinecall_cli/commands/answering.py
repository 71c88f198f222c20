"""This terminal as a telephone: it rings, and a person, a virtual caller or nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from pinecall_cli.caller.player import Player
from pinecall_cli.commands.talk import Ends, virtual
from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol import events
from pinecall_cli.sdk.handset import Handset
from pinecall_cli.sdk.mic import MicCall

ANSWER_WITHIN_S = 60.0
"""For a server that is still loading its speech engines to begin the call."""


class Telephone:
    """Waits at one number until it has had a call, or is given up."""

    def __init__(
        self,
        how: str,
        *,
        person: Callable[[], Awaitable[Ends]] | None = None,
        player: Player | None = None,
        asks: Callable[[bool], None] | None = None,
        taped: Callable[[Ends], Ends] = lambda ends: ends,
    ) -> None:
        """Say who answers.

        Args:
            how: mic, caller, busy, no-answer or reject.
            person: Opens what a person holds the call with; begun when it rings.
            player: Who the virtual caller is.
            asks: Told whether it rings for a person; None where nobody can be asked, and it is
                answered at once.
            taped: Puts a recorder between the call and its ends.
        """
        self._how, self._person, self._player = how, person, player
        self._asks, self._taped = asks, taped
        self._decision: asyncio.Future[bool] | None = None
        self.call: MicCall | None = None
        """The call that was taken."""
        self.badges: tuple[str, ...] = ()
        """Short words about how it is held."""

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
            AudioDeviceError: If a person's devices cannot be opened; the call was turned away.
            ServerUnreachableError: If the connection is lost.
        """
        while True:
            if not isinstance(await handset.next(), events.CallRinging):
                continue
            match self._how:
                case "busy" | "reject":
                    await handset.reject("busy" if self._how == "busy" else "rejected")
                case "no-answer":
                    pass
                case _:
                    ends = await self._answered(handset)
                    if ends is not None:
                        await self._hold(await handset.accept(), ends)
                        return

    async def _answered(self, handset: Handset) -> Ends | None:
        """Return what to hold the call with; None if it is not taken."""
        if self._person is None:
            return deaf()
        opening = asyncio.ensure_future(self._person())
        # A device that fails is told when it is wanted; if the call is not, nobody asks.
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            if self._asks is not None and not await self._asked(handset):
                return None
            return await opening
        except PinecallError:
            await handset.reject("rejected")
            raise
        finally:
            opening.cancel()

    async def _asked(self, handset: Handset) -> bool:
        """Let a person decide; False if the call is not wanted, or has stopped ringing."""
        assert self._asks is not None
        loop = asyncio.get_running_loop()
        self._decision = loop.create_future()
        stopped = loop.create_task(handset.next(), name="ringing")
        self._asks(True)
        ends: set[asyncio.Future[Any]] = {self._decision, stopped}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._asks(False)
            stopped.cancel()
            await asyncio.wait({stopped})
        if not stopped.cancelled():
            stopped.result()
            return False
        if not self._decision.result():
            await handset.reject("rejected")
        return self._decision.result()

    async def _hold(self, call: MicCall, ends: Ends) -> None:
        self.call, self.badges = call, ends.badges
        if self._player is not None:
            ends = virtual(call, self._player)
        ends = self._taped(ends)
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
