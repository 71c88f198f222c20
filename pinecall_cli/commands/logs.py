"""``pinecall logs``: calls that were and are, their transcripts, and everything as it happens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pinecall_cli.commands import complete, options


def logs(
    call_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[CALL_ID]",
            show_default=False,
            autocompletion=complete.calls,
            help="A call, or the beginning of its id; left out: the list of calls.",
        ),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            metavar="SLUG",
            autocompletion=complete.known_agents,
            help="Calls of this agent alone.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="10m",
            autocompletion=complete.words("10m", "1h", "24h", "7d"),
            help="Calls of this time: 30s, 10m, 2h, 7d. Live ones too.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Calls to list, beside those that go on.")
    ] = 20,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Go on as it happens: one call, one agent (--agent), or all. Lost connections "
            "are made again; no entry is lost, and none comes twice.",
        ),
    ] = False,
    event: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            autocompletion=complete.entries,
            help="Entries of these types alone: `tool.*`; repeatable.",
        ),
    ] = None,
    grep: Annotated[
        str | None,
        typer.Option(metavar="RE", help="Lines (with --json: entries) that this is found in."),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            autocompletion=complete.words("txt", "json", "srt", "vtt", "wav"),
            help="txt, json, srt, vtt (captions, by word times) or wav (a recorded call).",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where --export writes to."),
    ] = None,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """List calls, read one, or follow them all as they happen.

    A call's transcript has its tool calls and latencies. With no server
    running, the call log in your data folder is read itself.

    Examples:
      pinecall logs
      pinecall logs --follow --event "tool.*" --json
    """
    from pinecall_cli.commands.logs_session import LogsOptions, run

    chosen = LogsOptions(
        call_id=call_id,
        agent=agent,
        since=since,
        limit=limit,
        follow=follow,
        events=tuple(event or ()),
        grep=grep,
        export=export,
        output=output,
        json=json,
        plain=plain,
        quiet=quiet,
        verbose=verbose,
    )
    raise typer.Exit(run(chosen, options.settings(server, api_key, local)))
