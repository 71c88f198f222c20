"""Results as people and programs read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinecall_cli.errors import NotAuthorisedError, ServerUnreachableError
from pinecall_cli.trial.record import Record
from pinecall_cli.trial.report import document, exit_code, lines, total, transcript
from pinecall_cli.trial.spec import Spec
from tests.trial.results import conversation, one_of_each, result, spec
from tests.trial.specs import AGENT, SAY, loaded


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    monkeypatch.chdir(tmp_path)
    return spec(Path.cwd())


def test_a_spec_that_passed_is_a_line(desk: Spec):
    assert list(lines(result(desk))) == ["PASS desk.spec.yaml · Orders (voice, 1.3 s)"]


def test_a_spec_that_failed_tells_where_and_what_there_was(desk: Spec):
    assert list(lines(result(desk, conversation(answer="Lost.")))) == [
        "FAIL desk.spec.yaml · Orders (voice, 1.3 s)",
        "  desk.spec.yaml:11:9: expected says `sent`",
        '    said: "Lost."',
        '    heard: "Where is order seven?"',
        "  note: a note",
    ]


def test_a_spec_that_could_not_be_run_tells_what_to_do(desk: Spec):
    *_, gone = one_of_each(desk)
    assert list(lines(gone)) == [
        "ERROR desk.spec.yaml · Orders (voice, 1.3 s)",
        "  nobody answers",
        "    fix: start a server",
        "  note: a note",
    ]
    without = result(desk, Record(), error=ServerUnreachableError("nobody answers"))
    assert "fix" not in "".join(lines(without))


def test_a_spec_without_a_description_is_its_file(tmp_path: Path):
    found = result(loaded(tmp_path, AGENT + SAY))
    assert next(lines(found)).endswith("desk.spec.yaml (text, 1.3 s)")


def test_the_total_counts_what_there_is(desk: Spec):
    passed, failed, error = one_of_each(desk)
    assert total([passed, passed], 2.04) == "2 passed in 2.0 s"
    assert total([passed, failed, error], 1) == "1 passed, 1 failed, 1 could not be run in 1.0 s"


def test_the_document_has_every_result(desk: Spec):
    found = one_of_each(desk)
    body = document(found, 3.14159)
    assert list(body) == ["passed", "failed", "duration_s", "results"]
    assert (body["passed"], body["failed"], body["duration_s"]) == (1, 2, 3.142)
    assert body["results"] == [one.as_json() for one in found]


def test_the_exit_code_is_that_of_the_worst(desk: Spec):
    passed, failed, error = one_of_each(desk)
    refused = result(desk, Record(), error=NotAuthorisedError("no"))
    assert exit_code([]) == 0
    assert exit_code([passed, passed]) == 0
    assert exit_code([passed, error, failed]) == 1
    assert exit_code([passed, error, refused]) == 3
    assert exit_code(iter([passed, refused])) == 4


def test_a_transcript_has_what_was_done_and_what_came_of_it(desk: Spec):
    assert list(transcript(result(desk, conversation(steps=1)))) == [
        "agent: Hello.",
        "say: Where is order 7?",
        'tool: lookup {"number": 7}',
        "agent: It is sent.",
    ]
