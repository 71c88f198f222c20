"""``pinecall test``: run specs, the tests of agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pinecall_cli.commands import complete, options


def test(
    spec: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SPEC]...",
            show_default=False,
            help="Spec files, or folders: all files *.spec.yaml in and below them. Default: the "
            "working directory.",
        ),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option(
            "-k",
            metavar="EXPR",
            show_default=False,
            help="Only specs whose file name, description or mode has these words; `and`, `or`, "
            "`not` and parentheses join them.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="How many specs run at once.")
    ] = 4,
    listing: Annotated[
        bool, typer.Option("--list", help="List the specs and run none of them.")
    ] = False,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Write the results as JUnit XML."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            show_default=False,
            autocompletion=complete.servers,
            rich_help_panel=options.PANEL,
            help="Run on this local server, not on one in this process; PINECALL_URL is ignored.",
        ),
    ] = None,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Run specs: conversations with an agent, by text or voice, and what is expected.

    Nothing leaves this machine and no key is needed: a script stands in for
    the model, and speech runs offline. Exit code 1 when a spec fails, 2 when
    one is invalid, 3 when it could not be run, 5 when there was none to run.

    Examples:
      pinecall test agents
      pinecall test agents -k "orders and not voice" --junit report.xml
    """
    from pinecall_cli.commands.trial_session import TestOptions, run

    # `plain` is for all commands; here lines are what there is.
    chosen = TestOptions(
        targets=tuple(spec or ()),
        expression=expression,
        workers=workers,
        listing=listing,
        junit=junit,
        server=options.settings(server, api_key, False).target() if server and not local else None,
        json=json,
        quiet=quiet,
        verbose=verbose,
    )
    raise typer.Exit(run(chosen))
