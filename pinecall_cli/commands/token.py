"""``pinecall token``: a short-lived token for one call, chat or log, to hand to somebody."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pinecall_cli.commands import complete, options


class Channel(StrEnum):
    """What a token opens."""

    webrtc = "webrtc"
    chat = "chat"
    stream = "stream"


class Scope(StrEnum):
    """What the holder of a stream token may do in a call."""

    observe = "observe"
    participate = "participate"
    supervise = "supervise"


def token(
    agent: Annotated[
        str,
        typer.Argument(
            metavar="AGENT", autocompletion=complete.agents, help="A running agent's name."
        ),
    ],
    channel: Annotated[
        Channel,
        typer.Option(help="A voice call, a chat, or the call log as it is written (stream)."),
    ] = Channel.webrtc,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            metavar="K=V",
            help="Seal this into the token: it becomes the call's metadata, and whoever holds "
            "the token cannot change it. Repeatable; 2 KB in all.",
        ),
    ] = None,
    metadata_json: Annotated[
        str | None, typer.Option(metavar="JSON", help="Seal a whole JSON object.")
    ] = None,
    call: Annotated[
        str | None,
        typer.Option(
            metavar="ID", autocompletion=complete.calls, help="For stream: this call alone."
        ),
    ] = None,
    scope: Annotated[
        Scope | None,
        typer.Option(help="For stream: read only (observe, the default), speak up, or steer."),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask without a key, as a browser with that page open would: shows whether the "
            "agent's `allowed_origins` lets it in.",
        ),
    ] = None,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Get a short-lived token that opens one call or chat with an agent.

    It is good once and for 60 s, and for this agent alone: something to hand to
    a browser, which must never see the key. In a pipe it is all that is printed.

    Examples:
      pinecall token front-desk --channel chat --metadata user=u_9
      pinecall token front-desk --origin http://localhost:3000 --json
    """
    from pinecall_cli.commands.token_session import TokenOptions, run

    chosen = TokenOptions(
        agent=agent,
        channel=channel.value,
        metadata=tuple(metadata or ()),
        metadata_json=metadata_json,
        call=call,
        scope=None if scope is None else scope.value,
        origin=origin,
        json=json,
        quiet=quiet,
    )
    run(chosen, options.settings(server, api_key, local))
