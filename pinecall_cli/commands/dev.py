"""``pinecall dev``: load, connect, register, watch, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pinecall_cli.commands import options


def dev(
    target: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[TARGET]...",
            show_default=False,
            help="Agent files (YAML or Python) or folders of them; default: ./agents, else "
            "agent.yaml or agent.py here.",
        ),
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="SLUG",
            show_default=False,
            help="Register under another name. On a hosted server the default is "
            "dev-<user>-<name>, so that production keeps its own.",
        ),
    ] = None,
    prod: Annotated[
        bool, typer.Option("--prod", help="On a hosted server: register the plain name.")
    ] = False,
    route_callers: Annotated[
        str | None,
        typer.Option(
            metavar="N,…",
            envvar="DEV_CALLERS",
            show_default=False,
            help="Calls and messages from these numbers come to this agent.",
        ),
    ] = None,
    call: Annotated[
        bool, typer.Option("--call", help="Start a call by microphone at once.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Show every event, not only the conversation.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="Record each call: <call-id>.wav (caller left, agent right) and .jsonl.",
        ),
    ] = None,
    no_reload: Annotated[bool, typer.Option("--no-reload", help="Do not watch the files.")] = False,
    poll: Annotated[
        bool,
        typer.Option("--poll", help="Poll the files: network and container mounts send no events."),
    ] = False,
    once: Annotated[
        bool,
        typer.Option("--once", help="End after the first call; the exit code says how it went."),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The embedded server's port; 0: any.")
    ] = 0,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Run agents and keep them equal to their files while you talk to them.

    With no key they run on a voice server inside this process: no account,
    no network. Save a prompt, a tool or the agent itself, and live calls
    take the change. A file that does not load leaves the last good one running.

    Examples:
      pinecall dev agents/front_desk.yaml
      pinecall dev agents --json --no-reload
    """
    from pinecall_cli.commands.dev_session import DevOptions, run

    chosen = DevOptions(
        targets=tuple(target or ()),
        alias=as_,
        prod=prod,
        callers=tuple(number.strip() for number in (route_callers or "").split(",") if number),
        call=call,
        events=events,
        record=record,
        reload=not no_reload,
        poll=poll,
        once=once,
        port=port,
        json=json,
        plain=plain,
        quiet=quiet,
        verbose=verbose,
    )
    raise typer.Exit(run(chosen, options.settings(server, api_key, local)))
