"""The offline check of Python agents: by syntax tree, running nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinecall_cli.agent.check import Checked, check

HEAD = "from pinecall_cli import Agent, tool\n"


@pytest.fixture
def python(tmp_path: Path):
    def python(source: str) -> Checked:
        (tmp_path / "agent.py").write_text(HEAD + source)
        (checked,) = check(tmp_path / "agent.py")
        return checked

    return python


def told(checked: Checked) -> list[str]:
    return [f"{p.code} {p.line}:{p.column}" for p in checked.problems]


def test_nothing_of_the_file_is_run(python, tmp_path: Path):
    mark = tmp_path / "ran"
    checked = python(f"open({str(mark)!r}, 'w')\nraise SystemExit\nagent = Agent('a')")
    assert (checked.agents, checked.problems, checked.valid) == (("a",), (), True)
    assert not mark.exists()


def test_agents_are_found_wherever_the_module_makes_them(python):
    checked = python("""
import pinecall_cli
a = Agent("a")
if True:
    b = pinecall_cli.Agent(name="b")
try:
    c = client.agent("c", prompt="x")
finally:
    pass
both = [Agent("d"), Agent(NAME), Agent(f"{x}")]
def f():
    return Agent("never")
""")
    assert checked.agents == ("a", "b", "c", "d")
    assert checked.problems == ()


def test_literals_are_checked_at_their_places(python):
    checked = python("""
a = Agent(
    "a",
    stt={"provider": "deepgram", "model": "nova-2"},
    flash=None,
    interruption={"energy_threshold_db": -40, "min_words": -1},
    session_limits={"max_seconds": 5, **OTHERS},
    preparing={"timeout_ms": 9000},
    allowed_origins=("https://ok.com", "nonsense"),
    vioce=VOICE,
    prompt=open("x").read(),
    mode={1: 2},
    knowledge_base=[KB],
    **MORE,
)
""")
    assert told(checked) == [
        "unsupported_stt 5:9",
        "wrong_type 7:60",
        "wrong_type 9:30",
        "invalid_origin 10:40",
        "unknown_key 11:5",
    ]


def test_what_only_code_can_give_is_no_unknown_key(python):
    assert told(python("a = Agent('a', history=SqliteHistory('calls.db'))")) == []


def test_variables_that_code_may_set_are_not_called_empty(python):
    agent = "a = Agent('a', prompt='Remind them of {{what}}.')\n"
    assert told(python(agent)) == ["unset_variable 2:23"]
    sets = "async def remind(call):\n    call.set_prompt_vars(what='the lamp')\n"
    assert told(python(agent + sets)) == []


def test_two_agents_of_one_name_are_told(python):
    checked = python("a = Agent('x')\nb = Agent('x')")
    assert told(checked) == ["duplicate_agent 3:5"]


def test_agents_of_one_name_in_a_folder_are_told_whatever_they_are_written_in(tmp_path: Path):
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text("name: desk\nllm: openai/gpt-5\n", encoding="utf-8")
    (tmp_path / "three.py").write_text(
        "from pinecall_cli import Agent\n\na = Agent('desk', prompt='x')\n", encoding="utf-8"
    )
    found = {Path(one.file).name: one for one in check(tmp_path)}
    assert [problem.code for problem in found["one.yaml"].problems] == []
    assert told(found["three.py"]) == ["duplicate_agent 3:5"]
    assert told(found["two.yaml"]) == ["duplicate_agent 1:1"]
    assert found["two.yaml"].problems[0].hint == f"the other one is in {tmp_path}/one.yaml:1:1"
    assert all(one.valid for one in check(tmp_path / "two.yaml"))


def test_a_tool_that_the_file_never_binds_is_told(python):
    checked = python("""
