"""``pinecall call``: call an agent, or let an agent call a number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from pinecall_cli.commands import complete, options

DIALLING = "When the agent calls a number"


def call(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]",
            show_default=False,
            click_type=complete.OR_FILE,
            autocompletion=complete.agents,
            help="A running agent's name, or an agent file; or a number: the agent calls it.",
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
        typer.Option(
            metavar="FILE.yaml",
            click_type=complete.OR_FILE,
            help="Let a virtual caller call; `-` reads stdin.",
        ),
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
    agent: Annotated[
        str | None,
        typer.Option(
            metavar="A",
            click_type=complete.OR_FILE,
            autocompletion=complete.agents,
            rich_help_panel=DIALLING,
            help="Who calls: a running agent's name, or an agent file. May be left out when one "
            "runs.",
        ),
    ] = None,
    answer: Annotated[
        str | None,
        typer.Option(
            metavar="WHO",
            show_default=False,
            click_type=complete.OR_FILE,
            autocompletion=complete.words("mic", "busy", "no-answer", "reject"),
            rich_help_panel=DIALLING,
            help="Who answers on this machine: mic (this terminal rings; the default on one), "
            "FILE.wav, a virtual caller's FILE.yaml, busy, no-answer or reject.",
        ),
    ] = None,
    greeting: Annotated[
        str | None,
        typer.Option(metavar="TEXT", rich_help_panel=DIALLING, help="What the agent says first."),
    ] = None,
    wait_greeting: Annotated[
        bool,
        typer.Option(
            "--wait-greeting", rich_help_panel=DIALLING, help="Let the other side speak first."
        ),
    ] = False,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            metavar="K=V", rich_help_panel=DIALLING, help="What the call is about; repeatable."
        ),
    ] = None,
    max_duration: Annotated[
        float | None,
        typer.Option(metavar="S", min=1, rich_help_panel=DIALLING, help="Hang up after S seconds."),
    ] = None,
    ring_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            min=0,
            max=120,
            rich_help_panel=DIALLING,
            help="Give up when nobody has answered for S seconds; default: 20.",
        ),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            "-y",
            rich_help_panel=DIALLING,
            help="Do not ask before a real telephone rings (hosted server).",
        ),
    ] = False,
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
        typer.Option(
            metavar="IN[:OUT]",
            autocompletion=complete.devices,
            help="Sound devices, by id or part of the name.",
        ),
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
    """Call an agent, or let an agent call a number.

    A name calls an agent that runs already (`pinecall dev`, on this machine);
    a file runs its agent for this one call. Left to itself it uses microphone
    and loudspeaker; with --say, --input or --caller no sound device is opened.

    A number is called by the agent. On this machine's exchange no real telephone
    rings: this terminal does, or +15005550001 (busy), …2 (no answer), …3
    (rejects), …4 (unreachable), …6 (listens), …7 (voicemail), …8 (an echo).

    Examples:
      pinecall call front-desk
      pinecall call front-desk --say "Where is order seven?" --json
      pinecall call agents/front_desk.yaml --input question.wav --output reply.wav
      pinecall call +15005550006 --agent front-desk --greeting "Hello." --json
    """
    from pinecall_cli.commands.call_session import CallOptions, print_devices, run

    if list_devices:
        print_devices(json=json)
        return
    dialling = {
        "--agent": agent,
        "--answer": answer,
        "--greeting": greeting,
        "--wait-greeting": wait_greeting,
        "--metadata": metadata,
        "--max-duration": max_duration,
        "--ring-timeout": ring_timeout,
        "--yes": yes,
    }
    calling = {
        "--say": say,
        "--input": input_,
        "--caller": caller,
        "--output": output,
        "--to": to,
        "--press": press,
        "--stay": stay,
    }
    if target is not None and is_a_number(target):
        refuse(calling, f"`{target}` is a number; who answers there is said with `--answer`")
        from pinecall_cli.commands.dial_plan import DialOptions
        from pinecall_cli.commands.dial_session import run as dial

        dialled = DialOptions(
            number=target,
            agent=agent,
            from_=from_,
            greeting=greeting,
            metadata=tuple(metadata or ()),
            wait_greeting=wait_greeting,
            max_duration=max_duration,
            ring_timeout=ring_timeout,
            answer=answer,
            record=record,
            yes=yes,
            device=device,
            cancel_echo=not no_aec,
            json=json,
            plain=plain,
            quiet=quiet,
            verbose=verbose,
        )
        raise typer.Exit(dial(dialled, options.settings(server, api_key, local)))
    refuse(dialling, "it is for a call that an agent makes: `pinecall call NUMBER`")
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


def is_a_number(target: str) -> bool:
    """Tell whether a TARGET means a number, right or wrong, and neither a file nor an agent."""
    if not any(char.isdigit() or char in "+:" for char in target):
        return False
    from pinecall_cli.protocol.phone import looks_like_number

    return looks_like_number(target) and not options.names_a_file(target)


def refuse(given: Mapping[str, object], why: str) -> None:
    """Refuse options of the other direction.

    Raises:
        UsageError: If one was given.
    """
    from pinecall_cli.errors import UsageError

    for name, value in given.items():
        if value not in (None, False):
            raise UsageError(f"`{name}` does not go with this target", fix=why)
