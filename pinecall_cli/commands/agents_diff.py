"""``pinecall agents diff``: what agent files would change on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinecall_cli.commands import complete, options

if TYPE_CHECKING:
    from pinecall_cli.agent.load import Loaded
    from pinecall_cli.agent.registered import Difference
    from pinecall_cli.settings import Target


def diff(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", click_type=complete.OR_FILE, help="An agent file, or a folder."
        ),
    ],
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="SLUG",
            show_default=False,
            autocompletion=complete.agents,
            help="Compare with the agent of another name, such as the one that `dev` registered.",
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
    """Compare agent files with what is registered on the server.

    Each key that differs is shown as it is there, and as it is in the file.
    Secrets are not compared. Exit code 0: no difference; 1: there is one, or
    an agent is not connected.

    Examples:
      pinecall agents diff agents/front_desk.yaml
      pinecall agents diff agents --json
    """
    import asyncio
    from pathlib import Path

    from pinecall_cli.agent.load import load
    from pinecall_cli.errors import UsageError

    where = options.settings(server, api_key, local).target()
    if not options.names_a_file(target):
        raise UsageError(
            f"`{target}` is no agent file",
            fix=f"name its file: `pinecall agents diff agents/{target.replace('-', '_')}.yaml`",
        )
    loaded = load(Path(target))
    if as_ is not None and len(loaded) > 1:
        raise UsageError("`--as` names one agent, and there are several", fix="name one file")
    if not quiet:
        options.tell_warnings(loaded)
    found = asyncio.run(compared(loaded, where, as_))
    if json:
        equal = all(one["equal"] for one, _ in found)
        options.echo_json({"equal": equal, "agents": [document for document, _ in found]})
    else:
        print_differences(found, plain=plain, quiet=quiet)
    raise typer.Exit(0 if all(one["equal"] for one, _ in found) else 1)


Found = tuple[dict[str, Any], "Difference | None"]
"""What ``--json`` says of an agent, and its difference; None if it is not connected."""


async def compared(loaded: list[Loaded], target: Target, alias: str | None) -> list[Found]:
    """Return each agent compared with its registration.

    Raises:
        NotFoundError: If none of them is connected.
    """
    from pinecall_cli.agent.problems import shown_path
    from pinecall_cli.agent.registered import compare
    from pinecall_cli.errors import NotFoundError
    from pinecall_cli.protocol.ids import slugify
    from pinecall_cli.sdk import discover
    from pinecall_cli.sdk.rest import Rest

    found: list[Found] = []
    missing: list[NotFoundError] = []
    for one in loaded:
        name = slugify(alias or one.config.name)
        head = {"agent": name, "file": shown_path(one.file)}
        try:
            server = await discover.find(name, target)
            async with Rest(server.url, server.key) as rest:
                registered = await rest.agent_config(name)
        except NotFoundError as problem:
            missing.append(problem)
            found.append(({**head, "server": None, **NOT_CONNECTED}, None))
            continue
        embedded = True if target.kind != "hosted" else None
        difference = compare(one.config, registered, embedded=embedded)
        found.append(({**head, "server": server.url, **document(difference)}, difference))
    if missing and len(missing) == len(found):
        raise missing[0]
    return found


NOT_CONNECTED: dict[str, Any] = {
    **{"connected": False, "equal": False, "changes": [], "prompt": None},
    **{"tools": None, "channels": None, "not_compared": []},
}


def document(difference: Difference) -> dict[str, Any]:
    """Return a difference as ``--json`` prints it."""
    from pinecall_cli.agent.diff import word_diff

    prompt = next((one for one in difference.changes if one.path == ("prompt",)), None)
    words = None if prompt is None else word_diff(prompt.old or "", prompt.new or "")
    return {
        "connected": True,
        "equal": difference.equal,
        "changes": [change.as_json() for change in difference.changes],
        "prompt": words
        and {
            "words_added": words.added,
            "words_removed": words.removed,
            "runs": [{"old": gone, "new": come} for gone, come in words.runs],
        },
        "tools": difference.names("tools"),
        "channels": difference.names("channels"),
        "not_compared": list(difference.not_compared),
    }


def print_differences(found: list[Found], *, plain: bool, quiet: bool) -> None:
    """Print each agent with what differs; what was not compared is said on stderr."""
    from pinecall_cli.view.changes import print_changes
    from pinecall_cli.view.twins import console_for

    console = console_for()
    for said, difference in found:
        head = f"{said['agent']}: {said['file']}"
        if difference is None:
            typer.echo(options.inert(f"{head} is not connected"))
            continue
        verdict = "is as registered on" if difference.equal else "differs from what is on"
        typer.echo(options.inert(f"{head} {verdict} {said['server']}"))
        print_changes(console, difference.changes, plain=plain)
        if difference.not_compared and not quiet:
            keys = ", ".join(difference.not_compared)
            typer.echo(options.inert(f"{said['agent']}: secret, or not told: {keys}"), err=True)
