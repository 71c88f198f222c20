"""A spec's file: what it may say, and every mistake at its place, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinecall_cli.agent.problems import AgentFileProblems
from pinecall_cli.caller.steps import (
    Hangup,
    Interrupt,
    LineQuality,
    Play,
    Press,
    Say,
    Silence,
    Wait,
)
from pinecall_cli.trial.spec import CallsTool, Case, Happens, Says, Within
from pinecall_cli.trial.yaml_file import load_specs
from tests.trial.specs import AGENT, SAY, VOICES, loaded, problems, written

ISSUE = """\
agent: agent.yaml
mode: voice                        # text (or chat, the other CLI's word) | voice
steps:
  - say: Where is order ORD-12345?
    expect:
      - tool: lookup_order
        args: {order_id: ORD-12345}
      - says: "(?i)shipped"
      - within_ms: {first_audio: 1500}
  - interrupt: {after_words: 4, say: "Wait"}
    expect: [{event: bot.interrupted}]
mocks: {lookup_order: {status: shipped}}
"""

FULL = """\
agent: agent.yaml:front-desk
description: All there is
mode: voice
from: "+14155550100"
to: +1 415 555 0101
voice: hibari/heart
line: {band: phone, noise_db: -35, loss: 0.02, seed: 7}
timeout: 20s
vars: {company: Acme, size: 12}
mocks:
  nothing:
  empty: []
  many: [1, two, {three: 3}]
  lookup_order:
    - {args: {number: 7}, result: {status: sent}}
    - result: {error: no such order}
steps:
  - wait: greeting
    expect: {says: Hello}
  - say: 12:30
    timeout: 5s
    expect:
      - not_says: nope
      - tool: lookup_order
      - not_tool: delete_everything
      - event: bot.finished
      - not_event: llm.error
        fatal: true
  - wait: reply
    timeout: 7s
  - pause: 350ms
  - silence: 4s
  - play: noise.wav
  - press: 12#
  - interrupt: {after: 800ms, say: yes}
    timeout: 9s
  - hangup
