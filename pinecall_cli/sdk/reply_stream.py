"""A reply that is written while it is spoken: tokens in, speech out (protocol: commands.md §6.2).

The server speaks each sentence as soon as it is whole. A stream is tied to the turn it answers:
once the caller goes on speaking, cuts in, or is gone, it is aborted, and nothing more is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable
from types import TracebackType
from typing import Literal

from msgspec import UNSET

from pinecall_cli.protocol import commands, ids

Post = Callable[[commands.BotReplyStream], None]


class ReplyStream:
    """One streamed reply; made by `Call.reply_stream`. Leaving its ``async with`` ends it.

    The first token opens it at the server; a stream that is ended without any says nothing.
    Writing never fails: after an abort what is written is counted and dropped.

    Example:
        What the caller makes void by going on is given up, and its source with it::

            import asyncio

            from pinecall_cli import Agent

            desk = Agent("front-desk", greeting="Good day.")

            async def think(question):
                yield "Let me see. "
                await asyncio.sleep(2)  # a model that takes its time
                yield f"You asked: {question}"

            @desk.on("turn.end")
            async def answer(turn, call):
                async with call.reply_stream(turn) as reply:
                    if not await reply.pipe(think(turn.text)):
                        print("given up:", reply.reason)  # turn_continued, interrupted…
    """

    def __init__(self, call_id: str, in_reply_to: str, post: Post) -> None:
        self.message_id = ids.message_id()
        """The id under which the reply's events come."""
        self.in_reply_to = in_reply_to
        """The id of the caller's message that it answers; empty for none."""
        self.reason: str | None = None
        """Why it was aborted: ``turn_continued``, ``interrupted``, ``cancelled``, ``obsolete``,
        ``call_ended``, ``connection_lost``; None while it is not."""
        self.ignored = 0
        """Writes that came after its end or abort, and were not sent."""
        self._call_id, self._post = call_id, post
        self._started = self._ended = False
        self._feeding: asyncio.Task[bool] | None = None

    def __repr__(self) -> str:
        return f"<ReplyStream {self.message_id} {self.state}>"

    @property
    def aborted(self) -> bool:
        """Whether nobody will hear (the rest of) it."""
        return self.reason is not None

    @property
    def ended(self) -> bool:
        """Whether nothing more is sent: it was ended, or aborted."""
        return self._ended

    @property
    def state(self) -> str:
        """Say in a word how it stands: ``open``, ``ended`` or ``aborted``."""
        return "aborted" if self.aborted else "ended" if self._ended else "open"

    def write(self, token: str | None) -> None:
        """Append a piece of text, verbatim; None and nothing are skipped, as models send them."""
        if not token:
            return
        if self._ended:
            self.ignored += 1
            return
        self._start()
        self._send("chunk", token)

    def end(self) -> None:
        """Say that the reply is whole; what is left is spoken. Once is enough.

        What a `pipe` has not read by then is not wanted: its source is cancelled.
        """
        if not self._ended:
            self._start()
            self._ended = True
            self._send("end")
            feeding = self._feeding
            if feeding is not None and feeding is not running_task():
                feeding.get_loop().call_soon_threadsafe(feeding.cancel)

    async def pipe(self, tokens: AsyncIterable[str | None]) -> bool:
        """Write all that comes, and return whether it came whole.

        When the stream is aborted, or ended meanwhile, the source is cancelled at once, so that
        nobody pays for tokens that no one hears; what the source raises is raised here. It does
        not `end`.

        Args:
            tokens: Pieces of text. A generator is closed when this returns.
        """
        if self._ended:
            await closed(tokens)
            return False

        async def feed() -> bool:
            try:
                async for token in tokens:
                    self.write(token)
                    if self._ended:
                        return False
                return True
            finally:
                await closed(tokens)

        self._feeding = asyncio.get_running_loop().create_task(feed(), name="reply stream")
        try:
            whole = await self._feeding
        except asyncio.CancelledError:
            us = asyncio.current_task()
            if not self._ended or (us is not None and us.cancelling()):
                raise
            return False
        finally:
            self._feeding = None
        return whole and not self.aborted

    def abort(self, reason: str, *, tell: bool = True) -> None:
        """Give the reply up: nothing more is sent, and whatever feeds it is cancelled.

        Args:
            reason: Why.
            tell: Whether to close it at the server, if it was opened there.
        """
        if self._ended:
            return
        self._ended, self.reason = True, reason
        if self._started and tell:
            self._send("end")
        if self._feeding is not None:
            self._feeding.cancel()

    async def __aenter__(self) -> ReplyStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._send("start")

    def _send(self, action: Literal["start", "chunk", "end"], token: str | None = None) -> None:
        self._post(
            commands.BotReplyStream(
                call_id=self._call_id,
                message_id=self.message_id,
                action=action,
                in_reply_to=self.in_reply_to if action == "start" else UNSET,
                token=UNSET if token is None else token,
            )
        )


def running_task() -> asyncio.Task[object] | None:
    """Return the task that runs in this thread, if one does."""
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop: the stream is ended from another thread
        return None


async def closed(tokens: object) -> None:
    """Close a source of tokens that can be closed: an async generator, a model's stream."""
    close = getattr(tokens, "aclose", None)
    if close is not None:
        with contextlib.suppress(RuntimeError):  # a generator that runs is closed by its cancel
            await close()
