"""``pinecall agents``: which are connected, and what agent files say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinecall_cli.commands import agents_diff, agents_kick, agents_new, complete, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinecall_cli.agent.check import Checked
    from pinecall_cli.sdk.discover import Running

app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=False,
    subcommand_metavar="[COMMAND] [ARGS]...",
)


@app.callback()
def agents(
    context: typer.Context,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """List connected agents; check, show, compare and describe agent files.

    Without a command it lists the agents of the servers on this machine, or
    of the one that --server or a key leads to.

    Examples:
      pinecall agents
      pinecall agents check agents
    """
    if context.invoked_subcommand is not None:
        refuse_early_options(context)
        return
    import asyncio

    from pinecall_cli.sdk import discover

    target = options.settings(server, api_key, local).target()
    found = asyncio.run(discover.servers(target))
    if not quiet:
        typer.echo(asked(found), err=True)
    if json:
        options.echo_json({"agents": [document for one in found for document in documents(one)]})
        return
    print_agents(found, plain=plain)


@app.command()
def check(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Agent files, or folders of them.")
    ],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Validate agent files offline; no line of Python is run.

    Every problem is told with its file, line and column, all at once.

    Examples:
      pinecall agents check agents/front_desk.yaml
      pinecall agents check agents --strict --json
    """
    from pinecall_cli.agent.check import check as check_files

    checked = [one for path in paths for one in check_files(path)]
    bad = [one for one in checked if not one.valid or (strict and one.problems)]
    if json:
        files = [
            {
                "file": one.file,
                "agents": list(one.agents),
                "problems": [problem.as_json() for problem in one.problems],
            }
            for one in checked
        ]
        options.echo_json({"valid": not bad, "files": files})
    else:
        print_checked(checked, bad=len(bad), quiet=quiet)
    raise typer.Exit(2 if bad else 0)


@app.command()
def show(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            click_type=complete.OR_FILE,
            autocompletion=complete.agents,
            help="An agent file, a folder, or a running agent.",
        ),
    ],
    server: options.Server = None,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Show an agent as it would go on the wire, secrets masked.

    A Python file is imported for it; a name is asked of the server it runs on.

    Examples:
      pinecall agents show agents/reservations.py
      pinecall agents show front-desk --json
    """
    from pinecall_cli.agent.config import shown
    from pinecall_cli.agent.load import load

    where = options.settings(server, api_key, local).target()
    if not options.names_a_file(target):
        echo_documents([running_config(target, where)], json=json)
        return
    loaded = load(Path(target))
    if not quiet:
        options.tell_warnings(loaded)
    embedded = where.kind != "hosted"
    echo_documents([shown(one.config, embedded=embedded) for one in loaded], json=json)


@app.command()
def schema(
    write: Annotated[
        bool, typer.Option("--write", help="Write it to `agent.schema.json` here.")
    ] = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Print the JSON Schema of agent files, for editors.

    Examples:
      pinecall agents schema
      pinecall agents schema --write
    """
    from json import dumps

    from pinecall_cli.agent.schema import agent_schema
    from pinecall_cli.commands.agents_new import cannot_write

    text = dumps(agent_schema(), indent=2)
    if not write:
        typer.echo(text)
        return
    path = Path("agent.schema.json")
    try:
        path.write_text(text + "\n", "utf-8")
    except OSError as problem:
        raise cannot_write(path, problem, fix="run it in a folder you can write to") from None
    if json:
        options.echo_json({"file": str(path)})
        return
    if not quiet:
        typer.echo(
            f"wrote {path}; put this on top of an agent file beside it; "
            "in a folder below, with `../` in front of the name:",
            err=True,
        )
    typer.echo(f"# yaml-language-server: $schema={path}")


app.command()(agents_diff.diff)
app.command()(agents_new.new)
app.command()(agents_kick.kick)


# --- what is printed ------------------------------------------------------------------------


