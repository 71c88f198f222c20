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
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Disconnect an agent: its calls are hung up, and its name is free again.

    On a terminal it asks first, and says which calls end (no: exit code 1);
    elsewhere it wants --yes. The process that held it does not take it back.

    Examples:
      pinecall agents kick front-desk
      pinecall agents kick front-desk --yes --json
    """
    import asyncio

    from pinecall_cli.protocol.ids import slugify
    from pinecall_cli.sdk import discover
    from pinecall_cli.sdk.rest import Rest

    target = options.settings(server, api_key, local).target()
    name = slugify(slug)

    async def look() -> tuple[Running, list[str] | None]:
        found = await discover.find(slug, target)
        return found, await live_calls(found, name)

    async def disconnect() -> None:
        async with Rest(found.url, found.key) as rest:
            await rest.kick(name)

    found, calls = asyncio.run(look())
    if not yes:
        confirm(name, found, calls)
    asyncio.run(disconnect())
    if json:
        options.echo_json({"agent": name, "server": found.url, "calls": calls})
        return
    ended = "" if not calls else f"; {len(calls)} live call{'s' * (len(calls) > 1)} ended"
    typer.echo(options.inert(f"{name} is disconnected from {found.url}{ended}"))


async def live_calls(found: Running, name: str) -> list[str] | None:
    """Return the calls that end with an agent; None where the server does not tell which."""
    from pinecall_cli.errors import InfrastructureError, NotAuthorisedError, NotFoundError
    from pinecall_cli.sdk.rest import Rest

    try:
        async with Rest(found.url, found.key) as rest:
            listed = await rest.calls(name, limit=1000)
    except (InfrastructureError, NotAuthorisedError, NotFoundError):
        return None  # a hosted server may want a token here, not the key
    return [str(row.get("call_id")) for row in listed.rows if row.get("live")]


def confirm(name: str, found: Running, calls: list[str] | None) -> None:
    """Ask before somebody is disconnected.

    Raises:
        UsageError: If there is nobody to ask.
        DeclinedError: If the answer is no.
    """
    options.ask_first(
        "Disconnect it?",
        nobody=f"`{name}` would be disconnected, and that has to be confirmed",
        about=f"{name} on {found.url}: {ending(name, found, calls)}",
    )


def ending(name: str, found: Running, calls: list[str] | None) -> str:
    """Return which live calls end."""
    if calls:
        return f"{len(calls)} live call{'s' * (len(calls) > 1)} will end: {', '.join(calls)}"
    if calls is not None:
        return "no live calls"
    said = next((agent.live_calls for agent in found.agents if agent.slug == name), None)
    return "its live calls will end" if said is None else f"{said} live calls will end"
