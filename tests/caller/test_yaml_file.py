"""The caller's file: what it may say, and every mistake at its place, all at once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.agent.problems import AgentFileProblems
from pinecall_cli.caller.steps import (
    Caller,
    Hangup,
    Interrupt,
    LineQuality,
    Play,
    Press,
    Say,
    Silence,
    Wait,
)
from pinecall_cli.caller.yaml_file import load_caller, parse_caller
from pinecall_cli.errors import Where

FULL = """\
from: "+14155550100"
to: +1 415 555 0101
voice: hibari/heart
line: {band: phone, noise_db: -35, loss: 0.02, seed: 7}   # optional degradation
steps:
  - wait: greeting
  - say: Where is my order?
  - interrupt: {after_words: 5, say: "No, wait"}
  - pause: 350ms
  - play: noise.wav
  - press: "12#"
  - silence: 4s
  - wait: reply
    timeout: 1m
  - wait: 1.5s
  - interrupt: {after: 800ms, say: yes}
  - say: 12:30
  - press: 007
  - hangup
"""


def parsed(text: str | bytes, folder: Path = Path(), **options: object) -> Caller:
    data = text.encode() if isinstance(text, str) else text
    return parse_caller(data, "<stdin>", folder, **options)


def problems(text: str | bytes, **options: object) -> list[tuple[int | None, int | None, str, str]]:
    with pytest.raises(AgentFileProblems) as caught:
        parsed(text, **options)
    assert caught.value.exit_code == 2
    assert all(problem.file == "<stdin>" for problem in caught.value.problems)
    return [(p.line, p.column, p.code, p.hint or "") for p in caught.value.problems]


def test_every_key_and_step_is_read(tmp_path):
    (tmp_path / "noise.wav").touch()
    (tmp_path / "angry.caller.yaml").write_text(FULL)
    assert load_caller(tmp_path / "angry.caller.yaml", voices={"hibari/heart"}) == Caller(
        from_number="+14155550100",
        to_number="+14155550101",
        voice="hibari/heart",
        line=LineQuality("phone", -35.0, 0.02, 7),
        steps=(
            Wait("greeting"),
            Say("Where is my order?"),
            Interrupt("No, wait", after_words=5),
            Silence(0.35),
            Play(tmp_path / "noise.wav"),
            Press("12#"),
            Silence(4.0),
            Wait("reply", timeout=60.0),
            Wait(1.5),
            Interrupt("yes", after=0.8),
            Say("12:30"),
            Press("007"),
            Hangup(),
        ),
    )


def test_a_step_knows_where_it_stands():
    steps = parsed("timeout: 5s\nsteps:\n- wait: reply\n- hangup").steps
    assert [step.where for step in steps] == [Where("<stdin>", 3, 3), Where("<stdin>", 4, 3)]
    assert steps[0] == Wait("reply", timeout=5.0)


@pytest.mark.parametrize(
    ("text", "place", "code", "hint"),
    [
        ("stps: []", (1, 1), "unknown_key", "did you mean `steps`?"),
        ("from: 5", (1, 1), "missing_key", "for example"),
        ("", (1, 1), "missing_key", "for example"),
        ("steps: []", (1, 8), "missing_key", ""),
        ("steps: hangup", (1, 8), "wrong_type", ""),
        ("- say: hi", (1, 1), "wrong_type", "`steps`"),
        ("steps: [hangup]\nfrom: abc", (2, 7), "invalid_number", "+14155550100"),
        ("steps: [hangupp]", (1, 9), "unknown_step", "did you mean `hangup`?"),
        ("steps:\n- sayy: hi", (2, 3), "unknown_key", "did you mean `say`?"),
        ("steps:\n- say: hi\n  wait: reply", (2, 3), "several_steps", "steps of their own"),
        ("steps:\n- timeout: 3s", (2, 3), "missing_key", ""),
        ("steps:\n- say", (2, 3), "wrong_type", ""),
        ("steps:\n- say:", (2, 7), "wrong_type", ""),
        ("steps:\n- say: [hi]", (2, 8), "wrong_type", ""),
        ("steps:\n- say: !file x.txt", (2, 8), "unknown_tag", ""),
        ("steps:\n- say: hi\n  timeout: 3s", (3, 12), "unknown_key", ""),
        ("steps:\n- wait: 2s\n  timeout: 3s", (3, 12), "unknown_key", ""),
        ("steps:\n- wait: replay", (2, 9), "wrong_type", "did you mean `reply`?"),
        ("steps:\n- wait: 2", (2, 9), "wrong_type", "with its unit"),
        ("steps:\n- pause: -2s", (2, 10), "wrong_type", "with its unit"),
        ("steps:\n- silence: 2h", (2, 12), "wrong_type", "with its unit"),
        ("steps:\n- silence: 61m", (2, 12), "out_of_range", ""),
        ("steps:\n- press: 12a", (2, 10), "bad_value", "0 to 9"),
        ("steps:\n- play: nowhere.wav", (2, 9), "missing_file", "paths start"),
        ("steps:\n- play: " + "x" * 5000, (2, 9), "missing_file", ""),
        ("steps:\n- interrupt: now", (2, 14), "wrong_type", "after_words"),
        ("steps:\n- interrupt: {say: x}", (2, 14), "missing_key", "after_words: 5"),
        ("steps:\n- interrupt: {after: 1s, after_words: 2, say: x}", (2, 14), "missing_key", ""),
        ("steps:\n- interrupt: {after: 1s}", (2, 14), "missing_key", ""),
        ("steps:\n- interrupt: {after_words: 0, say: x}", (2, 28), "wrong_type", ""),
        ("steps:\n- interrupt: {after_words: 2.5, say: x}", (2, 28), "wrong_type", ""),
        ("steps:\n- hangup: now", (2, 11), "wrong_type", "- hangup"),
        ("line: {band: am}\nsteps: [hangup]", (1, 14), "bad_value", "`phone`"),
        ("line: {loss: 2}\nsteps: [hangup]", (1, 14), "wrong_type", ""),
        ("line: {noise_db: loud}\nsteps: [hangup]", (1, 18), "wrong_type", ""),
        ("line: {seed: 1.5}\nsteps: [hangup]", (1, 14), "wrong_type", ""),
        ("line: phone\nsteps: [hangup]", (1, 7), "wrong_type", "`band`"),
        ("steps: [hangup]\nsteps: [hangup]", (2, 1), "duplicate_key", ""),
        ("steps: [hangup]\n---\nsteps: [hangup]", (3, 1), "several_callers", ""),
        ("steps:\n\t- hangup", (2, 1), "tab", "spaces"),
        (b"steps: [\xff]", (1, 9), "not_utf8", ""),
    ],
)
def test_a_mistake_is_reported_at_its_place(text, place, code, hint):
    found = [p for p in problems(text) if p[2] == code]
    assert found, problems(text)
    assert found[0][:2] == place
    assert hint in found[0][3]


def test_everything_that_is_wrong_is_reported_at_once():
    text = "vioce: x\nsteps:\n- sya: hi\n- wait: 3\n- press: x\nline: {loss: 7}"
    assert [place[0] for place in problems(text)] == [1, 3, 4, 5, 6]


def test_a_voice_that_is_not_there_is_told_from_one_that_nobody_checked():
    text = "voice: hibari/hart\nsteps: [hangup]"
    assert parsed(text).voice == "hibari/hart"
    assert problems(text, voices=["hibari/heart"]) == [
        (1, 8, "unknown_voice", "did you mean `hibari/heart`?")
    ]


def test_a_file_that_is_not_there_is_an_error_and_no_traceback(tmp_path):
    with pytest.raises(AgentFileProblems, match="there is no file"):
        load_caller(tmp_path / "nobody.yaml")


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_no_file_makes_the_reader_raise_anything_else(text):
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    for body in (data, b"steps:\n- " + data, b"steps: [{say: " + data + b"}]"):
        with suppress(AgentFileProblems):
            parsed(body)
