"""The options that commands share, each written once, and the settings they lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pinecall_cli.commands import complete

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pinecall_cli.agent.load import Loaded
    from pinecall_cli.settings import Settings

PANEL = "Common options"

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        show_default=False,
        autocompletion=complete.servers,
        rich_help_panel=PANEL,
        help="The server to use, else PINECALL_URL.",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        show_default=False,
        rich_help_panel=PANEL,
        help="The key, else PINECALL_API_KEY. `-` reads it from stdin: others on this machine "
        "can see what stands on a command line.",
    ),
]
Local = Annotated[
    bool,
    typer.Option("--local", rich_help_panel=PANEL, help="Use the embedded server whatever is set."),
]
Json = Annotated[
    bool, typer.Option("--json", rich_help_panel=PANEL, help="JSON on stdout, and nothing else.")
]
Plain = Annotated[
    bool, typer.Option("--plain", rich_help_panel=PANEL, help="Lines, even on a terminal.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", rich_help_panel=PANEL, help="Say less on stderr.")
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        rich_help_panel=PANEL,
        help="Say more on stderr; repeat for more yet.",
    ),
]


def settings(server: str | None, api_key: str | None, local: bool) -> Settings:
    """Return server and key as the options, the environment and the files say.

    What was ignored on the way is said on stderr.
    """
    from pinecall_cli.commands.typed_key import read_key
    from pinecall_cli.settings import Flags, Surroundings, resolve

    found = resolve(Flags(server, api_key, local), Surroundings.here(), read_key=read_key)
    for notice in found.notices:
        typer.echo(inert(notice), err=True)
    return found


def ask_first(question: str, *, nobody: str, about: str | None = None) -> None:
    """Ask on the terminal before something that cannot be taken back.

    Args:
        question: What is asked.
        nobody: What is wrong when there is nobody to ask.
        about: What is said before the question.

    Raises:
        UsageError: If there is nobody to ask.
        DeclinedError: If the answer is no, which is the default.
    """
    import sys

    from pinecall_cli.errors import DeclinedError, UsageError

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            nobody, fix="pass `--yes`, or run it in a terminal", code="confirmation_needed"
        )
    if about is not None:
        typer.echo(inert(about), err=True)
    if not typer.confirm(question, err=True):
        raise DeclinedError("nothing was done: the answer was no")


def names_a_file(target: str) -> bool:
    """Tell whether a TARGET means a file, and not the name of an agent."""
    import os
    from pathlib import Path

    separators = {os.sep, os.altsep or os.sep, "/"}
    return (
        target.endswith((".yaml", ".yml", ".py"))
        or any(separator in target for separator in separators)
        or Path(target).exists()
    )


def tell_warnings(loaded: Iterable[Loaded]) -> None:
    """Say on stderr what is odd about agents that load all the same."""
    for one in loaded:
        for text in (*one.notices, *(f"{w.where}: {w.message}" for w in one.warnings)):
            typer.echo(inert(text), err=True)


def inert(text: str) -> str:
    """Return text from elsewhere with what could steer a terminal spelled out."""
    from pinecall_cli.view.text import printable

    return printable(text)


def echo_json(document: object) -> None:
    """Print one JSON document on stdout."""
    from json import dumps

    typer.echo(dumps(document))
