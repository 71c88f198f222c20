"""``pinecall completion``: the script by which a shell completes our command lines."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """A shell that we have a script for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
) -> None:
    """Print the script that completes command lines on TAB.

    It offers commands, options, and what this machine knows: agents, calls,
    devices, profiles. `pinecall --install-completion` puts it in its place.

    Examples:
      pinecall completion bash >> ~/.bashrc
      pinecall completion zsh > ~/.zfunc/_pinecall
      pinecall completion fish > ~/.config/fish/completions/pinecall.fish
    """
    from pinecall_cli.commands.completion_scripts import SCRIPTS

    typer.echo(SCRIPTS[shell.value])
