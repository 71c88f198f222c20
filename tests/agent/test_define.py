"""Agents as Python defines them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.config import FIELDS, PhoneNumber
from pinecall_cli.agent.define import Agent, AgentOptions, collecting, collector, tool
from pinecall_cli.agent.keys import AGENT_KEYS
from pinecall_cli.agent.problems import AgentFileProblems
from pinecall_cli.errors import UsageError


class Recorder:
    """A wire that keeps what it is given."""

    embedded = True

    def __init__(self) -> None:
        self.patches: list[Mapping[str, Any]] = []

    def configure(self, agent: Agent, patch: Mapping[str, Any]) -> None:
        assert agent.name == "a"
        self.patches.append(patch)


@tool
def ping() -> str:
    """Ping."""
    return "pong"


@tool
def pong() -> str:
    """Pong."""
    return "ping"


def test_the_keywords_are_the_keys_of_agent_files():
    options = AgentOptions.__annotations__.keys() - {"history"}  # an object, which no file holds
    assert options == AGENT_KEYS.keys() - {"name"}
    assert options - {"phone_number"} <= set(FIELDS)


def test_keywords_become_a_frozen_configuration():
    agent = Agent(
        "Front Desk",
        voice="elevenlabs/sarah",
        prompt_vars={"year": 2026, "open": True},
        greeting=None,
        flash=False,
        tools=[ping],
        knowledge_base="kb_1",
        phone_number="+1 318 633 0963",
        session_limits={"max_duration_seconds": 12.5},
        mode={"deep": [1, None, {"x": (True, -2)}]},
    )
    config = agent.config
    assert agent.name == config.name == "front-desk"
    assert config.prompt_vars == {"year": "2026", "open": "true"}
    assert config.greeting is None
    assert config.flash is False
    assert config.knowledge_base == "kb_1"
    assert config.phone_numbers == (PhoneNumber("+13186330963"),)
    assert config.session_limits == {"max_duration_seconds": 12.5}
    assert config.mode == {"deep": [1, None, {"x": [True, -2]}]}
    assert agent.tools == {"ping": ping}
    assert repr(agent) == "Agent('front-desk')"


def test_plain_functions_and_wire_definitions_are_tools_too():
    def plain(order: str) -> str:
        """Look up."""
        return order

    wire = {
        "type": "function",
        "function": {"name": "w", "description": "W.", "parameters": {}},
    }
    agent = Agent("a", tools=[plain, wire, ping.spec])
    assert [spec.name for spec in agent.config.tools or ()] == ["plain", "w", "ping"]
    assert agent.tools.keys() == {"plain"}


def test_a_skills_tools_run_as_the_agents_own():
    agent = Agent("a", skills=[{"name": "s", "description": "d", "tools": [ping]}])
    assert agent.tools == {"ping": ping}


def test_a_prompt_may_be_a_file_beside_the_code(tmp_path: Path):
    prompt = tmp_path / "p.md"
    prompt.write_text("Be ${KIND}.")
    agent = Agent("a", prompt=prompt)
    assert agent.config.prompt == "Be ${KIND}."
    assert agent.watched == {prompt}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"vioce": "x"}, "unknown_key"),
        ({"prompt": 5}, "wrong_type"),
        ({"prompt": b"x"}, "wrong_type"),
        ({"flash": "yes"}, "wrong_type"),
        ({"flash": 1}, "wrong_type"),
        ({"session_limits": {"idle_timeout_seconds": "5"}}, "wrong_type"),
        ({"session_limits": {"idle_timeout_seconds": True}}, "wrong_type"),
        ({"session_limits": {1: 2}}, "wrong_type"),
        ({"mode": {"x": object()}}, "wrong_type"),
        ({"tools": [5]}, "wrong_type"),
        ({"tools": "x.py"}, "bad_tool"),
        ({"greeting": ["Hi"]}, "wrong_type"),
        ({"prompt": Path("nowhere.md")}, "missing_file"),
        ({"local": {"script": "nowhere.script.yaml"}}, "missing_file"),
        ({"stt": "deepgram/nova-2"}, "unsupported_stt"),
    ],
)
def test_what_cannot_be_is_refused_at_its_keyword(options: dict[str, Any], code: str):
    with pytest.raises(AgentFileProblems) as caught:
        Agent("a", **options)
    assert {problem.code for problem in caught.value.problems} == {code}
    assert caught.value.where is not None
    assert caught.value.where.file.endswith("test_define.py")


def test_a_value_that_holds_itself_is_refused():
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(AgentFileProblems):
        Agent("a", mode=loop)


def test_every_problem_stands_at_its_own_keyword():
    with pytest.raises(AgentFileProblems) as caught:
        Agent(
            "a",
            stt="deepgram/nova-2",
            session_limits={
                "idle_timeout_second": 5,
            },
            tools=[
                5,
            ],
        )
    first = test_every_problem_stands_at_its_own_keyword.__code__.co_firstlineno
    found = [(p.code, p.line and p.line - first, p.column) for p in caught.value.problems]
    assert found == [("unsupported_stt", 4, 17), ("unknown_key", 6, 17), ("wrong_type", 9, 17)]


def test_without_source_the_line_must_do():
    scope: dict[str, Any] = {"Agent": Agent}
    code = compile("\n\nAgent('a', vioce=1)", "<nowhere>", "exec")
    with pytest.raises(AgentFileProblems) as caught:
        exec(code, scope)
    assert (caught.value.problems[0].file, caught.value.problems[0].line) == ("<nowhere>", 3)


def test_warnings_are_kept_and_those_that_mean_little_in_python_dropped():
    agent = Agent("My Agent", prompt="Hello {{caller}}", promptVars={"a": "b"})  # type: ignore[call-arg]
    assert {problem.code for problem in agent.warnings} == {"name_changed", "camel_case"}
    assert agent.config.prompt_vars == {"a": "b"}


# --- update -----------------------------------------------------------------------------------


def test_an_update_sends_what_changed_and_nothing_else():
    agent = Agent("a", voice="elevenlabs/sarah", prompt="One.", tools=[ping])
    agent.wire = wire = Recorder()
    agent.update(prompt="Two.", voice="elevenlabs/sarah")
    assert wire.patches == [{"prompt": "Two."}]
    assert agent.config.prompt == "Two."
    assert agent.config.voice == "elevenlabs/sarah"
    agent.update(promptVars={"a": "b"})  # type: ignore[call-arg]
    assert wire.patches[1:] == [{"vars": {"a": "b"}}]


def test_an_update_of_tools_swaps_the_functions():
    agent = Agent("a", tools=[ping], skills=[{"name": "s", "description": "d", "tools": [ping]}])
    agent.update(tools=[pong])
    assert agent.tools == {"ping": ping, "pong": pong}
    agent.update(skills=[])
    assert agent.tools == {"pong": pong}


def test_an_updated_script_may_call_the_tools_there_are():
    agent = Agent("a", tools=[ping])
    agent.update(local={"llm": "script", "script": [{"call": "ping"}]})
    assert agent.config.local.llm == "script"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"allowed_origins": []}, "`allowed_origins` cannot be changed by `update`"),
        ({"phoneNumbers": []}, "`phoneNumbers` cannot be changed by `update`"),
        ({"prompt": None}, "`update` cannot take `prompt` out"),
    ],
)
def test_an_update_that_no_frame_could_carry_is_refused(options: dict[str, Any], error: str):
    agent = Agent("a", prompt="One.")
    with pytest.raises(UsageError, match=error):
        agent.update(**options)
    assert agent.config.prompt == "One."


def test_a_refused_update_changes_nothing():
    agent = Agent("a", prompt="One.")
    with pytest.raises(AgentFileProblems):
        agent.update(prompt="Two.", stt="deepgram/nova-2")
    assert agent.config.prompt == "One."


def test_adopting_takes_everything_but_the_wire():
    old, new = Agent("a", prompt="One."), Agent("a", prompt="Two.", tools=[ping])
    old.wire = wire = Recorder()

    @new.on("call.started")
    def handler() -> None: ...

    old.adopt(new)
    assert old.config is new.config
    assert old.tools == {"ping": ping}
    assert old.take_handlers("call.started") == (handler,)
    assert old.wire is wire


# --- events -----------------------------------------------------------------------------------


def test_handlers_are_added_as_decorators_or_by_hand_and_taken_away():
    agent = Agent("a")

    @agent.on("turn.end")
    def first() -> None: ...

    def second() -> None: ...

    assert agent.on("turn.end", second) is second
    assert agent.take_handlers("turn.end") == (first, second)
    agent.off("turn.end", first)
    assert agent.take_handlers("turn.end") == (second,)
    agent.off("turn.end")
    agent.off("never.there")
    assert agent.take_handlers("turn.end") == ()


def test_once_means_once():
    agent = Agent("a")

    @agent.once("turn.end")
    def only() -> None: ...

    agent.once("turn.end", only)
    assert agent.take_handlers("turn.end") == (only, only)
    assert agent.take_handlers("turn.end") == ()


# --- collecting -------------------------------------------------------------------------------


def test_agents_are_gathered_while_somebody_collects():
    assert collector() is None
    with collecting() as collected:
        agent = Agent("a")
        assert collector() is collected
    Agent("b")
    assert collected.agents == [agent]
    assert collector() is None
