"""Which server a command means: the one that was named, or local ones that run now.

What runtime files say is read by `settings.running`; this module asks the servers, and removes the
files of those that are gone.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pinecall_cli.errors import (
    ConflictError,
    NotAuthorisedError,
    NotFoundError,
    PinecallError,
    ServerUnreachableError,
    UsageError,
)
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.sdk.listing import ConnectedAgent
from pinecall_cli.sdk.rest import Rest, ServerSlowError
from pinecall_cli.settings import Secret, Target
from pinecall_cli.settings.running import LocalServer as LocalServer
from pinecall_cli.settings.running import key_of as key_of
from pinecall_cli.settings.running import runtime_files as runtime_files

ANSWER_WITHIN = 2.0
"""Seconds a local server has for its list of agents: a busy one needs some, a dead one none."""
MOST_LISTED = 20
"""Names in one sentence; `pinecall agents` lists them all."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answered, and its agents."""

    url: str
    key: Secret
    agents: tuple[ConnectedAgent, ...]
    local: LocalServer | None = None
    """Its runtime file, if it is a local server that was found by it."""

    def has(self, name: str) -> bool:
        """Tell whether an agent of that name is connected to it."""
        return any(agent.slug == slugify(name) for agent in self.agents)


# --- local servers ------------------------------------------------------------------------


async def running(folder: Path | None = None) -> tuple[Running, ...]:
    """Return the local servers that answer to their keys, oldest first, and sweep the others.

    A server that is there and merely slow is left out, and its file stays.
    """
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(server)) for server in runtime_files(folder)]
    return tuple(answer for task in asked if (answer := task.result()) is not None)


async def ask(server: LocalServer) -> Running | None:
    """Return a local server with its agents; None, and its file removed, if it is not there."""
    try:
        async with Rest(server.url, server.key, timeout=ANSWER_WITHIN) as rest:
            return Running(server.url, server.key, await rest.agents(), server)
    except ServerSlowError:
        return None
    except PinecallError:
        # Nobody, another program on that port, or a server with another key: ours is gone.
        # The process id proves nothing: by now it may be anybody's.
        server.file.unlink(missing_ok=True)
        return None


# --- the server that is meant ---------------------------------------------------------------


async def servers(target: Target, folder: Path | None = None) -> tuple[Running, ...]:
    """Return the servers that a command is to look at: the one named, else the local ones.

    Raises:
        NotAuthorisedError: If there is no key for the server named, or it is refused.
        ServerUnreachableError: If the server named does not answer.
    """
    if target.url is None:
        return await running(folder)
    key = target.key if target.key is not None else key_of(target.url, folder)
    if key is None:
        await see_that_it_listens(target.url)
        raise NotAuthorisedError(
            f"no key for {target.url}, and no local server of that address was started by you",
            fix="pass `--api-key -` to type it",
        )
    async with Rest(target.url, key) as rest:
        return (Running(target.url, key, await rest.agents()),)


async def see_that_it_listens(url: str) -> None:
    """Make sure that a server of which no key is known is there at all.

    Raises:
        ServerUnreachableError: If it is not.
    """
    async with Rest(url, Secret("none")) as rest:
        try:
            await rest.agents()
        except ServerUnreachableError:
            raise
        except PinecallError:
            return  # whatever it says: there is a server


async def find(name: str, target: Target, folder: Path | None = None) -> Running:
    """Return the one server that has the agent ``name``.

    Raises:
        UsageError: If several local servers have it.
        NotFoundError: If none has; its fix lists the names there are, or says ``--local``.
    """
    found = await servers(target, folder)
    if target.kind != "hosted" or any(server.has(name) for server in found):
        return choose(name, found)
    if any(server.has(name) for server in await running(folder)):
        raise NotFoundError(
            f"no agent `{name}` on {target.url}, but a local server has one",
            fix="pass `--local` to use that one",
        )
    return choose(name, found)


async def only(target: Target, *, how: str, folder: Path | None = None) -> str:
    """Return the name of the one agent that is connected.

    Args:
        target: The server that is meant.
        how: How one of several is named; the error's fix.
        folder: Where the runtime files are.

    Raises:
        NotFoundError: If there is none.
        UsageError: If there are several; the message lists them.
    """
    found = await servers(target, folder)
    names = sorted({agent.slug for server in found for agent in server.agents})
    if not names:
        fix = "run one with `pinecall dev FILE`, or name an agent's file"
        raise NotFoundError("no agent is running", fix=fix)
    if len(names) > 1:
        raise UsageError(f"several agents are running: {listed(names)}", fix=how)
    return names[0]


def choose(name: str, servers: Iterable[Running]) -> Running:
    """Return the one of these servers that has the agent ``name``; raises as `find` does."""
    servers = tuple(servers)
    having = [server for server in servers if server.has(name)]
    if len(having) == 1:
        return having[0]
    if having:
        urls = ", ".join(found.url for found in having)
        raise UsageError(
            f"several servers have an agent `{name}`: {urls}",
            fix="name one with `--server URL`",
            code="ambiguous_server",
        )
    if not servers:
        raise NotFoundError(
            f"no agent `{name}`: no local server is running",
            fix="start one with `pinecall dev FILE`",
        )
    raise NotFoundError(
        f"no agent `{name}` on {', '.join(found.url for found in servers)}",
        fix=others(name, {agent.slug for found in servers for agent in found.agents}),
    )


def others(name: str, names: Iterable[str]) -> str:
    """Return which agents there are instead of ``name``, the closest one first."""
    there = sorted(names)
    if not there:
        return "no agent is connected there"
    near = difflib.get_close_matches(slugify(name), there, 1)
    meant = f"did you mean `{near[0]}`? " if near else ""
    return f"{meant}connected: {listed(there)}"


def listed(names: Sequence[str]) -> str:
    """Return names for a sentence: the first `MOST_LISTED`, and how many more there are."""
    shown = ", ".join(f"`{name}`" for name in names[:MOST_LISTED])
    more = len(names) - MOST_LISTED
    return f"{shown}, and {more} more" if more > 0 else shown


def refuse_held(names: Iterable[str], servers: Iterable[Running], fix: str | None = None) -> None:
    """Make sure that no local server has an agent of these names; ``fix`` says what else helps.

    Raises:
        ConflictError: If one has; the message says which process.
    """
    servers = tuple(servers)
    for name in names:
        for found in servers:
            if found.has(name):
                holder = (
                    f"process {found.local.pid} ({found.url}, {found.local.file})"
                    if found.local is not None
                    else found.url
                )
                raise ConflictError(
                    f"agent `{name}` is held by {holder}",
                    fix=fix
                    or f"stop that process, join it with `--server {found.url}`, "
                    "or take another name with `--as`",
                )
