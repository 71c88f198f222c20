"""``pinecall chat``: write to an agent, and read what it answers."""

from __future__ import annotations

from typing import Annotated

import typer

from pinecall_cli.commands import complete, options


def chat(
    agent: Annotated[
        str | None,
        typer.Argument(
            metavar="[AGENT]",
            show_default=False,
            click_type=complete.OR_FILE,
            autocompletion=complete.agents,
            help="A running agent's name, or an agent file; the only one that runs, if left out.",
        ),
    ] = None,
    message: Annotated[
        list[str] | None,
        typer.Option(
            "--message",
            "-m",
            metavar="TEXT",
            help="Send TEXT and end with its answer; repeat for more, one after the other.",
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
    """Write to an agent, and see what it answers and which tools it calls.

    A name writes to an agent that runs already (`pinecall dev`, on this
    machine); a file runs its agent for this one conversation. No sound device
    and no speech engine is needed.

    On a terminal, /reset begins a new conversation, /clear empties the screen,
    /quit or Ctrl-D leaves, /help says so. From a pipe each line is a message.

    Examples:
      pinecall chat front-desk
      pinecall chat agents/front_desk.yaml -m "Where is order seven?" --json
    """
    from pinecall_cli.commands.chat_session import ChatOptions, run

    chosen = ChatOptions(
        target=agent,
        messages=tuple(message or ()),
        json=json,
        plain=plain,
        quiet=quiet,
        verbose=verbose,
    )
    raise typer.Exit(run(chosen, options.settings(server, api_key, local)))