def refuse_early_options(context: typer.Context) -> None:
    """Refuse options in front of a sub-command: they would be read by nobody.

    Raises:
        UsageError: If there is one.
    """
    from pinecall_cli.errors import UsageError

    given = [name for name, value in context.params.items() if value not in (None, False, 0)]
    if given:
        option = "--" + given[0].replace("_", "-")
        raise UsageError(
            f"`{option}` stands before `{context.invoked_subcommand}`",
            fix=f"write `pinecall agents {context.invoked_subcommand} … {option}`",
        )


def asked(found: Sequence[Running]) -> str:
    """Return which servers were looked at."""
    if not found:
        return "no local server is running; start one with `pinecall dev FILE`"
    return "agents of " + ", ".join(one.url for one in found)


def documents(one: Running) -> list[dict[str, Any]]:
    """Return a server's agents as ``--json`` prints them."""
    from dataclasses import asdict

    from pinecall_cli.view.ndjson import iso

    return [
        {
            "agent": agent.slug,
            "phones": None if agent.phones is None else list(agent.phones),
            "channels": None if agent.channels is None else list(agent.channels),
            "live_calls": agent.live_calls,
            "since": None if agent.since is None else iso(agent.since),
            "holder": None if agent.holder is None else asdict(agent.holder),
            "server": one.url,
        }
        for agent in one.agents
    ]


def print_agents(found: Sequence[Running], *, plain: bool) -> None:
    """Print the agents of these servers, one a row."""
    from pinecall_cli.view.tables import print_table
    from pinecall_cli.view.twins import console_for

    if not found:
        return  # what there is to say about it was said on stderr
    columns = ["agent", "phones", "channels", "live calls", "since", "held by"]
    several = len(found) > 1
    rows = []
    for one in found:
        for said in documents(one):
            row = [text_of(said[key]) for key in ("agent", "phones", "channels")]
            row += [text_of(said["live_calls"]), text_of(said["since"]), held_by(said["holder"])]
            rows.append([*row, one.url] if several else row)
    columns += ["server"] if several else []
    print_table(console_for(), columns, rows, plain=plain)


def held_by(holder: dict[str, Any] | None) -> str:
    """Return who holds an agent: the program as it calls itself, and its process."""
    said = holder or {}
    program = " ".join(str(said[key]) for key in ("name", "version") if said.get(key))
    process = f"process {said['pid']}" if said.get("pid") else ""
    return ", ".join(part for part in (program, process) if part) or "-"


def text_of(value: object) -> str:
    """Return a cell: a list with commas, a dash for what is not known or not there."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def print_checked(checked: Sequence[Checked], *, bad: int, quiet: bool) -> None:
    """Print each problem at its place, then what it comes to."""
    for one in checked:
        for problem in one.problems:
            line = f"{problem.where}: {problem.severity}: {problem.message} [{problem.code}]"
            typer.echo(options.inert(line))
            if problem.hint:
                typer.echo(options.inert(f"  fix: {problem.hint}"))
        if not one.problems and not quiet:
            typer.echo(options.inert(f"{one.file}: ok ({', '.join(one.agents)})"))
    if not quiet:
        files = "1 file" if len(checked) == 1 else f"{len(checked)} files"
        typer.echo(f"{files} checked, {bad} bad" if bad else f"{files} checked", err=True)


def running_config(name: str, target: Any) -> dict[str, Any]:
    """Return the configuration of a running agent, as its server holds it."""
    import asyncio

    from pinecall_cli.sdk import discover
    from pinecall_cli.sdk.rest import Rest

    async def ask() -> dict[str, Any]:
        server = await discover.find(name, target)
        async with Rest(server.url, server.key) as rest:
            return await rest.agent_config(name)

    return asyncio.run(ask())


def echo_documents(documents: list[dict[str, Any]], *, json: bool) -> None:
    """Print configurations: one JSON document for programs, one after the other for people."""
    from json import dumps

    if json:
        options.echo_json({"agents": documents})
        return
    for document in documents:
        typer.echo(dumps(document, indent=2, ensure_ascii=True))
