"""What the caller of a voice spec does, with the waits that the spec leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinecall_cli.caller.steps import Hangup, Interrupt, Say, Silence, Step, Wait
from pinecall_cli.trial.plan import plan
from tests.trial.specs import AGENT, loaded

GREETING, REPLY = Wait("greeting"), Wait("reply")


@pytest.mark.parametrize(
    ("steps", "caller", "of"),
    [
        (
            "[say: Hello]",
            [GREETING, Say("Hello"), REPLY, Hangup()],
            [None, 0, 0, None],
        ),
        (
            "[wait: greeting, say: Hello, say: Bye, hangup]",
            [GREETING, Say("Hello"), REPLY, Say("Bye"), REPLY, Hangup()],
            [0, 1, 1, 2, 2, 3],
        ),
        (
            "[wait: 1s, say: I want, pause: 200ms, say: a table, wait: 2s]",
            [Wait(1), Say("I want"), Silence(0.2), Say("a table"), Wait(2), Hangup()],
            [0, 1, 2, 3, 4, None],
        ),
        (
            "[{say: Tell me, timeout: 5s}, interrupt: {after_words: 2, say: Stop}]",
            [GREETING, Say("Tell me"), Interrupt("Stop", 2), REPLY, Hangup()],
            [None, 0, 1, 1, None],
        ),
        (
            "[{say: Hello, timeout: 5s}, silence: 2s]",
            [GREETING, Say("Hello"), Wait("reply", 5), Silence(2), Hangup()],
            [None, 0, 0, 1, None],
        ),
        ("[hangup]", [GREETING, Hangup()], [None, 0]),
    ],
)
def test_it_waits_where_people_would(
    tmp_path: Path, steps: str, caller: list[Step], of: list[int | None]
):
    made = plan(loaded(tmp_path, f"{AGENT}mode: voice\nsteps: {steps}\n"))
    assert list(made.steps) == caller
    assert list(made.of) == of
