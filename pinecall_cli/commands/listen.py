"""``pinecall listen``: hear a running call and read its transcript."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pinecall_cli.commands import complete, options


def listen(
    call_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[CALL_ID]",
            show_default=False,
            autocompletion=complete.live_calls,
            help="A live call, or the beginning of its id; the only one, if left out.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="OUT.wav", help="Keep what is heard; valid even if this is killed."),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Write the sound to stdout: int16 mono PCM, no loudspeaker."),
    ] = False,
    no_audio: Annotated[
        bool, typer.Option("--no-audio", help="Play nothing: the transcript alone.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="OUT",
            autocompletion=complete.loudspeakers,
            help="The loudspeaker, by id or part of its name.",
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
    """Hear a running call on the loudspeaker, both sides, and read its transcript.

    It plays a call's sound; it does not receive webhooks. It ends with the call.

    Examples:
    pinecall listen

    pinecall listen --record call.wav --no-audio --json
    """
    from pinecall_cli.commands.listen_session import ListenOptions, run

    chosen = ListenOptions(
        call_id=call_id,
        record=record,
        raw=raw,
        audio=not (no_audio or raw),
        device=device,
        json=json,
        plain=plain,
        quiet=quiet,
        verbose=verbose,
    )
    raise typer.Exit(run(chosen, options.settings(server, api_key, local)))
