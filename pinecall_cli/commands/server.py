"""``pinecall server``: the embedded server on its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinecall_cli.commands import complete, options

if TYPE_CHECKING:
    from pinecall_cli.server.embedded import EmbeddedServer


def server(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any.")] = 4747,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            "--api-key",
            metavar="KEY",
            help="A key that is let in, each an organisation of its own; repeat for more. Left "
            "out: a random one. `-` reads it from stdin: others on this machine can see what "
            "stands on a command line.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            click_type=complete.OR_FILE,
            help="Where the call log is kept, created if missing; `:memory:` keeps none.",
        ),
    ] = None,
    public_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further name it may be addressed by; repeatable."),
    ] = None,
    ice_server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            envvar="PINECALL_ICE_SERVERS",
            show_default=False,
            help="A STUN or TURN server for calls from web pages; repeatable. stun:HOST:PORT, "
            "turn:USER:PASS@HOST:PORT (pages are shown user and password). Left out: a public "
            "STUN server, and none for pages on this machine.",
        ),
    ] = None,
    numbers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What happens at further numbers that agents dial: YAML, such as "
            '`"+14155550100": busy` (or no-answer, reject, fail, caller.yaml, agent:NAME).',
        ),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The rules that answer for agents whose `llm` is `script`: a YAML list of `on:`, "
            "`say:`, `call:`.",
        ),
    ] = None,
    ring_timeout: Annotated[
        float,
        typer.Option(
            metavar="S", min=0, max=120, help="How long a number rings that nobody answers."
        ),
    ] = 20.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Go wrong on purpose, to test clients; repeatable. drop-after=20 (frames, then "
            "the agent socket is cut), delay-ms, duplicate=3 and reorder=3 (every third frame), "
            "refuse=CODE (registrations), stall-ms (models), too-many=2 (every second request: "
            "429).",
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Run the voice server on its own, for agents and calls from other terminals.

    `pinecall dev` starts one of its own; this one goes on when agents come and
    go. Agents join it with --server, and `pinecall call` finds it by itself.

    Examples:
      pinecall server
      pinecall server --port 0 --json
    """
    import functools
    import logging
    import os
    import sys

    from pinecall_cli.agent.script import load_script
    from pinecall_cli.server.app import Limits
    from pinecall_cli.server.embedded import EmbeddedServer
    from pinecall_cli.server.faults import parse_faults
    from pinecall_cli.server.foreground import hold
    from pinecall_cli.server.phone.numbers import load_numbers
    from pinecall_cli.server.webrtc.ice import parse_ice_servers
    from pinecall_cli.settings import data_dir, run_dir

    levels = [logging.ERROR if quiet else logging.WARNING, logging.INFO, logging.DEBUG]
    logging.basicConfig(level=levels[min(verbose, 2)], format="%(message)s", stream=sys.stderr)
    for packets in ("aiortc", "aioice"):  # they log each one, 100 lines a second in a call
        logging.getLogger(packets).setLevel(logging.WARNING)
    faults = parse_faults(fault or ())
    if faults.on:
        typer.echo(f"FAULTS ARE ON: {', '.join(faults.on)}", err=True)
    rules = None
    if script is not None:
        rules, warnings = load_script(script)
        for warning in warnings:
            typer.echo(options.inert(f"{warning.where}: {warning.message}"), err=True)
    data = str(data_dir()) if data is None else data
    embedded = EmbeddedServer(
        host=host,
        port=port,
        keys=[piped_key() if key == "-" else key for key in api_key or ()],
        data=data,
        environ=os.environ,
        public_hosts=public_host or (),
        run_dir=run_dir(),
        limits=Limits(ring_timeout_s=ring_timeout),
        numbers={} if numbers is None else load_numbers(numbers),
        script=rules,
        faults=faults,
        ice_servers=parse_ice_servers(ice_server or ()),
    )
    told = functools.partial(announce, embedded, data=data, json=json, quiet=quiet)
    raise typer.Exit(hold(embedded, ready=told))


def announce(embedded: EmbeddedServer, *, data: str, json: bool, quiet: bool) -> None:
    """Say where the server is: to people on stderr, to programs on stdout."""
    import os
    from datetime import UTC, datetime
    from json import dumps

    from pinecall_cli import __version__
    from pinecall_cli.commands.server_outbox import show_outbox
    from pinecall_cli.server.hosts import is_loopback

    if not quiet:
        lines = [f"pinecall server {__version__}", f"  url  {embedded.url}"]
        lines += [f"  key  {key}" for key in embedded.keys]
        if not is_loopback(embedded.host):
            lines += [f"  net  open to the network on {embedded.host}, to whoever has a key"]
        kept = "in memory, gone when it ends" if data == ":memory:" else options.inert(data)
        lines += [f"  log  {kept}", "  Ctrl-C ends it; calls are hung up"]
        typer.echo("\n".join(lines), err=True)
        embedded.engines.ready.add_done_callback(
            lambda ready: typer.echo(loaded(ready.exception()), err=True)
        )
    if json:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {"type": "server.ready", "ts": now, "url": embedded.url}
        typer.echo(dumps(record | {"api_key": embedded.key, "pid": os.getpid()}))
    if json or not quiet:
        show_outbox(embedded.server, json=json)


def loaded(problem: BaseException | None) -> str:
    """Return what to say when the speech engines have been loaded, or cannot be."""
    if problem is None:
        return "  speech engines loaded"
    fix = getattr(problem, "fix", None)
    return f"  no speech, text only: {problem}" + (f"\n    fix: {fix}" if fix else "")


def piped_key() -> str:
    """Return one line of standard input.

    Raises:
        UsageError: If there is none.
    """
    from pinecall_cli.commands.typed_key import read_key
    from pinecall_cli.errors import UsageError

    key = read_key().strip()
    if not key:
        raise UsageError("no key on standard input", fix="pipe the key into `--api-key -`")
    return key