expect: [{within_ms: {first_audio: 900, llm_ttft: 100}}]
"""


# --- what it may say ----------------------------------------------------------------------


def test_the_format_of_the_issue_is_read_as_it_stands(tmp_path: Path):
    spec = loaded(tmp_path, ISSUE)
    ask, cut = spec.steps
    assert spec.mode == "voice"
    assert (ask.step, ask.shown) == (
        Say("Where is order ORD-12345?"),
        "say: Where is order ORD-12345?",
    )
    tool, says, within = ask.expect
    assert isinstance(tool, CallsTool)
    assert (tool.tool, tool.args, tool.wanted) == ("lookup_order", {"order_id": "ORD-12345"}, True)
    assert isinstance(says, Says)
    assert (says.pattern, says.wanted) == ("(?i)shipped", True)
    assert isinstance(within, Within)
    assert within.limits == {"first_audio": 1500}
    assert cut.step == Interrupt("Wait", after_words=4)
    (event,) = cut.expect
    assert isinstance(event, Happens)
    assert (event.event, event.fields, event.wanted) == ("bot.interrupted", {}, True)
    (mock,) = spec.mocks
    assert (mock.tool, mock.cases) == ("lookup_order", (Case({"status": "shipped"}),))


def test_everything_that_a_spec_can_say_is_read(tmp_path: Path):
    (tmp_path / "noise.wav").touch()
    spec = loaded(tmp_path, FULL)
    assert (spec.agent.file, spec.agent.name) == (tmp_path / "agent.yaml", "front-desk")
    assert (spec.from_number, spec.to_number) == ("+14155550100", "+14155550101")
    assert (spec.title, spec.voice) == ("All there is", "hibari/heart")
    assert spec.line == LineQuality("phone", -35, 0.02, 7)
    assert spec.vars == {"company": "Acme", "size": "12"}
    assert [step.step for step in spec.steps] == [
        Wait("greeting", 20),
        Say("12:30"),
        Wait("reply", 7),
        Silence(0.35),
        Silence(4),
        Play(tmp_path / "noise.wav"),
        Press("12#"),
        Interrupt("yes", after=0.8, timeout=9),
        Hangup(),
    ]
    assert [step.timeout for step in spec.steps] == [20, 5, 7, 20, 20, 20, 20, 9, 20]
    assert [step.verb for step in spec.steps if not step.acts] == [
        "wait",
        "wait",
        "pause",
        "silence",
    ]
    assert {mock.tool: mock.cases for mock in spec.mocks} == {
        "nothing": (Case(None),),
        "empty": (Case([]),),
        "many": (Case([1, "two", {"three": 3}]),),
        "lookup_order": (
            Case({"status": "sent"}, {"number": 7}),
            Case({"error": "no such order"}),
        ),
    }
    assert [
        (one.tool, one.wanted) for one in spec.steps[1].expect if isinstance(one, CallsTool)
    ] == [
        ("lookup_order", True),
        ("delete_everything", False),
    ]
    (within,) = spec.expect
    assert isinstance(within, Within)
    assert within.limits == {"first_audio": 900, "llm_ttft": 100}


@pytest.mark.parametrize(("word", "mode"), [("text", "text"), ("chat", "text"), ("voice", "voice")])
def test_a_mode_has_a_second_name(tmp_path: Path, word: str, mode: str):
    assert loaded(tmp_path, f"{AGENT}mode: {word}\n{SAY}").mode == mode


def test_text_is_the_mode_of_a_spec_that_names_none(tmp_path: Path):
    assert loaded(tmp_path, AGENT + SAY).mode == "text"


def test_a_text_session_can_wait_for_some_time(tmp_path: Path):
    spec = loaded(tmp_path, f"{AGENT}steps: [wait: 200ms, say: Hello]\n")
    assert [step.verb for step in spec.steps] == ["wait", "say"]


def test_a_spec_without_a_description_is_called_by_its_file(tmp_path: Path):
    assert loaded(tmp_path, AGENT + SAY).title == "desk.spec"


def test_a_result_may_stand_in_a_file_of_its_own(tmp_path: Path):
    (tmp_path / "page.html").write_text("<p>sent</p>")
    spec = loaded(tmp_path, f"{AGENT}{SAY}mocks: {{lookup: {{page: !file page.html}}}}\n")
    assert spec.mocks[0].cases == (Case({"page": "<p>sent</p>"}),)


def test_a_python_agent_is_chosen_by_name_and_a_colon_elsewhere_is_part_of_the_name(tmp_path: Path):
    (tmp_path / "agents.py").touch()
    (tmp_path / "odd:name.yaml").touch()
    chosen = loaded(tmp_path, f"agent: agents.py:second\n{SAY}").agent
    odd = loaded(tmp_path, f"agent: odd:name.yaml\n{SAY}").agent
    assert (chosen.file.name, chosen.name) == ("agents.py", "second")
    assert (odd.file.name, odd.name) == ("odd:name.yaml", None)


def test_every_kind_that_an_event_has_a_field_of_can_be_told_from_it(tmp_path: Path):
    expect = "expect: [{event: turn.end, text: says}, {not_event: x.y, any: {thing: 1}}]"
    first, second = loaded(tmp_path, f"{AGENT}{SAY}{expect}\n").expect
    assert isinstance(first, Happens)
    assert isinstance(second, Happens)
    assert (first.fields, second.fields) == ({"text": "says"}, {"any": {"thing": 1}})


# --- mistakes -----------------------------------------------------------------------------


def steps(*lines: str, mode: str = "") -> str:
    """Return a spec with these steps; the first is on line 3 with a mode and on line 2 without."""
    return "\n".join([f"{AGENT}{mode}steps:", *(f"  {line}" for line in lines), ""])


def expecting(*lines: str, mode: str = "text") -> str:
    """Return a spec with these expectations, the first on line 6."""
    body = "\n".join(f"    {line}" for line in lines)
    return f"{AGENT}mode: {mode}\nsteps:\n- say: Hello\n  expect:\n{body}\n"


VOICE = "mode: voice\n"
MISTAKES = {
    "nothing": ("", (1, 1, "empty_file", "for example `steps: [{say: Hello, expect")),
    "only a comment": ("# soon\n", (1, 1, "empty_file", "for example")),
    "a list": ("- say: Hello\n", (1, 1, "wrong_type", "of `agent`")),
    "two documents": (f"{AGENT}{SAY}---\n{AGENT}", (4, 1, "several_specs", "files of their own")),
    "no steps": (AGENT, (1, 1, "missing_key", "steps: [{say: Hello")),
    "no agent": (SAY, (1, 1, "missing_key", "agent: ../agent.yaml")),
    "empty steps": (f"{AGENT}steps: []\n", (2, 8, "missing_key", "for example")),
    "steps of another type": (f"{AGENT}steps: Hello\n", (2, 8, "wrong_type", "for example")),
    "a key that there nearly is": (
        f"{AGENT}{SAY}mock: {{}}\n",
        (3, 1, "unknown_key", "did you mean `mocks`?"),
    ),
    "a mode that there nearly is": (
        f"{AGENT}mode: vioce\n{SAY}",
        (2, 7, "wrong_type", "did you mean `voice`?"),
    ),
    "a mode that is none": (f"{AGENT}mode: [voice]\n{SAY}", (2, 7, "wrong_type", "")),
    "an agent that is not there": (
        f"agent: nobody.yaml\n{SAY}",
        (1, 8, "missing_file", "agent: ../front_desk.yaml"),
    ),
    "an agent in a home that is not there": (
        f"agent: ~nobody-of-that-name/agent.yaml\n{SAY}",
        (1, 8, "missing_file", "paths start at this file"),
    ),
    "a sound in a home that is not there": (
        steps("- play: ~nobody-of-that-name/a.wav", mode=VOICE),
        (4, 11, "missing_file", "paths start at this file"),
    ),
    "a result in a home that is not there": (
        f"{AGENT}{SAY}mocks: {{lookup: !file ~nobody-of-that-name/a.json}}\n",
        (3, 17, "missing_file", ""),
    ),
    "an agent of a name too long": (f"agent: {'a' * 5000}.yaml\n{SAY}", (1, 8, "missing_file", "")),
    "an agent that is a list": (f"agent: [a]\n{SAY}", (1, 8, "wrong_type", "")),
    "a spec for a model to judge": (
        f"{AGENT}workflow: {{}}\n",
        (2, 1, "judged_spec", "what is expected under `expect`"),
    ),
    "a duration without a unit": (f"{AGENT}timeout: 5\n{SAY}", (2, 10, "wrong_type", "`1.5s`")),
    "a number in a text session": (
        f"{AGENT}from: '+14155550100'\n{SAY}",
        (2, 7, "voice_only", "add `mode: voice`"),
    ),
    "a number that is none": (
        f"{AGENT}{VOICE}to: 555\n{SAY}",
        (3, 5, "invalid_number", ""),
    ),
    "a voice that is none": (
        f"{AGENT}{VOICE}voice: hibari/hart\n{SAY}",
        (3, 8, "unknown_voice", "did you mean `hibari/heart`?"),
    ),
    "a greeting in a text session": (steps("- wait: greeting"), (3, 5, "voice_only", "")),
    "an interruption in a text session": (
        steps("- interrupt: {after_words: 2, say: Hey}"),
        (3, 5, "voice_only", "add `mode: voice`"),
    ),
    "keys on no phone": (steps("- press: 1", mode=VOICE), (4, 5, "not_phone", "`to:` in the spec")),
    "a step that there nearly is": (
        steps("- sya: Hello"),
        (3, 5, "unknown_key", "did you mean `say`?"),
    ),
    "an expectation without a step": (
        steps("- expect: [{says: Hello}]"),
        (3, 5, "missing_key", "`wait: greeting`"),
    ),
    "a misspelt expectation": (
        steps("- say: Hello", "  expct: [{says: Hello}]"),
        (4, 5, "unknown_key", "did you mean `expect`?"),
    ),
    "two steps in one": (
        steps("- say: Hello", "  hangup:", mode=VOICE),
        (4, 5, "several_steps", "steps of their own"),
    ),
    "an expectation that is a text": (expecting("- Hello"), (6, 7, "wrong_type", "for example")),
    "an expectation of nothing": (expecting("- {}"), (6, 7, "missing_key", "for example")),
    "an expectation that there nearly is": (
        expecting("- sais: Hello"),
        (6, 7, "unknown_key", "did you mean `says`?"),
    ),
    "two expectations in one": (
        expecting("- says: Hello", "  tool: lookup"),
        (6, 7, "several_kinds", "make it a list"),
    ),
    "an event and what is said in one": (
        expecting("- event: bot.finished", "  says: Hello"),
        (6, 7, "several_kinds", "make it a list"),
    ),
    "arguments of no tool": (
        expecting("- says: Hello", "  args: {}"),
        (7, 7, "unknown_key", ""),
    ),
    "arguments that are a list": (
        expecting("- tool: lookup", "  args: [7]"),
        (7, 13, "wrong_type", ""),
    ),
    "a pattern that is none": (
        expecting("- says: order (7"),
        (6, 13, "bad_pattern", "a backslash takes the meaning"),
    ),
    "a pattern with a number too large": (
        expecting(r"- says: '\8888888888888888888888'"),
        (6, 13, "bad_pattern", ""),
    ),
    "a pattern of a list": (expecting("- says: [a]"), (6, 13, "wrong_type", "")),
    "arguments with a pattern that is none": (
        expecting("- tool: lookup", "  args: {number: [/(7/]}"),
        (7, 23, "bad_pattern", ""),
    ),
    "fields with a pattern that is none": (
        expecting("- event: bot.interrupted", "  reason: /[/"),
        (7, 15, "bad_pattern", ""),
    ),
    "an event that there nearly is": (
        expecting("- not_event: bot.interupted"),
        (6, 18, "unknown_event", "did you mean `bot.interrupted`?"),
    ),
    "an event with a field that it nearly has": (
        expecting("- event: bot.interrupted", "  reson: user_spoke"),
        (7, 7, "unknown_key", "did you mean `reason`?"),
    ),
    "an event that is a list": (expecting("- event: []"), (6, 14, "wrong_type", "")),
    "a time of the other mode": (
        expecting("- within_ms: {first_audio: 100}"),
        (6, 19, "wrong_mode", "`first_token`, `reply`"),
    ),
    "a time that there nearly is": (
        expecting("- within_ms: {frist_audio: 100}", mode="voice"),
        (6, 19, "unknown_key", "did you mean `first_audio`?"),
    ),
    "no time": (expecting("- within_ms: {}"), (6, 18, "missing_key", "")),
    "a time that is none": (
        expecting("- within_ms: {reply: soon}"),
        (6, 26, "wrong_type", ""),
    ),
    "times that are a number": (expecting("- within_ms: 100"), (6, 18, "wrong_type", "")),
    "mocks that are a list": (f"{AGENT}{SAY}mocks: [a]\n", (3, 8, "wrong_type", "status: sent")),
    "a mock with an unknown key": (
        f"{AGENT}{SAY}mocks: {{lookup: [{{result: 1, arg: {{}}}}]}}\n",
        (3, 30, "unknown_key", "did you mean `args`?"),
    ),
    "a mock with a pattern that is none": (
        f"{AGENT}{SAY}mocks: {{lookup: [{{result: 1, args: {{n: /(/}}}}]}}\n",
        (3, 40, "bad_pattern", ""),
    ),
    "a mock with a file that is not there": (
        f"{AGENT}{SAY}mocks: {{lookup: !file nothing.json}}\n",
        (3, 17, "missing_file", ""),
    ),
    "variables that are a list": (f"{AGENT}{SAY}vars: [a]\n", (3, 7, "wrong_type", "company")),
    "a variable that is a list": (f"{AGENT}{SAY}vars: {{a: [b]}}\n", (3, 11, "wrong_type", "")),
    "a tab": (f"{AGENT}steps:\n\t- say: Hello\n", (3, 1, "tab", "")),
    "a key twice": (f"{AGENT}{AGENT}{SAY}", (2, 1, "duplicate_key", "")),
    "bytes that are no text": (b"agent: \xff\n", (1, 8, "not_utf8", "")),
}


@pytest.mark.parametrize(("text", "wanted"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_at_its_place_and_exits_with_2(
    tmp_path: Path, text: str | bytes, wanted: tuple[int, int, str, str]
):
    ((line, column, code, hint),) = problems(tmp_path, text)
    assert (line, column, code) == wanted[:3]
    assert wanted[3] in hint


def test_everything_that_is_wrong_is_told_at_once_in_all_files(tmp_path: Path):
    one = written(tmp_path, f"{AGENT}mode: vioce\nsteps: [{{say: }}]\n", "a.spec.yaml")
    two = written(tmp_path, expecting("- says: (", "- event: bot.wrod"), "b.spec.yaml")
    fine = written(tmp_path, AGENT + SAY, "c.spec.yaml")
    gone = tmp_path / "d.spec.yaml"
    with pytest.raises(AgentFileProblems) as caught:
        load_specs([two, gone, fine, one], voices=VOICES)
    assert [(Path(p.file).name, p.line, p.code) for p in caught.value.problems] == [
        ("a.spec.yaml", 2, "wrong_type"),
        ("a.spec.yaml", 3, "wrong_type"),
        ("b.spec.yaml", 6, "bad_pattern"),
        ("b.spec.yaml", 7, "unknown_event"),
        ("d.spec.yaml", None, "missing_file"),
    ]


def test_any_voice_will_do_where_nobody_knows_which_there_are(tmp_path: Path):
    file = written(tmp_path, f"{AGENT}{VOICE}voice: anybody\n{SAY}")
    assert load_specs([file])[0].voice == "anybody"


def test_a_silence_of_which_something_is_expected_is_a_step_like_others(tmp_path: Path):
    text = steps("- press: 1", "- silence: 1s", "- silence: 2s", "  expect: {says: There}")
    spec = loaded(tmp_path, f"{text}mode: voice\nto: '+14155550101'\n")
    assert [step.acts for step in spec.steps] == [True, False, True]
