"""Results of a spec that nobody had to run: passed, failed, broken off, could not be run."""

from __future__ import annotations

from pathlib import Path

from pinecall_cli.errors import PinecallError, ServerUnreachableError
from pinecall_cli.trial.record import Record
from pinecall_cli.trial.result import Failure, Result, judged
from pinecall_cli.trial.spec import Spec
from tests.trial.specs import heard, loaded

SPEC = """\
agent: agent.yaml
description: Orders
mode: voice
steps:
  - wait: greeting
    expect: [{says: Hello}]
  - say: Where is order 7?
    expect:
      - tool: lookup
        args: {number: 7}
      - says: sent
  - say: Thanks.
    expect: [{says: Goodbye}, {not_says: Hello}]
  - hangup
expect: [{not_event: llm.error}]
"""


def spec(folder: Path, text: str = SPEC) -> Spec:
    return loaded(folder, text)


def conversation(*, steps: int = 2, answer: str = "It is sent.") -> Record:
    """Return a conversation that goes as `SPEC` says, as far as so many steps that act."""
    record = Record()
    heard(record, "bot.speaking", message_id="a", text="Hello.")
    if steps > 0:
        record.begin(1)
        heard(record, "user.message", message_id="u", text="Where is order seven?", turn_id=1)
        calls = [{"id": "t", "name": "lookup", "arguments": '{"number": 7}'}]
        heard(record, "llm.tool_call", msg_id="m", tool_calls=calls)
        heard(record, "llm.tool_result", msg_id="m", tool_call_id="t", result={"status": "sent"})
        heard(record, "turn.latency", turn_id=1, e2e=700)
        heard(record, "bot.speaking", message_id="b", text=answer)
    if steps > 1:
        record.begin(2)
        heard(record, "bot.speaking", message_id="c", text="Goodbye.")
    return record


def result(
    spec: Spec,
    record: Record | None = None,
    *,
    broke: str | None = None,
    error: PinecallError | None = None,
) -> Result:
    failure = None if broke is None else Failure(spec.steps[1].where, broke)
    record = conversation() if record is None else record
    notes = ("a note",)
    return judged(spec, "desk", record, duration_s=1.26, broke=failure, error=error, notes=notes)


def one_of_each(spec: Spec) -> list[Result]:
    """Return a result that passed, one that failed and one that could not be had."""
    gone = ServerUnreachableError("nobody answers", fix="start a server")
    return [
        result(spec),
        result(spec, conversation(answer="Lost.")),
        result(spec, Record(), error=gone),
    ]
