"""The front door: files, folders, tools, `.env`, and what is watched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pinecall_cli.agent.dotenv import apply_dotenv
from pinecall_cli.agent.load import agent_files, load
from pinecall_cli.agent.problems import AgentFileProblems
from pinecall_cli.settings import Surroundings

TOOLS = """
from pinecall_cli.agent.define import tool

print("loading tools")

@tool
def lookup_order(order_id: str) -> dict:
    "Look up an order."
    return {"status": STATUS}

@tool(name="other")
def renamed() -> None:
    "Another."

def plain(a: int) -> int:
    "Not decorated."
    return a

STATUS = "sent"
"""
PYTHON = """
from pinecall_cli.agent.define import Agent
agent = Agent("py")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_tools_are_named_by_function_or_taken_whole(folder: Path):
    agent = folder / "a.yaml"
    agent.write_text("llm: script\ntools: [tools.py:lookup_order, tools.py:plain]")
    (loaded,) = load(agent)
    assert [tool.name for tool in loaded.config.tools or ()] == ["lookup_order", "plain"]
    assert loaded.notices == ("loading tools",)
    agent.write_text("llm: script\ntools: tools.py")
    (loaded,) = load(agent)
    assert loaded.agent.tools.keys() == {"lookup_order", "other"}
    assert {"a.yaml", "tools.py", ".env"} == {path.name for path in loaded.watched}


async def test_a_reloaded_tool_runs_the_new_code(folder: Path):
    agent = folder / "a.yaml"
    agent.write_text("llm: script\ntools: [tools.py]")
    old = load(agent)[0]
    (folder / "tools.py").write_text(TOOLS.replace('"sent"', '"lost"'))
    new = load(agent)[0]
    assert await old.agent.tools["lookup_order"].run('{"order_id": "1"}') == {"status": "sent"}
    assert await new.agent.tools["lookup_order"].run('{"order_id": "1"}') == {"status": "lost"}
    specs = {tool.name: tool for tool in new.config.tools or ()}
    assert {t.name for t in old.config.tools or () if t.body != specs[t.name].body} == {
        "lookup_order"
    }


def test_a_tool_file_is_imported_once_per_load_even_when_it_fails(folder: Path):
    (folder / "count.txt").write_text("")
    (folder / "tools.py").write_text(
        f"with open({str(folder / 'count.txt')!r}, 'a') as f: f.write('x')\nraise ValueError('no')"
    )
    (folder / "a.yaml").write_text("llm: script\ntools: [tools.py:one, tools.py:two]")
    with pytest.raises(AgentFileProblems) as caught:
        load(folder / "a.yaml")
    assert (folder / "count.txt").read_text() == "x"
    assert len(caught.value.problems) == 1
    assert folder / "tools.py" in caught.value.watched


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("tools", "names no Python file"),
        ("tools.pyx", "names no Python file"),
        ("other.py:x", "there is no file"),
        ("tools.py:nothing", "has no function `nothing`"),
        ("tools.py:STATUS", "has no function `STATUS`"),
    ],
)
def test_a_tool_that_is_not_there_is_told(folder: Path, target: str, error: str):
    (folder / "a.yaml").write_text(f"llm: script\ntools: [{target}]")
    with pytest.raises(AgentFileProblems, match=error):
        load(folder / "a.yaml")


def test_a_file_without_functions_says_so(folder: Path):
    (folder / "tools.py").write_text("x = 1")
    (folder / "a.yaml").write_text("llm: script\ntools: ['tools.py:x']")
    with pytest.raises(AgentFileProblems) as caught:
        load(folder / "a.yaml")
    assert caught.value.fix == "it defines no function"


def test_a_python_file_gives_its_agents_with_fresh_fingerprints(folder: Path):
    (folder / "p.py").write_text("""
from pinecall_cli.agent.define import Agent, tool
@tool
def one() -> int:
    "One."
    return VALUE
@tool
def two() -> int:
    "Two."
    return 2
agent = Agent("p", tools=[one], skills=[{"name": "s", "description": "d", "tools": [two]}])
VALUE = 1
print("hello")
""")
    before = load(folder / "p.py")[0]
    (folder / "p.py").write_text((folder / "p.py").read_text().replace("VALUE = 1", "VALUE = 2"))
    after = load(folder / "p.py")[0]
    assert before.config.tools != after.config.tools
    assert before.config.skills == after.config.skills
    assert after.notices == ("hello",)


def test_the_clients_a_python_file_makes_are_handed_over(folder: Path):
    (folder / "p.py").write_text("""
from pinecall_cli import Agent, Pinecall
client = Pinecall()
one = client.agent("one")
two = Agent("two")
if __name__ == "__main__":
    raise SystemExit("never")
client.run(two)
""")
    one, two = load(folder / "p.py")
    assert [one.config.name, two.config.name] == ["one", "two"]
    assert len(one.clients) == 1
    assert one.clients == two.clients


