"""Checks of key, server and clock. Nobody is asked unless a key is set or a server is named."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pinecall_cli.errors import NotAuthorisedError, PinecallError, UsageError
from pinecall_cli.sdk import discover
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Flags, Secret, Settings, Surroundings, Target, data_dir, resolve
from pinecall_cli.view.checkup import Check

MOST_OFF_S = 30.0
"""Half of a token's life: a clock that is further off makes tokens look used up."""
ANSWER_S = 5.0
"""For a server elsewhere to answer."""


def key_and_server(flags: Flags) -> Iterator[Check]:
    """Yield which key there is, whether a server takes it, and what its clock says."""
    try:
        found = resolve(flags, Surroundings.here())
        target = found.target()
    except (UsageError, NotAuthorisedError) as problem:
        where = f" ({problem.where})" if problem.where else ""
        yield Check("key", False, f"{problem.message}{where}", problem.fix, needed=True)
        yield embedded()
        yield of_clock(time.time(), newest_file())
        return
    if target.kind == "hosted":
        yield from hosted(found, target)
        return
    yield key_of(found, used=False)
    yield embedded() if target.url is None else local(target)
    yield of_clock(time.time(), newest_file())


def key_of(found: Settings, *, used: bool) -> Check:
    """Return where the key came from; the key itself is never shown."""
    if found.key is None:
        return Check("key", True, "none is set, and none is needed on this machine")
    said = f"from {found.key.origin}"
    if not used:
        said += ", not used: the server is on this machine"
    others = ", ".join(str(one.origin) for one in found.key.shadows)
    return Check("key", True, said + (f"; goes before {others}" if others else ""), needed=used)


# --- servers on this machine ----------------------------------------------------------------


def embedded() -> Check:
    """Return whether the embedded server starts and answers, and which local servers run."""

    async def start() -> tuple[float, tuple[discover.Running, ...]]:
        begun = time.perf_counter()
        async with EmbeddedServer(engines=NoEngines()) as server:
            async with Rest(server.url, Secret(server.key)) as rest:
                await rest.agents()
            took = time.perf_counter() - begun
        return took, await discover.running()

    took, running = asyncio.run(start())
    said = f"the embedded server starts ({1000 * took:.0f} ms)"
    urls = ", ".join(one.url for one in running)
    return Check("server", True, said + (f"; running: {urls}" if urls else ""), needed=True)


class NoEngines:
    """Keeps a server from loading speech: that is a check of its own."""

    def load(self) -> None:
        """Load nothing."""


def local(target: Target) -> Check:
    """Return whether a local server that was named answers."""
    try:
        (running,) = asyncio.run(discover.servers(target))
    except PinecallError as problem:
        return Check("server", False, problem.message, problem.fix, needed=True)
    return Check("server", True, f"{running.url}, agents: {len(running.agents)}", needed=True)


# --- a hosted server ------------------------------------------------------------------------


def hosted(found: Settings, target: Target) -> Iterator[Check]:
    """Yield whether the server can be reached and takes the key, and how far its clock is off."""
    assert target.url is not None

    async def ask() -> datetime | None:
        async with Rest(str(target.url), target.key, timeout=ANSWER_S) as rest:
            return await rest.clock()

    begun = time.perf_counter()
    try:
        theirs = asyncio.run(ask())
    except NotAuthorisedError as refused:
        origin = found.key.origin if found.key is not None else "nowhere"
        message = f"from {origin}: {refused.message}"
        yield Check("key", False, message, refused.fix, needed=True)
        yield Check("server", True, f"{target.url} answers", needed=True)
        yield of_clock(time.time(), newest_file())
        return
    except PinecallError as problem:
        yield key_of(found, used=True)
        yield Check("server", False, problem.message, problem.fix, needed=True)
        yield of_clock(time.time(), newest_file())
        return
    took = time.perf_counter() - begun
    yield key_of(found, used=True)
    yield Check("server", True, f"{target.url} takes the key ({1000 * took:.0f} ms)", needed=True)
    yield of_clock(time.time(), newest_file(), theirs)


# --- the clock ------------------------------------------------------------------------------


def of_clock(now: float, newest: float, theirs: datetime | None = None) -> Check:
    """Return whether the clock can be right.

    Args:
        now: What it says, in epoch seconds.
        newest: When something that is here already was written.
        theirs: What the server's clock says.
    """
    shown = datetime.fromtimestamp(now).astimezone().isoformat(" ", "seconds")
    if theirs is not None:
        off = now - theirs.timestamp()
        if abs(off) > MOST_OFF_S:
            way = "ahead of" if off > 0 else "behind"
            said = f"{shown}, {abs(off):.0f} s {way} the server's; tokens last 60 s"
            return Check("clock", False, said, FIX_CLOCK, needed=True)
        return Check("clock", True, f"{shown}, as the server's", needed=True)
    if now < newest - MOST_OFF_S:
        said = f"{shown}, and there are files here from later"
        return Check("clock", False, said, FIX_CLOCK)
    return Check("clock", True, shown)


FIX_CLOCK = "let the system set its clock over the network (on Linux: timedatectl set-ntp true)"


def newest_file() -> float:
    """Return when this program, or the newest line of its call log, was written."""
    written = [Path(__file__).stat().st_mtime]
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        written.append((data_dir() / "calls.db").stat().st_mtime)
    return max(written)
