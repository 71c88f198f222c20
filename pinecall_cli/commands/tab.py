"""How TAB is answered, whichever shell it was pressed in.

All four scripts of `completion_scripts` ask in one way, through the environment, and read one
answer: a line that says what else fits (`FITS`), then a line for each name, what it is behind a
tab. Nothing of it is evaluated. Typer's own scripts evaluate it (zsh), break words at colons
(bash), load Rich for every description, and offer either names or files.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Literal

from typer import _completion_shared
from typer._click.core import Command, Context, Parameter
from typer._click.shell_completion import (
    CompletionItem,
    ShellComplete,
    _resolve_context,
    _resolve_incomplete,
    add_completion_class,
)
from typer.models import TyperPath

from pinecall_cli.commands.completion_scripts import ASK, LINE, SCRIPTS, WORD, WORDS
from pinecall_cli.errors import PinecallError

FITS = Literal["files", "folders", "nothing"]
"""What a shell may add to the names it is given."""
LONGEST_ABOUT = 60
"""Characters that are said about a name: what is left of 80 columns."""


class Answer(ShellComplete):
    """What is offered for a command line that ends where TAB was pressed."""

    name = ASK
    source_template = ""

    def source_vars(self) -> dict[str, str]:
        """Return nothing: the scripts have no variables."""
        return {}

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is being typed, and that one."""
        return asked(os.environ)

    def complete(self) -> str:
        """Return the whole answer.

        What cannot be read offers nothing: a message would be drawn into the line being typed.
        """
        words, incomplete = self.get_completion_args()
        try:
            return "\n".join(self.answer(words, incomplete))
        except (OSError, RuntimeError, PinecallError):
            return "nothing"

    def answer(self, words: list[str], incomplete: str) -> list[str]:
        """Return the lines of the answer; names are whole words, with ``--option=`` in front."""
        context = _resolve_context(self.cli, self.ctx_args, self.prog_name, words)
        meant, rest = _resolve_incomplete(context, list(words), incomplete)
        head = incomplete.removesuffix(rest) if incomplete.startswith("-") else ""
        head = head if head.endswith("=") else ""
        fits = what_fits(meant, context) if isinstance(meant, Parameter) else "nothing"
        return [fits, *(self.format_completion(item, head) for item in items(meant, context, rest))]

    def format_completion(self, item: CompletionItem, head: str = "") -> str:
        """Return a name's line."""
        return f"{head}{item.value}\t{about(item.help or '')}"


def items(meant: Command | Parameter, context: Context, incomplete: str) -> list[CompletionItem]:
    """Return what a command or parameter offers."""
    known = getattr(meant, "commands", {})
    if known and [*context._protected_args, *context.args]:
        return []  # the word before is the name of no command
    found = meant.shell_complete(context, incomplete)
    for item in found:
        if item.value in known:  # Typer has cut it to 45 characters
            item.help = known[item.value].help
    return found


def asked(environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the words behind the program's name that are complete, and the one that is not.

    bash hands over its line, for it has cut the words at every colon; the others have words.
    """
    line = environ.get(LINE)
    if line is None:
        before = environ.get(WORDS, "")
        return before.split("\n") if before else [], environ.get(WORD, "")
    words, last = split(line)
    return words[1:], last


def split(line: str) -> tuple[list[str], str]:
    """Return the words of a line as a shell reads them, and the last one, which may be empty."""
    reader = shlex.shlex(line, posix=True)
    reader.whitespace_split = True
    reader.commenters = ""
    words: list[str] = []
    try:
        words.extend(reader)
    except ValueError:  # a quote that is not closed: the last word goes on to the end
        return words, reader.token
    escaped = re.search(r"\\\s$", line)
    return (
        (words, "")
        if not words or (line[-1:].isspace() and not escaped)
        else (words[:-1], words[-1])
    )


def what_fits(parameter: Parameter, context: Context) -> FITS:
    """Return what may be given beside the names that are offered."""
    if not isinstance(parameter.type, TyperPath):
        return "nothing"
    return "folders" if parameter.make_metavar(context).strip("[].") == "DIR" else "files"


def about(text: str) -> str:
    """Return the first sentence of a help text, on one line and in plain characters."""
    first = re.split(r"[.;:] |\n", text, maxsplit=1)[0]
    plain = " ".join(re.sub(r"[^A-Za-z0-9 .,/()+:='_-]+", " ", first).split()).rstrip(".")
    if len(plain) <= LONGEST_ABOUT:
        return plain
    return plain[: LONGEST_ABOUT - 3].rpartition(" ")[0] + "..."


def teach_typer() -> None:
    """Let Typer answer our scripts, and `--install-completion` and `--show-completion` have them.

    Its own answers stay, for scripts that somebody has installed already.
    """
    add_completion_class(Answer, ASK)
    for shell, script in SCRIPTS.items():
        _completion_shared._completion_scripts[shell] = script.replace("%", "%%")
    _completion_shared._completion_scripts["pwsh"] = _completion_shared._completion_scripts[
        "powershell"
    ]
