"""Faults on purpose, for testing clients: `pinecall server --fault NAME=VALUE`.

Off unless named, and loud when on. They strike what leaves for agent sockets, registrations,
models and HTTP; calls, logs and everybody's data stay whole.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from pinecall_cli.engines.llm import close, closing
from pinecall_cli.engines.types import Model, ModelRequest, ToolCall
from pinecall_cli.errors import UsageError

Write = Callable[[str], Awaitable[None]]

HELD_S = 0.2
"""How long a frame waits to change places, if no other comes."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Which faults are on; 0 and nothing are off."""

    drop_after: int = 0
    """Cut an agent socket off after so many frames to it."""
    delay_ms: int = 0
    """Send every frame to agent sockets so much later."""
    duplicate: int = 0
    """Send every so-many-th frame to an agent socket twice."""
    reorder: int = 0
    """Let every so-many-th frame change places with the next."""
    refuse: str = ""
    """Refuse every agent with this code, such as SERVER_AT_CAPACITY. Lines are not counted."""
    stall_ms: int = 0
    """Let models be silent for so long before their first word."""
    too_many: int = 0
    """Answer every so-many-th HTTP request with 429."""

    @property
    def on(self) -> list[str]:
        """Return the faults that are on, as they were named."""
        given = ((one.name, getattr(self, one.name)) for one in fields(self))
        return [f"{name.replace('_', '-')}={value}" for name, value in given if value]


def parse_faults(texts: Iterable[str]) -> Faults:
    """Return the faults that the texts name, each ``NAME=VALUE``.

    Raises:
        UsageError: If one names no fault, or its value is none.
    """
    faults = Faults()
    names = {one.name.replace("_", "-"): one for one in fields(Faults)}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in names:
            raise UsageError(
                f"`{name}` is no fault", fix=f"these are: {', '.join(f'{one}=…' for one in names)}"
            )
        key = names[name].name
        if key == "refuse":
            if not re.fullmatch(r"[A-Z][A-Z_]{1,60}", value):
                raise UsageError(f"`{value}` is no code", fix="write `refuse=SERVER_AT_CAPACITY`")
            faults = replace(faults, refuse=value)
        elif not re.fullmatch(r"[0-9]{1,9}", value):
            raise UsageError(f"`{text}` has no number", fix=f"write `{name}=20`")
        else:
            number: dict[str, Any] = {key: int(value)}
            faults = replace(faults, **number)
    return faults


class Cut(Exception):
    """The socket is to be cut off here."""


class Spoiled:
    """Writes frames to one agent socket as the faults will have it."""

    def __init__(self, faults: Faults, write: Write) -> None:
        self._faults, self._write = faults, write
        self._count = 0
        self._held: str | None = None
        self._settling: asyncio.Task[None] | None = None

    async def __call__(self, frame: str) -> None:
        """Write a frame, or hold it back.

        Raises:
            Cut: If the socket is to be cut off in its place.
        """
        faults = self._faults
        self._count += 1
        if faults.drop_after and self._count > faults.drop_after:
            raise Cut
        if faults.delay_ms:
            await asyncio.sleep(faults.delay_ms / 1000)
        if faults.reorder and self._count % faults.reorder == 0 and self._held is None:
            self._held = frame
            self._settling = asyncio.get_running_loop().create_task(self._settle(), name="held")
            return
        await self._write(frame)
        await self._release()
        if faults.duplicate and self._count % faults.duplicate == 0:
            await self._write(frame)

    async def _settle(self) -> None:
        await asyncio.sleep(HELD_S)
        await self._release()

    async def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            await self._write(held)

    def close(self) -> None:
        """Give up what is held back."""
        if self._settling is not None:
            self._settling.cancel()


class Stalled:
    """A model that says nothing for a while before its first word."""

    def __init__(self, model: Model, seconds: float) -> None:
        self.name = model.name
        self._model, self._seconds = model, seconds

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ToolCall]:
        """Yield what the model does, later."""
        await asyncio.sleep(self._seconds)
        async with closing(self._model.stream(request)) as pieces:
            async for piece in pieces:
                yield piece

    async def aclose(self) -> None:
        """Close what the model keeps open."""
        await close(self._model)
