"""The table of contents: one line per command, and the one place errors are printed."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from pinecall_cli import __version__
from pinecall_cli.commands.narrow import NARROWEST, write_narrow_help
from pinecall_cli.errors import InfrastructureError, PinecallError, leaf

PANELS = ("Develop", "Call", "Inspect", "Test", "Set up")
"""The headings of ``pinecall --help``, from the first thing one needs to the last."""
COMMANDS = {
    "dev": ("dev:dev", "Develop"),
    "call": ("call:call", "Call"),
    "chat": ("chat:chat", "Call"),
    "listen": ("listen:listen", "Inspect"),
    "agents": ("agents:app", "Inspect"),
    "logs": ("logs:logs", "Inspect"),
    "test": ("test:test", "Test"),
    "server": ("server:server", "Set up"),
    "token": ("token:token", "Set up"),
    "login": ("login:login", "Set up"),
    "logout": ("login:logout", "Set up"),
    "config": ("config:app", "Set up"),
    "doctor": ("doctor:doctor", "Set up"),
    "completion": ("completion:completion", "Set up"),
}
"""Where each command is in `commands`, a function or a group of its own, and its panel."""


class InOrder(TyperGroup):
    """Lists the commands by panel; Typer alone would put groups behind all the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in the order of their panels."""
        return sorted(super().list_commands(ctx), key=self.panel)

    def panel(self, name: str) -> int:
        """Return where the panel of a command stands."""
        return PANELS.index(str(getattr(self.commands[name], "rich_help_panel", "")))


def build(names: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """Return the command line with these commands; the others are not even imported.

    To import all of them and to read their signatures takes as long as all else that starting
    takes (35 of 90 ms).
    """
    columns = shutil.get_terminal_size().columns
    narrow = columns < NARROWEST
    app = typer.Typer(
        name="pinecall",
        cls=InOrder,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None if narrow else "rich",
        context_settings={"help_option_names": ["-h", "--help"], "terminal_width": columns},
    )
    if narrow:
        write_narrow_help()
    app.callback()(pinecall)
    for name in names:
        (module, attribute), panel = COMMANDS[name][0].split(":"), COMMANDS[name][1]
        found = getattr(import_module(f"pinecall_cli.commands.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(found)
    return app


def asked(argv: Sequence[str]) -> typer.Typer:
    """Return what a command line needs: the command that it begins with, else all there are."""
    first = argv[0] if argv else ""
    if first in COMMANDS:
        return build([first])
    if list(argv) == ["--version"]:
        return build([])
    from pinecall_cli.commands import tab

    tab.teach_typer()
    return build()


def version(context: typer.Context, value: bool) -> None:
    """Print the version and end, before any command is looked at."""
    if value and not context.resilient_parsing:  # TAB was pressed behind it
        print(f"pinecall {__version__}")
        raise typer.Exit


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


def main() -> None:
    """Run the command line and end the process with the contract's exit code."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read us has gone: no error (cli.md), and no noise at exit
        leave(code)
    except OSError as problem:
        leave(code or draw_full(problem, sys.argv[1:]))
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
        code = called(argv)
    except PinecallError as error:
        draw(error, argv)
        return error.exit_code
    except TyperException as error:
        return draw_usage(error, argv)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 0
    except OSError as problem:
        return draw_full(problem, argv)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Typer makes exit code 1 of it
            return 0
        raise
    return code if isinstance(code, int) else 0


def called(argv: Sequence[str]) -> object:
    """Call the command; of problems of tasks side by side the first is raised, as if alone."""
    try:
        return asked(argv)(args=list(argv), prog_name="pinecall", standalone_mode=False)
    except BaseExceptionGroup as problems:
        problem = leaf(problems)
        raise problem from problem.__cause__


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


def draw_full(problem: OSError, argv: Sequence[str]) -> int:
    """Print that standard output leads to a disk that is full; return its exit code.

    Raises:
        OSError: If it is anything else: then it is a bug.
    """
    import errno

    if problem.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise problem
    message = f"cannot write: {(problem.strerror or '').lower()}"
    full = InfrastructureError(message, code="disk", fix="make room, or write elsewhere")
    full.told = True  # an object on standard output would not fit either
    draw(full, argv)
    return full.exit_code


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


STREAMING = frozenset({"dev", "call", "chat", "listen", "server"})
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
