"""The table of contents: one line per command, and the one place errors are printed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from pinecall_cli import __version__
from pinecall_cli.commands import (
    agents,
    call,
    config,
    dev,
    listen,
    login,
    logs,
    server,
    test,
    token,
)
from pinecall_cli.errors import PinecallError

PANELS = ("Develop", "Call", "Inspect", "Test", "Set up")
"""The headings of ``pinecall --help``, from the first thing one needs to the last."""


class InOrder(TyperGroup):
    """Lists the commands by panel; Typer alone would put groups behind all the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in the order of their panels."""
        return sorted(super().list_commands(ctx), key=self.panel)

    def panel(self, name: str) -> int:
        """Return where the panel of a command stands."""
        return PANELS.index(str(getattr(self.commands[name], "rich_help_panel", "")))


app = typer.Typer(
    name="pinecall",
    cls=InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def version(value: bool) -> None:
    """Print the version and end, before any command is looked at."""
    if value:
        print(f"pinecall {__version__}")
        raise typer.Exit


@app.callback()
def pinecall(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Run, hear, watch and test voice agents from a terminal.

    With no key and no account an agent runs on a voice server inside this
    program, and all that it hears and says stays on this machine.

    Examples:
      pinecall dev agents/front_desk.yaml
      pinecall call front-desk --say "Where is order seven?"
    """


app.command(rich_help_panel="Develop")(dev.dev)
app.command(rich_help_panel="Call")(call.call)
app.command(rich_help_panel="Inspect")(listen.listen)
app.add_typer(agents.app, name="agents", rich_help_panel="Inspect")
app.command(rich_help_panel="Inspect")(logs.logs)
app.command(rich_help_panel="Test")(test.test)
app.command(rich_help_panel="Set up")(server.server)
app.command(rich_help_panel="Set up")(token.token)
app.command(rich_help_panel="Set up")(login.login)
app.command(rich_help_panel="Set up")(login.logout)
app.add_typer(config.app, name="config", rich_help_panel="Set up")


def main() -> None:
    """Run the command line and end the process with the contract's exit code."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read us has gone: no error (cli.md), and no noise at exit
        leave(code)
    if "onnxruntime" in sys.modules:
        leave(code)
    sys.exit(code)


def leave(code: int) -> NoReturn:
    """End the process without the interpreter's own farewell.

    Daemon threads may still be inside the speech engines' native code, and onnxruntime aborts
    when the interpreter is taken down under it (seen: SIGABRT and SIGSEGV, three times of three).
    """
    import atexit
    import os

    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(code)


def run(argv: Sequence[str]) -> int:
    """Run the command line; return its exit code. Errors are drawn here, and nowhere else."""
    try:
        code = app(args=list(argv), prog_name="pinecall", standalone_mode=False)
    except PinecallError as error:
        draw(error, argv)
        return error.exit_code
    except TyperException as error:
        return draw_usage(error, argv)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 0
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Typer makes exit code 1 of it
            return 0
        raise
    return code if isinstance(code, int) else 0


def draw(error: PinecallError, argv: Sequence[str]) -> None:
    """Print an error: three lines for people, and with ``--json`` one object for programs."""
    if wants(argv, "--verbose", "v"):
        import traceback

        traceback.print_exception(error)
    for one in error.each():
        lines = [f"error: {inert(one.message)}"]
        lines += [f"  where: {inert(str(one.where))}"] if one.where else []
        lines += [f"  fix: {inert(one.fix)}"] if one.fix else []
        print("\n".join(lines), file=sys.stderr)
    if wants(argv, "--json") and not error.told:
        print_json(error.as_json(), argv)


def draw_usage(error: TyperException, argv: Sequence[str]) -> int:
    """Print an error in the command line itself; return its exit code."""
    if not error.format_message():  # help was shown instead, as for a group without a command
        return error.exit_code
    message, fix = usage(error, argv)
    print(f"error: {inert(message)}\n  fix: {inert(fix)}", file=sys.stderr)
    if wants(argv, "--json"):
        print_json({"code": "usage", "message": message, "hint": fix}, argv)
    return 2


def usage(error: TyperException, argv: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with a command line, and what to do, in the words of our errors."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else f"pinecall {command_in(argv)}"
    shows = f"`{command.strip()} --help` shows what there is"
    alike = getattr(error, "possibilities", None)
    if alike is not None:  # an option that does not exist, and the closest ones that do
        message, closest = f"no such option `{getattr(error, 'option_name', '')}`", [*alike][:1]
    else:
        message, _, suggested = error.format_message().partition(". Did you mean ")
        message = re.sub(r"'([^']*)'", r"`\1`", message[:1].lower() + message[1:]).rstrip(".")
        closest = [f"{command} {name}" for name in re.findall(r"'([^']+)'", suggested)[:1]]
    return message, f"did you mean `{closest[0]}`? {shows}" if closest else shows


def command_in(argv: Sequence[str]) -> str:
    """Return the command that a command line names, or nothing."""
    return next((word for word in argv if not word.startswith("-")), "")


def print_json(body: dict[str, object], argv: Sequence[str]) -> None:
    """Print the error object; in a command that streams it says what it is first."""
    import json

    command = command_in(argv)
    streams = command in STREAMING or (command == "logs" and wants(argv, "--follow", "f"))
    head: dict[str, object] = {"type": "error"} if streams else {}
    print(json.dumps(head | {"error": body}), flush=True)


STREAMING = frozenset({"dev", "call", "listen", "server"})
"""Commands whose ``--json`` is a stream of objects."""


def wants(argv: Sequence[str], option: str, letter: str = "") -> bool:
    """Return whether an option was given, even on a command line that could not be parsed."""
    for word in argv:
        if word == "--":
            return False
        if word == option:
            return True
        if letter and word.startswith("-") and not word.startswith("--") and letter in word[1:]:
            return True
    return False


def inert(text: str) -> str:
    """Return ``text`` with what could steer a terminal spelled out."""
    from pinecall_cli.view.text import printable

    return printable(text)
