"""Real shells on a terminal, in which TAB is pressed."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.terminal import Terminal

REQUIRED = os.environ.get("PINECALL_SHELL_TESTS") == "required"
"""Set where apt works, as in CI: there a missing shell is a failure, not a skip."""
COMPLETIONS = Path(__file__).parents[2] / "completions"

ARGV = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "--private"],
}
LOADS = {
    "bash": f"bind 'set show-all-if-ambiguous on'; . {COMPLETIONS}/pinecall.bash",
    "zsh": f"bindkey -e; fpath=({COMPLETIONS} $fpath); autoload -Uz compinit; compinit -u -D",
    "fish": f"source {COMPLETIONS}/pinecall.fish",
}
"""How each comes to know our script; zsh finds it by its name."""
REDRAWN = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])|\x0f")


@dataclass(frozen=True)
class Pressed:
    """What TAB did."""

    words: list[str]
    """The words of the line as they are now, as the shell would hand them to a command."""
    shown: str
    """Everything that was drawn meanwhile."""


class Shell:
    """An interactive shell that knows our completion. Each line is completed, never run."""

    def __init__(self, name: str, folder: Path, **env: str) -> None:
        path = shutil.which(name)
        if path is None and not REQUIRED:
            pytest.skip(f"{name} is not installed")
        assert path is not None, f"{name} is not installed, and PINECALL_SHELL_TESTS is required"
        scripts = str(Path(sys.executable).parent)
        self._terminal = Terminal(
            *ARGV[name],
            cwd=folder,
            env={
                "PATH": os.pathsep.join((scripts, os.environ["PATH"])),
                "TERM": "xterm",
                "LC_ALL": "C.UTF-8",
                **env,
            },
            size=(50, 160),
            command=path,
        )
        self._sum = "(math {}+{})" if name == "fish" else "$(({}+{}))"
        self._count = 0
        self._seen = 0
        self._say(LOADS[name])

    def tab(self, line: str) -> Pressed:
        """Type the beginning of a line, press TAB, and see what became of it."""
        self._terminal.type(line + "\t")
        # Ctrl-A, and the line is made the arguments of a command that shows them.
        shown = self._say("\x01printf '<%s>\\n' ")
        return Pressed(re.findall(r"(?:^|[\r\n])<([^\r\n]*)>(?=\r?\n)", shown), shown)

    def close(self) -> None:
        """End the shell."""
        self._terminal.close()

    def _say(self, keys: str) -> str:
        """Press these keys and Enter; return what was drawn until the shell has done it."""
        self._count += 1
        self._terminal.type(f"{keys}\r")
        marker = self._sum.format(1000, self._count)  # what is echoed while typing is not the sum
        self._terminal.type(f"echo done-{marker}\r")
        text = REDRAWN.sub("", self._terminal.shows(f"done-{1000 + self._count}"))
        drawn, self._seen = text[self._seen :], len(text)
        return drawn