import tools as t
from others import one, two as second
@tool
def mine(): ...
def later(): third = 1
class Kit: ...
for loop in (): ...
try: ...
except Exception as problem: ...
if (walrus := mine): ...
a = Agent("a", tools=[t, one, second, mine, Kit, loop, problem, walrus, t.x, mistyped])
b = Agent("b", tools=TOOLS)
""")
    assert told(checked) == ["unknown_tool 13:78"]
    assert checked.problems[0].hint == "it has `mine`, `later`"


def test_a_star_import_could_bring_anything(python):
    assert python("from others import *\na = Agent('a', tools=[anything])").problems == ()


def test_a_script_in_the_file_is_checked_except_for_its_tools(python):
    checked = python("""
a = Agent("a", tools=[tool], local={"llm": "script", "script": [
    {"on": "(", "say": "x"},
    {"call": "whatever"},
]})
""")
    assert told(checked) == ["bad_pattern 4:12"]


def test_what_is_no_python_is_told_once(python, tmp_path: Path):
    assert told(python("a = (")) == ["python_syntax 2:5"]
    (tmp_path / "agent.py").write_bytes(b"x = 1\n\x00")
    assert [p.code for p in check(tmp_path / "agent.py")[0].problems] == ["python_syntax"]
    (tmp_path / "agent.py").write_text("x = " + "(" * 5000)
    assert [p.code for p in check(tmp_path / "agent.py")[0].problems] == ["python_syntax"]


@pytest.mark.parametrize("name", ["nowhere.py", "nowhere.yaml", "nowhere"])
def test_a_file_that_is_not_there_is_told(tmp_path: Path, name: str):
    (checked,) = check(tmp_path / name)
    assert [problem.code for problem in checked.problems] == ["missing_file"]
    assert not checked.valid


def test_a_python_file_that_cannot_be_read_is_told(python, monkeypatch):
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    checked = python("a = Agent('a')")
    assert [p.code for p in checked.problems] == ["unreadable_file"]


TOOLS = """
from somewhere import imported
import pinecall_cli
@pinecall_cli.tool
def one():
    '''One.

    More.
    '''
@tool(name="x")
async def two(): ...
@staticmethod
def plain(): ...
"""


@pytest.mark.parametrize(
    ("target", "problems"),
    [
        ("tools.py", ["no_description 2:9"]),
        ("tools.py:one", []),
        ("tools.py:plain", ["no_description 2:9"]),
        ("tools.py:imported", []),
        ("tools.py:missing", ["unknown_tool 2:9"]),
        ("broken.py", ["python_syntax 1:1"]),
        ("star.py:anything", []),
    ],
)
def test_tools_of_a_yaml_agent_are_looked_for_without_importing(
    tmp_path: Path, target: str, problems: list[str]
):
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "broken.py").write_text("(")
    (tmp_path / "star.py").write_text("from somewhere import *")
    (tmp_path / "a.yaml").write_text(f"llm: script\ntools: ['{target}']")
    (checked,) = check(tmp_path / "a.yaml")
    assert told(checked) == problems


def test_a_check_reads_the_dotenv_and_leaves_the_environment_alone(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("CHECK_URL", raising=False)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".env").write_text("CHECK_URL=x\n")
    (tmp_path / "a.yaml").write_text("env: [CHECK_URL]\nllm: script\nprompt: ${CHECK_URL}")
    (checked,) = check(tmp_path)
    assert checked.valid
    import os

    assert "CHECK_URL" not in os.environ


def test_a_problem_is_json_as_the_contract_has_it(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("llm: script\nvioce: x")
    (checked,) = check(tmp_path / "a.yaml")
    assert checked.problems[0].as_json() == {
        "file": str(tmp_path / "a.yaml"),
        "line": 2,
        "column": 1,
        "severity": "error",
        "code": "unknown_key",
        "message": "unknown key `vioce`",
        "hint": "did you mean `voice`?",
    }


def test_a_tool_name_no_provider_takes_is_told_in_wire_form_too(tmp_path: Path):
    wire = "{type: function, function: {name: 'a b', description: x, parameters: {}}}"
    (tmp_path / "a.yaml").write_text(f"llm: script\ntools: [{wire}]")
    assert told(check(tmp_path / "a.yaml")[0]) == ["bad_tool_name 2:9"]
