"""``pinecall test``: what it prints, writes and ends with, on the real server in this process."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.commands.spec_runs import (
    AGENT,
    MOCKED,
    ORDERS,
    WRONG,
    Test,
    runner,
    shape,
    shop,
    write,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return shop(tmp_path, monkeypatch)


@pytest.fixture
def specs(folder: Path, capsys: pytest.CaptureFixture[str]) -> Test:
    return runner(folder, capsys)


# --- results ------------------------------------------------------------------------------


def test_specs_that_pass_are_a_line_each_and_0(specs: Test):
    done = specs()
    assert shape(done.lines) == [
        "PASS specs/a.spec.yaml · Orders",
        "PASS specs/b.spec.yaml · Mocked, and under another name",
        "2 passed",
    ]
    assert done.code == 0
    assert "specs run on a server inside this program" in done.err
    assert "looked up 7" in done.err, "what agents print is talk"
    assert done.err.count("loaded the tools") == 1, "though each spec loads them"
    assert "looked up 7" not in done.out


def test_a_spec_that_fails_tells_where_and_ends_with_1(specs: Test):
    write({"specs/c.spec.yaml": WRONG})
    done = specs("specs")
    assert done.code == 1
    assert shape(done.lines)[2:] == [
        "FAIL specs/c.spec.yaml · Wrong on purpose",
        "  specs/c.spec.yaml:6:9: expected says `delivered`",
        '    said: "Order 7 is sent, look 1."',
        "2 passed, 1 failed",
    ]


def test_as_json_there_is_one_document_and_nothing_else(specs: Test):
    write({"specs/c.spec.yaml": WRONG})
    done = specs("specs", "--json")
    body = done.document
    assert done.code == 1
    assert (body["passed"], body["failed"]) == (2, 1)
    assert [one["file"] for one in body["results"]] == [f"specs/{c}.spec.yaml" for c in "abc"]
    orders, mocked, wrong = body["results"]
    first, second = orders["steps"]
    assert first["step"] == "say: Where is order 7?"
    assert first["said"] == ["Order 7 is sent, look 1."]
    assert first["tools"] == [
        {"name": "lookup", "args": {"number": "7"}, "result": {"status": "sent", "times": 1}}
    ]
    assert first["latency_ms"][0].keys() == {"first_token", "reply"}
    assert [one["kind"] for one in first["expect"]] == ["tool", "says", "within_ms"]
    assert second["tools"][0]["result"]["times"] == 2
    assert mocked["steps"][0]["tools"][0]["result"] == {"status": "lost", "times": "twice"}
    assert [one["line"] for one in wrong["failures"]] == [6]
    assert {one["agent"] for one in body["results"]} == {"desk"}


def test_the_junit_file_has_each_spec(specs: Test, folder: Path):
    write({"specs/c.spec.yaml": WRONG, "reports/junit.xml": "what was there"})
    assert specs("specs", "--junit", "reports/junit.xml", "-q").code == 1
    root = ElementTree.parse(folder / "reports" / "junit.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "0")
    assert [case.get("classname") for case in root.iter("testcase")] == [
        f"specs/{c}.spec.yaml" for c in "abc"
    ]
    assert [path.name for path in (folder / "reports").iterdir()] == ["junit.xml"]


@pytest.mark.parametrize("workers", ["1", "8"])
def test_results_come_in_the_order_of_the_specs_however_many_run_at_once(specs: Test, workers: str):
    slow = ORDERS.replace("Where is order 7?", "Be slow with order 7")
    write(
        {
            "specs/0.spec.yaml": WRONG.replace("Where is order 7?", "be slow"),
            "specs/d.spec.yaml": slow,
        }
    )
    done = specs("specs", "--workers", workers)
    found = [line.split()[1] for line in done.lines if line.startswith(("PASS", "FAIL"))]
    assert found == [f"specs/{c}.spec.yaml" for c in "0abd"]


def test_each_spec_finds_its_agent_as_if_nobody_had_spoken_to_it(specs: Test):
    write({f"more/{n}.spec.yaml": ORDERS for n in range(4)})
    done = specs("more")
    assert (done.code, shape(done.lines)[-1]) == (0, "4 passed")


def test_what_an_agent_says_cannot_steer_the_terminal(specs: Test):
    text = WRONG.replace("Where is order 7?", '"steer \\e]0;owned\\a \\e[2J"')
    write({"specs/c.spec.yaml": text})
    done = specs("specs/c.spec.yaml")
    assert done.code == 1
    assert "\x1b" not in done.out + done.err
    assert "\\x1b[2J" in done.out


def test_notes_of_the_model_stand_with_what_failed(specs: Test):
    write({"specs/c.spec.yaml": WRONG.replace("Where is order 7?", "break")})
    done = specs("specs/c.spec.yaml")
    assert any(line.startswith("  note: ") and "nothing" in line for line in done.lines)


def test_a_model_whose_key_is_there_is_not_asked(specs: Test):
    write({"desk.yaml": AGENT.partition("local:")[0], "specs/b.spec.yaml": WRONG})
    done = specs("specs/b.spec.yaml")
    assert done.code == 1
    assert '    said: "You said: Where is order 7?"' in done.lines
    assert "sk-secret" not in done.out + done.err


def test_an_agent_that_hangs_up_leaves_steps_undone(specs: Test):
    steps = "steps:\n  - say: Please leave\n    timeout: 20s\n  - say: Still there?\n"
    write({"specs/c.spec.yaml": f"agent: ../desk.yaml\n{steps}"})
    done = specs("specs/c.spec.yaml")
    assert done.code == 1
    assert any("ended" in line for line in done.lines)


def test_an_agent_that_does_not_answer_in_time_fails(specs: Test):
    steps = "timeout: 50ms\nsteps: [{say: be slow}]\n"
    write({"specs/c.spec.yaml": f"agent: ../desk.yaml\n{steps}"})
    done = specs("specs/c.spec.yaml")
    assert done.code == 1
    assert "  specs/c.spec.yaml:3:9: the agent did not answer within 0.05 s" in done.lines


def test_a_slow_answer_fails_where_it_should_have_been_quick(specs: Test):
    steps = "steps: [{say: be slow, expect: {within_ms: {first_token: 399}}}]\n"
    write({"specs/c.spec.yaml": f"agent: ../desk.yaml\n{steps}"})
    done = specs("specs/c.spec.yaml")
    assert done.code == 1
    assert any("first_token within 399 ms" in line for line in done.lines)


# --- which specs --------------------------------------------------------------------------


def test_k_runs_those_that_match(specs: Test):
    assert shape(specs("-k", "orders and not mocked").lines) == [
        "PASS specs/a.spec.yaml · Orders",
        "1 passed",
    ]


def test_list_runs_nothing_and_needs_no_agent_that_loads(specs: Test, folder: Path):
    write({"desk_tools.py": "raise SystemExit"})
    (folder / "junit.xml").write_text("an earlier run's")
    done = specs("--list", "--junit", "junit.xml")
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        "specs/a.spec.yaml (text) · Orders",
        "specs/b.spec.yaml (text) · Mocked, and under another name",
    ]
    assert (folder / "junit.xml").read_text() == "an earlier run's"
    assert specs("--list", "--json", "-k", "orders").document == {
        "specs": [
            {
                "file": "specs/a.spec.yaml",
                "agent_file": "desk.yaml",
                "mode": "text",
                "description": "Orders",
            }
        ]
    }


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        (["-k", "nothing"], "no spec matches `-k nothing`", "--list"),
        (["--list", "-k", "nothing"], "no spec matches `-k nothing`", "--list"),
        (["empty"], "there is no spec in `empty`", "*.spec.yaml"),
        (["empty", "no/*.spec.yaml"], "there is no spec in `empty`, `no/*.spec.yaml`", "*.spec"),
    ],
)
def test_where_nothing_ran_the_code_is_5(
    specs: Test, folder: Path, words: list[str], message: str, fix: str
):
    (folder / "empty").mkdir()
    done = specs(*words)
    assert (done.code, done.out) == (5, "")
    assert done.err.startswith(f"error: {message}\n  fix: ")
    assert fix in done.err
    as_json = specs(*words, "--json")
    assert as_json.code == 5
    assert as_json.document["error"]["code"] == "nothing_ran"
    assert as_json.document["error"]["message"] == message


# --- what is wrong with them --------------------------------------------------------------


def test_specs_that_are_none_end_with_2_and_all_their_places_and_nothing_runs(
    specs: Test, folder: Path
):
    write({"specs/c.spec.yaml": "agent: ../desk.yaml\nsteps:\n- sya: Hello\n- say: []\n"})
    (folder / "junit.xml").write_text("an earlier run's")
    done = specs("--junit", "junit.xml")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: unknown key `sya`\n"
        "  where: specs/c.spec.yaml:3:3\n"
        "  fix: did you mean `say`?\n"
        "error: `say` is a text, not a list\n"
        "  where: specs/c.spec.yaml:4:8\n"
    )
    assert not (folder / "junit.xml").exists(), "it would pass for this run's"
    assert specs("--json").document["error"]["where"] == "specs/c.spec.yaml:3:3"


def test_a_mock_of_no_tool_and_an_agent_that_does_not_load_are_told_together(specs: Test):
    write(
        {
            "specs/b.spec.yaml": MOCKED.replace("  lookup:", "  lookupp:"),
            "other.yaml": "nmae: other\n",
            "specs/c.spec.yaml": "agent: ../other.yaml\nsteps: [say: Hello]\n",
        }
    )
    done = specs()
    assert (done.code, done.out) == (2, "")
    assert "  where: other.yaml:1:1\n  fix: did you mean `name`?" in done.error
    assert (
        "error: agent `desk` has no tool `lookupp`\n"
        "  where: specs/b.spec.yaml:5:3\n"
        "  fix: did you mean `lookup`?\n"
    ) in done.error


@pytest.mark.parametrize("words", [["-k", "("], ["--workers", "0"], ["nowhere"], ["--junit", "."]])
def test_wrong_usage_ends_with_2(specs: Test, words: list[str]):
    done = specs(*words)
    assert (done.code, done.out) == (2, "")
    assert "  fix: " in done.error


def test_a_report_that_is_a_device_is_written_to_and_not_replaced(specs: Test):
    assert specs("--junit", os.devnull).code == 0
    assert Path(os.devnull).is_char_device()
