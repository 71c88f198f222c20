"""The server a command works with: one of its own in this process, or one that runs already."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pinecall_cli.errors import InfrastructureError
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.sdk import discover
from pinecall_cli.settings import Secret, Target, data_dir, run_dir
from pinecall_cli.settings.running import key_now

if TYPE_CHECKING:
    from pinecall_cli.server.embedded import EmbeddedServer


@dataclass(frozen=True, slots=True)
class Place:
    """A server: where it is and the key it takes."""

    url: str
    key: Secret
    embedded: EmbeddedServer | None = None
    """The server, if it is ours and in this process."""
    renewed: bool = False
    """Whether the key is the server's own, and another one after each of its starts."""

    @property
    def presented(self) -> Secret | Callable[[], Secret]:
        """What a client that comes back to the server is to have for a key."""
        return key_now(self.url, self.key) if self.renewed else self.key


@asynccontextmanager
async def own_server(
    names: Iterable[str],
    *,
    port: int = 0,
    record: Path | None = None,
    speech: bool = True,
    held: str | None = None,
    notice: Callable[[str], None],
) -> AsyncIterator[Place]:
    """Run the embedded server for agents of these names.

    Args:
        names: The slugs that will be registered on it.
        port: Its port; 0 for any.
        record: Where to record every call.
        held: What to do instead where another local server has one of the names.
        speech: Whether to load the speech engines at once, not at the first call that needs them.
        notice: Told, from another thread, what stands in for what an agent asks for.

    Raises:
        ConflictError: If a local server that runs already has one of the names.
        InfrastructureError: If the port is taken.
    """
    discover.refuse_held(names, await discover.running(), held)
    from pinecall_cli.engines.choose import OnDemand, SpeechEngines
    from pinecall_cli.engines.collector import passed_over
    from pinecall_cli.server.embedded import EmbeddedServer

    engines = SpeechEngines() if speech else OnDemand()
    server = EmbeddedServer(
        port=port,
        data=data_dir(),
        engines=engines,
        run_dir=run_dir(),
        environ=os.environ,
        notice=notice,
        record=record,
    )
    with closing(engines), passed_over(engines.ready):
        async with server:
            yield Place(server.url, Secret(server.key), server)


def dev_name(name: str, target: Target) -> str:
    """Return the name that a file's agent registers under while it is worked on.

    On a hosted server it never takes the place of the one in production.
    """
    return f"dev-{slugify(getpass.getuser())}-{name}" if target.kind == "hosted" else name


def joined_server(target: Target) -> Place:
    """Return a server that runs already.

    Raises:
        InfrastructureError: If it is local, and no runtime file knows its key.
    """
    assert target.url is not None, "an embedded server is started, not joined"
    key = target.key or discover.key_of(target.url)
    if key is None:
        raise InfrastructureError(
            f"no local server is known at {target.url}",
            code="server_unreachable",
            fix="start one with `pinecall server`, or name its key with `--api-key`",
        )
    return Place(target.url, key, renewed=target.key is None)
