"""A command line that was run in this process: its exit code, and what it said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from pinecall_cli.app import run


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        return dict(json.loads(self.out))


def done(capfd: pytest.CaptureFixture[str], *words: str, hidden: tuple[str, ...] = ()) -> Done:
    """Run a command line; none of ``hidden`` may be in what it says."""
    capfd.readouterr()
    code = run(words)
    found = Done(code, *capfd.readouterr())
    for secret in hidden:
        assert secret not in found.out + found.err
    return found
