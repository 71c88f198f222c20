"""``pinecall call``: call an agent, with a microphone, a recording or a virtual caller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pinecall_cli.commands import options


def call(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]", show_default=False, help="A running agent's name, or an agent file."
        ),
    ] = None,
    say: Annotated[
        list[str] | None,
        typer.Option(
            "--say",
            metavar="TEXT",
            help="Speak TEXT with a local voice; repeat for more, each after the agent's reply.",
        ),
    ] = None,
    input_: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE.wav", help="Use a recording as the microphone."),
    ] = None,
    caller: Annotated[
        str | None,
        typer.Option(metavar="FILE.yaml", help="Let a virtual caller call; `-` reads stdin."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE.wav", help="Keep what the agent says."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Record the call: <call-id>.wav (caller left, agent right) and .jsonl.",
        ),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="N", help="The caller's number.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="The agent's number: makes it a phone call, 8 kHz µ-law both ways."
        ),
    ] = None,
    press: Annotated[
        str | None, typer.Option(metavar="DIGITS", help="Press these keys first; phone calls.")
    ] = None,
    stay: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            min=0,
            help="Hang up S seconds after the last thing said; default: 2 s after the answer.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="IN[:OUT]", help="Sound devices, by id or part of the name."),
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="List the sound devices and end.")
    ] = False,
    no_aec: Annotated[
        bool, typer.Option("--no-aec", help="No echo cancellation: you wear headphones.")
    ] = False,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Call an agent: talk to it, play it a recording, or let a virtual caller talk.

    A name calls an agent that runs already (`pinecall dev`, on this machine);
    a file runs its agent for this one call. Left to itself it uses microphone
    and loudspeaker; with --say, --input or --caller no sound device is opened.

    Examples:
      pinecall call front-desk
      pinecall call front-desk --say "Where is order seven?" --json
      pinecall call agents/front_desk.yaml --input question.wav --output reply.wav
    """
    from pinecall_cli.commands.call_session import CallOptions, print_devices, run

    if list_devices:
        print_devices(json=json)
        return
    chosen = CallOptions(
        target=target,
        say=tuple(say or ()),
        input=input_,
        caller=caller,
        output=output,
        record=record,
        from_=from_,
        to=to,
        press=press,
        stay=stay,
        device=device,
        cancel_echo=not no_aec,
        json=json,
        plain=plain,
        quiet=quiet,
        verbose=verbose,
    )
    raise typer.Exit(run(chosen, options.settings(server, api_key, local)))
