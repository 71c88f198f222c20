"""``pinecall doctor``: is everything there, and does it work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pinecall_cli.commands import complete, options

if TYPE_CHECKING:
    from pinecall_cli.view.checkup import Check


def doctor(
    acoustic: Annotated[
        bool,
        typer.Option(
            "--acoustic",
            help="Play chirps on the loudspeaker, and measure their way to the microphone.",
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="IN[:OUT]",
            show_default=False,
            autocompletion=complete.devices,
            help="The sound devices to look at, by id or part of the name.",
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
    """Look at everything a call needs, and say what is missing and how to get it.

    Nothing leaves this machine unless a key is set or --server names a server.
    Exit code 1 when something needed is missing; speech is not, for text.

    Examples:
      pinecall doctor
      pinecall doctor --acoustic --json
    """
    from pinecall_cli.commands.checkup import Look, checkup
    from pinecall_cli.settings import Flags
    from pinecall_cli.view.checkup import print_check
    from pinecall_cli.view.console import console_for

    found: list[Check] = []
    console = console_for()
    for check in checkup(Look(Flags(server, api_key, local), device, acoustic, verbose)):
        found.append(check)
        if not json and not (quiet and check.ok):
            print_check(console, check, plain=plain)
    if json:
        options.echo_json({"checks": [check.as_json() for check in found]})
    if not quiet:
        typer.echo(comes_to(found), err=True)
    raise typer.Exit(int(any(check.needed and not check.ok for check in found)))


def comes_to(found: list[Check]) -> str:
    """Return what all checks together come to."""
    missing = [check.name for check in found if check.needed and not check.ok]
    if missing:
        return f"needed, and not in order: {', '.join(missing)}"
    odd = [check.name for check in found if not check.ok]
    return f"all that is needed is there; see {', '.join(odd)}" if odd else "everything is there"
