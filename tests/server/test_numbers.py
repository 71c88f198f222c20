"""The numbers file: what it maps, and everything that can be wrong with it, at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinecall_cli.agent.problems import AgentFileProblems
from pinecall_cli.caller.steps import Say
from pinecall_cli.server.phone.numbers import (
    TEST_NUMBERS,
    Number,
    Plays,
    ReachesAgent,
    Refuses,
    load_numbers,
)


def numbers(tmp_path: Path, text: str) -> dict[str, Number]:
    path = tmp_path / "numbers.yaml"
    path.write_text(text, "utf-8")
    return load_numbers(path)


def problems(tmp_path: Path, text: str) -> list[tuple[str, int | None]]:
    with pytest.raises(AgentFileProblems) as refused:
        numbers(tmp_path, text)
    return [(one.code, one.line) for one in refused.value.problems]


def test_numbers_do_what_the_file_says(tmp_path: Path):
    (tmp_path / "ana.yaml").write_text("steps: [{say: Hello}]\n", "utf-8")
    found = numbers(
        tmp_path,
        """\
"+1 (415) 555-0100": busy
+14155550101: no-answer
+14155550102: reject
+14155550103: {answer: fail, ring_ms: 250}
+14155550104: ana.yaml
+14155550105: agent:Front Desk
""",
    )
    assert found["+14155550100"] == Number(Refuses("busy"))
    assert found["+14155550101"] == Number(Refuses("no-answer"))
    assert found["+14155550102"] == Number(Refuses("rejected"))
    assert found["+14155550103"] == Number(Refuses("failed"), 250)
    assert found["+14155550105"] == Number(ReachesAgent("front-desk"))
    answer = found["+14155550104"].answer
    assert isinstance(answer, Plays)
    assert answer.caller.steps == (Say("Hello"),)


def test_the_file_says_how_long_its_numbers_ring(tmp_path: Path):
    found = numbers(
        tmp_path, '"+14155550100": busy\nring_ms: 100\n"+14155550101": {answer: busy, ring_ms: 0}\n'
    )
    assert [number.ring_ms for number in found.values()] == [100, 0]


def test_everything_that_is_wrong_is_told_at_its_place(tmp_path: Path):
    (tmp_path / "bad.yaml").write_text("steps: [{sya: Hello}]\n", "utf-8")
    found = problems(
        tmp_path,
        """\
"12": busy
"+14155550100": bussy
"+14155550101": {answr: busy}
"+14155550102": {answer: busy, ring_ms: soon}
"+14155550103": bad.yaml
"+14155550104": missing.yaml
"+14155550105": [busy]
"+14155550106": busy
"+1 415 555 0106": busy
"+14155550107": "agent:"
""",
    )
    in_file = [(code, line) for code, line in found if code not in {"unknown_key", "file_missing"}]
    codes = {code for code, _ in found}
    assert ("invalid_number", 1) in in_file
    assert ("unknown_answer", 2) in in_file
    assert ("missing_key", 3) in in_file
    assert ("wrong_type", 4) in in_file
    assert ("unknown_answer", 7) in in_file
    assert ("duplicate_key", 9) in in_file
    assert ("unknown_answer", 10) in in_file
    assert "unknown_key" in codes


def test_a_misspelt_answer_gets_a_suggestion(tmp_path: Path):
    with pytest.raises(AgentFileProblems) as refused:
        numbers(tmp_path, '"+14155550100": no-anwser\n')
    assert refused.value.fix == "did you mean `no-answer`?"


@pytest.mark.parametrize("text", ["- busy\n", "busy\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str):
    assert problems(tmp_path, text) == [("wrong_type", 1)]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(AgentFileProblems):
        load_numbers(tmp_path / "none.yaml")


def test_an_empty_file_maps_nothing(tmp_path: Path):
    assert numbers(tmp_path, "# nothing yet\n") == {}


def test_the_test_numbers_are_those_of_the_contract():
    assert list(TEST_NUMBERS) == [f"+1500555000{n}" for n in (1, 2, 3, 4, 6, 7, 8)]
