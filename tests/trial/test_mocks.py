"""An agent made ready for a spec."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.load import Loaded, load
from pinecall_cli.agent.problems import Problems
from pinecall_cli.engines.script import BuiltInScript
from pinecall_cli.errors import Where
from pinecall_cli.trial.mocks import chosen, prepare, scripts_only, stand_in
from pinecall_cli.trial.spec import Case, Mock, Spec
from pinecall_cli.trial.yaml_file import load_specs

TOOLS = '''\
from pinecall_cli import Call, tool

ran = []


@tool
def lookup_order(number: int) -> dict:
    """Look up an order."""
    raise AssertionError("the real one ran")


@tool
def opening_hours(call: Call, day: str | None = None) -> str:
    """Tell when we are open."""
    return "always"
'''
AGENTS = """\
name: front-desk
llm: openai/gpt-5
prompt: For {{company}} in {{city}}.
prompt_vars: {company: Acme, city: Ulm}
tools: [tools.py]
---
name: second
llm: script
local: {llm: script, script: [{say: Hello}]}
"""


@pytest.fixture
def agents(tmp_path: Path) -> list[Loaded]:
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "agent.yaml").write_text(AGENTS)
    return load(tmp_path / "agent.yaml")


def spec(folder: Path, more: str = "", agent: str = "agent.yaml:front-desk") -> Spec:
    text = f"agent: {agent}\nsteps: [{{say: Hello}}]\n{more}"
    file = folder / "desk.spec.yaml"
    file.write_text(text)
    return load_specs([file])[0]


def told(spec: Spec, agents: list[Loaded]) -> tuple[str | None, list[tuple[int | None, str, str]]]:
    problems = Problems()
    agent = chosen(spec, agents, problems)
    name = None if agent is None else agent.config.name
    return name, [(p.line, p.message, p.hint or "") for p in problems.sorted()]


# --- which agent --------------------------------------------------------------------------


def test_the_agent_is_the_one_that_is_named(tmp_path: Path, agents: list[Loaded]):
    assert told(spec(tmp_path, agent="agent.yaml:second"), agents) == ("second", [])


def test_the_only_agent_need_not_be_named(tmp_path: Path, agents: list[Loaded]):
    assert told(spec(tmp_path, agent="agent.yaml"), agents[:1]) == ("front-desk", [])


def test_of_several_agents_one_has_to_be_named(tmp_path: Path, agents: list[Loaded]):
    name, ((line, message, hint),) = told(spec(tmp_path, agent="agent.yaml"), agents)
    assert (name, line) == (None, 1)
    assert message == "`agent.yaml` holds several agents: `front-desk`, `second`"
    assert "agent.yaml:front-desk" in hint


def test_an_agent_that_the_file_does_not_have_is_told_with_those_it_has(
    tmp_path: Path, agents: list[Loaded]
):
    found = told(spec(tmp_path, agent="agent.yaml:third"), agents)
    assert found == (
        None,
        [(1, "`agent.yaml` has no agent `third`", "it has `front-desk`, `second`")],
    )


def test_a_mock_of_a_tool_that_is_not_there_is_an_error_at_its_place(
    tmp_path: Path, agents: list[Loaded]
):
    mocks = "mocks:\n  lookup_oder: 1\n  refund: 2\n"
    assert told(spec(tmp_path, mocks), agents)[1] == [
        (4, "agent `front-desk` has no tool `lookup_oder`", "did you mean `lookup_order`?"),
        (5, "agent `front-desk` has no tool `refund`", "it has `lookup_order`, `opening_hours`"),
    ]
    bare = spec(tmp_path, mocks, agent="agent.yaml:second")
    assert [hint for _, _, hint in told(bare, agents)[1]] == ["it has none", "it has none"]


def test_never_calling_a_tool_that_is_misspelt_is_an_error(tmp_path: Path, agents: list[Loaded]):
    expect = (
        "expect:\n"
        "  - not_tool: lookup_oder\n"  # a slip: it would hold for ever
        "  - not_tool: refund\n"  # there is none, and none nearly of that name
        "  - tool: lookup_oder\n"  # fails when it is not called
        "  - not_tool: opening_hours\n"
    )
    assert told(spec(tmp_path, expect), agents)[1] == [
        (4, "agent `front-desk` has no tool `lookup_oder`", "did you mean `lookup_order`?")
    ]


# --- what it is made of -------------------------------------------------------------------


def test_a_mocked_tool_is_not_run_and_keeps_its_schema(tmp_path: Path, agents: list[Loaded]):
    agent = agents[0].agent
    before = agent.tools["lookup_order"]
    other = agent.tools["opening_hours"]
    prepare(agents[0], spec(tmp_path, "mocks: {lookup_order: {status: sent}}\n"))
    mocked = agent.tools["lookup_order"]
    assert asyncio.run(mocked.run('{"number": "7"}')) == {"status": "sent"}
    assert "number" in asyncio.run(mocked.run("{}"))["error"], "arguments are checked as ever"
    assert (mocked.parameters, mocked.description) == (before.parameters, before.description)
    assert agent.tools["opening_hours"] is other


def test_a_mock_takes_the_place_of_a_tool_that_wants_the_call(tmp_path: Path, agents: list[Loaded]):
    prepare(agents[0], spec(tmp_path, "mocks: {opening_hours: never}\n"))
    tool = agents[0].agent.tools["opening_hours"]
    assert asyncio.run(tool.run('{"day": "Sunday"}', call=object())) == "never"


def test_no_model_is_left_and_variables_of_the_spec_win(tmp_path: Path, agents: list[Loaded]):
    config = prepare(agents[0], spec(tmp_path, "vars: {company: Initech}\n"))
    assert config.prompt_vars == {"company": "Initech", "city": "Ulm"}
    assert config.local.model() == "script"
    assert agents[0].agent.config == config


def test_a_script_of_the_agents_own_is_kept(tmp_path: Path, agents: list[Loaded]):
    before = agents[1].config
    assert prepare(agents[1], spec(tmp_path, agent="agent.yaml:second")) == before


def test_an_agent_that_its_application_answers_gets_no_model(tmp_path: Path):
    (tmp_path / "agent.yaml").write_text("name: silent\nprompt: Hello\n")
    (agent,) = load(tmp_path / "agent.yaml")
    config = prepare(agent, spec(tmp_path, agent="agent.yaml"))
    assert config.local.model() is None


# --- what a mock returns ------------------------------------------------------------------


def answers(cases: tuple[Case, ...], *calls: dict[str, Any]) -> list[Any]:
    function = stand_in(Mock("lookup", cases, Where("a", 1, 1)))
    return [asyncio.run(function(**args)) for args in calls]


def test_cases_are_chosen_by_their_arguments():
    cases = (Case("seven", {"n": 7}), Case("many", {"n": "/^[0-9]{2,}$/"}), Case("any"))
    assert answers(cases, {"n": 12}, {"n": 7, "x": 1}, {"n": 9}) == ["many", "seven", "any"]


def test_cases_that_fit_are_used_in_order_and_the_last_goes_on():
    cases = (Case(1), Case(2), Case(3))
    assert answers(cases, {}, {}, {}, {}) == [1, 2, 3, 3]


def test_a_call_that_no_case_is_for_is_an_error():
    with pytest.raises(LookupError, match="the spec mocks `lookup` for other arguments"):
        answers((Case("seven", {"n": 7}),), {"n": 8})


def test_what_a_caller_does_to_a_result_stays_there():
    function = stand_in(Mock("lookup", (Case({"items": []}),), Where("a", 1, 1)))
    asyncio.run(function())["items"].append(1)
    assert asyncio.run(function()) == {"items": []}


# --- models -------------------------------------------------------------------------------


def test_no_model_is_ever_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    said: list[str] = []
    assert isinstance(scripts_only("openai/gpt-5", said.append), BuiltInScript)
    assert isinstance(
        scripts_only({"provider": "ollama", "model": "x"}, said.append), BuiltInScript
    )
    assert said == [
        "llm openai/gpt-5 → built-in script: a spec calls no model",
        "llm ollama/x → built-in script: a spec calls no model",
    ]


def test_a_script_is_played_and_no_model_stays_none():
    said: list[str] = []
    script = {"provider": "script", "rules": [{"say": "Hello"}]}
    assert scripts_only(script, said.append) is not None
    assert scripts_only(None, said.append) is None
    assert said == []
