"""What ``token`` wires together: who is asked, with a key or as a page, and what is printed."""

from __future__ import annotations

import asyncio
import json as jsonlib
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import typer

from pinecall_cli.commands.dial_plan import metadata_of
from pinecall_cli.commands.options import inert
from pinecall_cli.errors import NotAuthorisedError, UsageError
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.protocol.metadata import sealed_text
from pinecall_cli.protocol.origins import browser_origin
from pinecall_cli.sdk import discover
from pinecall_cli.sdk.rest import Channel, Rest, Token
from pinecall_cli.settings import HOSTED_URL, Secret, Settings, is_loopback

WRITE_AN_OBJECT = """write it as '{"user": "u_9"}'"""
OPENS = {"webrtc": "/webrtc/offer or /mic/ws", "chat": "/chat/ws", "stream": "/v1/attach"}
LASTS = {
    "webrtc": "good once, within {seconds} s",
    "chat": "good once, within {seconds} s",
    "stream": "to be used within {seconds} s, and from then on for an hour",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions:
    """What the command line of ``token`` said."""

    agent: str
    channel: Channel = "webrtc"
    metadata: tuple[str, ...] = ()
    metadata_json: str | None = None
    call: str | None = None
    scope: str | None = None
    origin: str | None = None
    json: bool = False
    quiet: bool = False


def run(options: TokenOptions, settings: Settings) -> None:
    """Get a token and print it.

    Raises:
        PinecallError: If there is none to be had.
    """
    metadata = checked(options)
    if options.origin is None:
        token = asyncio.run(with_key(options, settings, metadata))
    else:
        token = asyncio.run(as_page(options, options.origin, settings))
    agent = slugify(options.agent)
    if not options.quiet:
        typer.echo(inert(f"{options.channel} token for {agent}, from {token.server}"), err=True)
    if options.json:
        document = {
            "token": token.token,
            "server": token.server,
            "expires_in": token.expires_in,
            "channel": options.channel,
            "agent": agent,
        }
        typer.echo(jsonlib.dumps(document))
        return
    if sys.stdout.isatty() and not options.quiet:
        lasts = LASTS[options.channel].format(seconds=f"{token.expires_in:g}")
        typer.echo(f"{lasts}; opens {OPENS[options.channel]}", err=True)
    typer.echo(token.token)


def checked(options: TokenOptions) -> dict[str, Any]:
    """Return the metadata to seal; options that do not go together are refused.

    Raises:
        UsageError: If something is wrong with them.
    """
    stream = options.channel == "stream"
    for name, value in (("--call", options.call), ("--scope", options.scope)):
        if value is not None and not stream:
            raise UsageError(
                f"`{name}` is for stream tokens: this one is for {options.channel}",
                fix="add `--channel stream`",
            )
    if options.origin is not None and stream:
        raise UsageError("no page gets a stream token without a key", fix="leave `--origin` out")
    metadata = {**object_of(options.metadata_json), **metadata_of(options.metadata)}
    if options.origin is not None and metadata:
        raise UsageError(
            "a page cannot seal metadata: only whoever holds the key can",
            fix="leave `--metadata` out, or `--origin`",
        )
    try:
        sealed_text(metadata)
    except UnicodeEncodeError:
        raise UsageError("the metadata is not UTF-8", fix="leave out halves of letters") from None
    except (ValueError, RecursionError) as problem:
        raise UsageError(
            f"the metadata cannot be sealed: {problem}",
            fix="seal an id that your server can look the rest up by",
        ) from None
    return metadata


def object_of(text: str | None) -> dict[str, Any]:
    """Return what ``--metadata-json`` says.

    Raises:
        UsageError: If it is no JSON object.
    """
    if text is None:
        return {}
    try:
        found = jsonlib.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"`--metadata-json` is no JSON: {problem}", fix=WRITE_AN_OBJECT) from None
    if not isinstance(found, dict):
        raise UsageError("`--metadata-json` is no JSON object", fix=WRITE_AN_OBJECT)
    return found


async def with_key(options: TokenOptions, settings: Settings, metadata: dict[str, Any]) -> Token:
    """Return a token of the server that has the agent."""
    found = await discover.find(options.agent, settings.target())
    async with Rest(found.url, found.key) as rest:
        return await rest.token(
            options.channel,
            slugify(options.agent),
            metadata=metadata,
            scope=options.scope,
            call_id=options.call,
        )


async def as_page(options: TokenOptions, page: str, settings: Settings) -> Token:
    """Return the token that a page gets, which has no key.

    Raises:
        NotAuthorisedError: If it gets none; the fix says which pattern would let it in.
    """
    origin = browser_origin(page)
    if origin is None:
        raise UsageError(
            f"`{page}` is no page's address",
            fix="write it as a browser shows it: https://shop.example or http://localhost:3000",
        )
    keyless: Secret | None = None
    async with Rest(await server_of(options, settings), keyless) as rest:
        try:
            return await rest.token(options.channel, slugify(options.agent), origin=origin)
        except NotAuthorisedError:
            raise NotAuthorisedError(
                f"`{slugify(options.agent)}` gives no token to pages of {origin}",
                fix=way_in(origin),
                code="origin_refused",
            ) from None


async def server_of(options: TokenOptions, settings: Settings) -> str:
    """Return the server that the page asks: the one named, else the local one with the agent."""
    if not settings.local and settings.server is not None:
        return settings.server.value
    if not settings.local and settings.key is not None:
        return HOSTED_URL
    return (await discover.find(options.agent, settings.target())).url


def way_in(origin: str) -> str:
    """Return which entry of ``allowed_origins`` would let an origin in."""
    if origin == "null":
        return "no pattern lets `null` in: serve the page over http or https"
    parts = urlsplit(origin)
    if is_loopback(origin) and parts.port is not None:
        host = origin.rpartition(":")[0]
        return f"add `{host}:*` (or `{origin}`) to the agent's `allowed_origins`"
    return f"add `{origin}` to the agent's `allowed_origins`"
