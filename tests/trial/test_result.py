"""How a spec went, from what happened in its conversation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pinecall_cli.errors import NotAuthorisedError, ServerUnreachableError
from pinecall_cli.trial.record import Record
from pinecall_cli.trial.result import Result
from pinecall_cli.trial.spec import Spec
from tests.trial.results import conversation, one_of_each, result, spec
from tests.trial.specs import AGENT, heard, loaded


@pytest.fixture
def desk(tmp_path: Path) -> Spec:
    return spec(tmp_path)


def failures(result: Result) -> list[tuple[int | None, str]]:
    return [(failure.where.line, failure.message) for failure in result.failures]


def test_a_conversation_that_goes_as_expected_passes(desk: Spec):
    found = result(desk)
    assert (found.outcome, found.passed, found.failures) == ("passed", True, ())
    assert [[one.passed for one in verdicts] for verdicts in found.verdicts] == [
        [True],
        [True, True],
        [True, True],
        [],
        [True],
    ]


def test_each_expectation_that_is_not_met_is_a_failure_at_its_place(desk: Spec):
    record = conversation(answer="Hello. It is lost.")
    heard(record, "bot.speaking", message_id="d", text="Hello again.")
    heard(record, "llm.error", error="no such field")
    found = result(desk, record)
    assert failures(found) == [
        (11, "expected says `sent`"),
        (13, "expected never says `Hello`"),
        (15, "expected no event `llm.error`"),
    ]
    assert found.outcome == "failed"
    assert found.notes == ("no such field", "a note")


def test_what_broke_it_off_stands_alone_and_what_was_not_reached_did_not_pass(desk: Spec):
    found = result(desk, conversation(steps=1), broke="the caller waited too long")
    assert failures(found) == [(7, "the caller waited too long")]
    assert [one.found for one in found.verdicts[2]] == [("the conversation broke off",)] * 2
    assert not any(one.passed for one in found.verdicts[2])


def test_what_was_not_as_expected_before_it_broke_off_is_told_too(desk: Spec):
    found = result(desk, conversation(steps=1, answer="Lost."), broke="the line went dead")
    assert failures(found) == [(7, "the line went dead"), (11, "expected says `sent`")]


def test_an_agent_that_hangs_up_early_fails_the_steps_that_are_left(desk: Spec):
    found = result(desk, conversation(steps=1))
    assert failures(found) == [
        (13, "expected says `Goodbye`"),
        (13, "expected never says `Hello`"),
    ]
    assert found.failures[0].found == ("the call ended before this step",)


def test_an_agent_that_hangs_up_before_a_step_of_which_nothing_is_expected_fails(tmp_path: Path):
    one = loaded(tmp_path, f"{AGENT}steps: [say: Hello, say: And now, say: Then]\n")
    record = Record()
    record.begin(0)
    assert failures(result(one, record)) == [(2, "the call ended before `say: And now`")]


def test_hanging_up_need_not_be_done_twice(desk: Spec):
    assert desk.steps[-1].verb == "hangup"
    assert result(desk, conversation(steps=2)).passed


def test_what_keeps_it_from_being_run_is_an_error_and_judges_nothing(desk: Spec):
    found = result(desk, Record(), error=ServerUnreachableError("nobody answers"))
    assert (found.outcome, found.passed, found.failures, found.verdicts) == ("error", False, (), ())


def test_a_result_as_json(desk: Spec):
    body = json.loads(json.dumps(result(desk, conversation(answer="Lost.")).as_json()))
    assert list(body) == [
        *("file", "agent", "description", "mode", "passed", "duration_s", "opening", "steps"),
        *("expect", "failures", "notes", "error"),
    ]
    assert (body["agent"], body["description"], body["mode"]) == ("desk", "Orders", "voice")
    assert (body["passed"], body["duration_s"], body["error"]) == (False, 1.26, None)
    assert body["opening"] == {
        "heard": None,
        "said": ["Hello."],
        "tools": [],
        "latency_ms": [],
    }
    greeting, ask, thanks, hangup = body["steps"]
    assert (greeting["step"], greeting["expect"][0]["passed"]) == ("wait: greeting", True)
    assert ask == {
        "line": 7,
        "column": 5,
        "step": "say: Where is order 7?",
        "heard": "Where is order seven?",
        "said": ["Lost."],
        "tools": [{"name": "lookup", "args": {"number": 7}, "result": {"status": "sent"}}],
        "latency_ms": [{"first_audio": 700}],
        "expect": [
            {
                "line": 9,
                "column": 9,
                "kind": "tool",
                "expected": 'a call of `lookup` with {"number": 7}',
                "passed": True,
                "found": ['called: lookup {"number": 7}', 'heard: "Where is order seven?"'],
            },
            {
                "line": 11,
                "column": 9,
                "kind": "says",
                "expected": "says `sent`",
                "passed": False,
                "found": ['said: "Lost."', 'heard: "Where is order seven?"'],
            },
        ],
    }
    assert (thanks["said"], hangup["said"]) == (["Goodbye."], [])
    assert [one["kind"] for one in body["expect"]] == ["not_event"]
    ((failure),) = body["failures"]
    assert failure["file"].endswith("desk.spec.yaml")
    assert (failure["line"], failure["column"]) == (11, 9)
    assert failure["found"] == ['said: "Lost."', 'heard: "Where is order seven?"']


def test_an_error_as_json_has_the_steps_and_no_verdicts(desk: Spec):
    refused = NotAuthorisedError("the key was refused", fix="another key")
    body = result(desk, Record(), error=refused).as_json()
    assert body["error"] == {
        "code": "not_authorised",
        "message": "the key was refused",
        "hint": "another key",
    }
    assert [step["expect"] for step in body["steps"]] == [[], [], [], []]
    assert (body["passed"], body["expect"]) == (False, [])


def test_all_of_them_can_be_written_as_json(desk: Spec):
    assert json.dumps([one.as_json() for one in one_of_each(desk)])