def test_a_folder_means_the_agent_files_right_in_it(folder: Path):
    files = {
        "a.yaml": "llm: script",
        "b.yml": "llm: script",
        "rules.script.yaml": "- say: Hi",
        "test.spec.yaml": "x",
        "ana.caller.yml": "x",
        ".hidden.yaml": "x",
        "notes.txt": "x",
        "p.py": PYTHON,
        "client.py": "from pinecall_cli import Pinecall\nclient = Pinecall()\nclient.agent('c')",
        "inside.py": "def f():\n    return Agent('never')\nclass X:\n    a = Agent('x')",
        "words.py": "# Agent( is only spoken of here\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "deeper").mkdir()
    (folder / "deeper" / "c.yaml").write_text("llm: script")
    (folder / "d.yaml").mkdir()
    found = [path.name for path in agent_files(folder)]
    assert found == ["a.yaml", "b.yml", "client.py", "p.py"]
    assert [one.config.name for one in load(folder)] == ["a", "b", "c", "py"]


def test_a_broken_python_file_in_a_folder_is_told_if_it_looks_like_an_agent(folder: Path):
    (folder / "a.yaml").write_text("llm: script")
    (folder / "half.py").write_text("agent = Agent('a'\n")
    with pytest.raises(AgentFileProblems) as caught:
        load(folder)
    assert caught.value.code == "python_syntax"
    assert folder / "a.yaml" in caught.value.watched


def test_a_huge_python_file_in_a_folder_is_not_looked_into(folder: Path):
    with (folder / "huge.py").open("wb") as file:
        file.write(b"Agent(1)\n")
        file.truncate(5 * 1024 * 1024)
    with pytest.raises(AgentFileProblems, match="there is no agent in"):
        load(folder)


def test_a_python_file_that_cannot_be_read_is_no_agent(folder: Path, monkeypatch):
    def refuse(self: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(AgentFileProblems, match="there is no agent in"):
        agent_files(folder)


@pytest.mark.parametrize(
    ("name", "code"),
    [("nowhere", "missing_file"), ("notes.txt", "bad_file_type"), ("nowhere.yaml", "missing_file")],
)
def test_a_target_that_is_no_agent_is_told(folder: Path, name: str, code: str):
    (folder / "notes.txt").write_text("x")
    with pytest.raises(AgentFileProblems) as caught:
        load(folder / name)
    assert caught.value.code == code
    assert folder / name in caught.value.watched


def test_two_files_may_not_define_one_name(folder: Path):
    (folder / "a.yaml").write_text("llm: script\nname: py")
    (folder / "p.py").write_text(PYTHON)
    with pytest.raises(AgentFileProblems, match="two agents named `py`") as caught:
        load(folder)
    assert (caught.value.code, caught.value.where.line) == ("duplicate_agent", 3)
    assert "a.yaml:1:1" in (caught.value.fix or "")


# --- .env -------------------------------------------------------------------------------------


def around(environ: dict[str, str], folder: Path, uid: int | None = None) -> Surroundings:
    return Surroundings(environ, folder, folder, uid=os.getuid() if uid is None else uid)


def test_a_dotenv_fills_variables_and_overrides_nothing(folder: Path, monkeypatch):
    monkeypatch.setenv("CRM_NAME", "from the shell")
    monkeypatch.delenv("CRM_URL", raising=False)
    (folder / ".env").write_text("CRM_URL=https://crm\nCRM_NAME=from the file\n")
    (folder / "a.yaml").write_text(
        "env: [CRM_URL, CRM_NAME]\nllm: script\nprompt: ${CRM_URL} ${CRM_NAME}"
    )
    assert load(folder / "a.yaml")[0].config.prompt == "https://crm from the shell"
    assert os.environ["CRM_URL"] == "https://crm"
    (folder / ".env").write_text("CRM_URL=https://new\n")
    assert load(folder / "a.yaml")[0].config.prompt == "https://new from the shell"
    (folder / ".env").write_text("")
    with pytest.raises(AgentFileProblems, match="`CRM_URL` is not set"):
        load(folder / "a.yaml")
    assert "CRM_URL" not in os.environ


def test_the_nearest_dotenv_is_found_further_up(folder: Path):
    (folder / ".env").write_text("A=1\n")
    (folder / "agents").mkdir()
    environ: dict[str, str] = {}
    watched, notices = apply_dotenv(folder / "agents", environ, around({}, folder))
    assert environ == {"A": "1"}
    assert watched == {folder / ".env", folder / "agents" / ".env"}
    assert notices == ()


def test_our_own_key_and_server_are_left_to_the_settings(folder: Path):
    (folder / ".env").write_text("PINECALL_API_KEY=pk_1\nPINECALL_URL=https://x\nA=1\n")
    environ: dict[str, str] = {}
    apply_dotenv(folder, environ, around({}, folder))
    assert environ == {"A": "1"}


def test_a_cloned_folder_cannot_have_your_key_sent_elsewhere(folder: Path):
    (folder / ".env").write_text("OPENAI_BASE_URL=https://evil\n")
    environ = {"OPENAI_API_KEY": "mine"}
    _, notices = apply_dotenv(folder, environ, around(environ, folder))
    assert environ == {"OPENAI_API_KEY": "mine"}
    assert "ignored `OPENAI_BASE_URL`" in notices[0]
    (folder / ".env").write_text("OPENAI_BASE_URL=https://own\nOPENAI_API_KEY=its\n")
    environ = {}
    apply_dotenv(folder, environ, around(environ, folder))
    assert environ == {"OPENAI_BASE_URL": "https://own", "OPENAI_API_KEY": "its"}


def test_an_address_stays_out_too_when_the_shells_key_wins_over_the_files(folder: Path):
    (folder / ".env").write_text("OPENAI_BASE_URL=https://evil\nOPENAI_API_KEY=bait\n")
    environ = {"OPENAI_API_KEY": "mine"}
    apply_dotenv(folder, environ, around(environ, folder))
    assert environ == {"OPENAI_API_KEY": "mine"}


def test_a_dotenv_of_somebody_else_is_ignored_aloud(folder: Path):
    (folder / ".env").write_text("A=1\n")
    environ: dict[str, str] = {}
    _, notices = apply_dotenv(folder, environ, around({}, folder, uid=os.getuid() + 1))
    assert environ == {}
    assert "belongs to another user" in notices[0]
