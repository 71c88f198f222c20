"""``pinecall agents kick``: take an agent's name from whoever holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pinecall_cli.commands import complete, options

if TYPE_CHECKING:
    from pinecall_cli.sdk.discover import Running


def kick(
    slug: Annotated[
        str,
        typer.Argument(metavar="SLUG", autocompletion=complete.agents, help="A connected agent."),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Disconnect an agent: its calls are hung up, and its name is free again.

    On a terminal it asks first, and says which calls end; elsewhere it wants
    --yes. The process that held the agent does not take it back by itself.

    Examples:
      pinecall agents kick front-desk
      pinecall agents kick front-desk --yes --json
    """
    import asyncio

    from pinecall_cli.protocol.ids import slugify
    from pinecall_cli.sdk import discover
    from pinecall_cli.sdk.rest import Rest

    target = options.settings(server, api_key, local).target()
    found = asyncio.run(discover.find(slug, target))
    name = slugify(slug)
    calls = asyncio.run(live_calls(found, name))
    if not yes:
        confirm(name, found, calls)

    async def disconnect() -> None:
        async with Rest(found.url, found.key) as rest:
            await rest.kick(name)

    asyncio.run(disconnect())
    if json:
        options.echo_json({"agent": name, "server": found.url, "calls": calls})
        return
    ended = "" if not calls else f"; {len(calls)} live call{'s' * (len(calls) > 1)} ended"
    typer.echo(options.inert(f"{name} is disconnected from {found.url}{ended}"))


async def live_calls(found: Running, name: str) -> list[str] | None:
    """Return the calls that end with an agent; None where the server does not tell which."""
    from pinecall_cli.errors import InfrastructureError, NotFoundError
    from pinecall_cli.sdk.rest import Rest

    try:
        async with Rest(found.url, found.key) as rest:
            listed = await rest.calls(name, limit=1000)
    except (InfrastructureError, NotFoundError):
        return None
    return [str(row.get("call_id")) for row in listed.rows if row.get("live")]


def confirm(name: str, found: Running, calls: list[str] | None) -> None:
    """Ask before somebody is disconnected.

    Raises:
        UsageError: If there is nobody to ask.
    """
    import sys

    from pinecall_cli.errors import UsageError

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"`{name}` would be disconnected, and that has to be confirmed",
            fix="pass `--yes`, or run it in a terminal",
            code="confirmation_needed",
        )
    typer.echo(options.inert(f"{name} on {found.url}: {ending(name, found, calls)}"), err=True)
    typer.confirm("Disconnect it?", abort=True, err=True)


def ending(name: str, found: Running, calls: list[str] | None) -> str:
    """Return which live calls end."""
    if calls:
        return f"{len(calls)} live call{'s' * (len(calls) > 1)} will end: {', '.join(calls)}"
    if calls is not None:
        return "no live calls"
    said = next((agent.live_calls for agent in found.agents if agent.slug == name), None)
    return "its live calls will end" if said is None else f"{said} live calls will end"
