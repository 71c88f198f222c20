"""``pinecall agents diff``: files against real registrations, and every way it can end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.load import load
from pinecall_cli.errors import InfrastructureError, NotFoundError
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret, run_dir
from tests.commands.done import Done, done
from tests.commands.stub_http import answering
from tests.commands.test_agents import connected
from tests.fakes.engines import Engines

FILE = """\
name: front-desk
language: en
voice: elevenlabs/sarah
stt: deepgram:flux
llm: {{provider: openai, model: gpt-5, api_key: {key}}}
prompt: !file prompt.md
prompt_vars: {{company: Acme}}
tools: [desk_tools.py]
session_limits: {{max_duration_seconds: 600}}
allowed_origins: ["https://acme.test"]
phone_numbers: ["+1 318 663 0963"]
env: [CRM_KEY]
greeting: "Hello from ${{CRM_KEY}}"
"""
TOOLS = '''\
from pinecall_cli import tool

@tool
def lookup(order_id: str) -> dict:
    """Look up an order."""
    return {}
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRM_KEY", "crm-secret-1")
    (tmp_path / "desk.yaml").write_text(FILE.format(key="sk-secret-1"))
    (tmp_path / "prompt.md").write_text("You are kind.\nBe brief.\n")
    (tmp_path / "desk_tools.py").write_text(TOOLS)
    return tmp_path


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(engines=Engines(), keys=["pk_one"], run_dir=run_dir()) as made:
        yield made


@contextmanager
def registered(server: EmbeddedServer) -> Iterator[None]:
    """Register the agents of the folder as their files are now."""
    with connected(server, *(one.agent for one in load(Path()))):
        yield


@pytest.fixture
def diff(capfd: pytest.CaptureFixture[str]) -> Any:
    def begin(*words: str) -> Done:
        return done(capfd, "agents", "diff", *words, hidden=("sk-secret", "crm-secret", "pk_one"))

    return begin


def test_a_file_that_is_registered_as_it_stands_is_equal(server: EmbeddedServer, diff: Any) -> None:
    with registered(server):
        found = diff("desk.yaml")
        assert found.code == 0
        assert found.out == f"front-desk: desk.yaml is as registered on {server.url}\n"
        assert found.err == "front-desk: secret, or not told: llm.api_key, greeting\n"
        assert diff("desk.yaml", "-q").err == ""
        document = diff("desk.yaml", "--json").document
        assert document["equal"] is True
        assert document["agents"] == [
            {
                "agent": "front-desk",
                "file": "desk.yaml",
                "server": server.url,
                "connected": True,
                "equal": True,
                "changes": [],
                "prompt": None,
                "tools": {"added": [], "removed": [], "changed": []},
                "channels": {"added": [], "removed": [], "changed": []},
                "not_compared": ["llm.api_key", "greeting"],
            }
        ]


def test_what_an_edit_would_change_is_shown_key_by_key(
    server: EmbeddedServer, diff: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registered(server):
        edited = FILE.format(key="sk-secret-2").replace("sarah", "bob").replace("600", "60")
        edited = edited.replace("0963", "0964").replace("https://acme", "https://shop.acme")
        (folder / "desk.yaml").write_text(edited)
        (folder / "prompt.md").write_text("You are kind.\nBe short.\n")
        (folder / "desk_tools.py").write_text(
            TOOLS.replace("an order.", "one order.")
            + TOOLS.partition("\n\n")[2].replace("lookup", "cancel")
        )
        monkeypatch.setenv("CRM_KEY", "crm-secret-2")
        found = diff("desk.yaml")
        assert found.code == 1
        assert found.out.splitlines() == [
            f"front-desk: desk.yaml differs from what is on {server.url}",
            '  ~ voice: "elevenlabs/sarah" → "elevenlabs/bob"',
            "  ~ prompt: +1 −1 words",
            "      You are kind.",
            "    - Be brief.",
            "    + Be short.",
            '  ~ tools.lookup.description: "Look up an order." → "Look up one order."',
            "  + tools.cancel: Look up an order.",
            "  ~ session_limits.max_duration_seconds: 600 → 60",
            '  ~ allowed_origins[0]: "https://acme.test" → "https://shop.acme.test"',
            "  + channels.phone:+13186630964",
            "  - channels.phone:+13186630963",
        ]
        (agent,) = diff("desk.yaml", "--json").document["agents"]
        assert agent["equal"] is False
        assert agent["prompt"] == {
            "words_added": 1,
            "words_removed": 1,
            "runs": [{"old": "brief.", "new": "short."}],
        }
        assert agent["tools"] == {"added": ["cancel"], "removed": [], "changed": ["lookup"]}
        assert agent["channels"] == {
            "added": ["phone:+13186630964"],
            "removed": ["phone:+13186630963"],
            "changed": [],
        }
        assert agent["changes"][0] == {
            "key": "voice",
            "change": "changed",
            "old": "elevenlabs/sarah",
            "new": "elevenlabs/bob",
        }


def test_a_folder_is_compared_agent_by_agent(
    server: EmbeddedServer, diff: Any, folder: Path
) -> None:
    with registered(server):
        (folder / "new.yaml").write_text("{name: newcomer, llm: openai/gpt-5, prompt: x}")
        found = diff(".", "--json")
        assert found.code == 1
        assert [(one["agent"], one["connected"]) for one in found.document["agents"]] == [
            ("front-desk", True),
            ("newcomer", False),
        ]
        assert "newcomer: new.yaml is not connected\n" in diff(".").out


def test_as_compares_with_the_agent_of_another_name(
    server: EmbeddedServer, diff: Any, folder: Path
) -> None:
    with registered(server):
        (folder / "desk.yaml").write_text(FILE.format(key="sk-secret-1").replace("front-", "my-"))
        assert diff("desk.yaml").code == 1
        assert diff("desk.yaml", "--as", "front-desk").code == 0
        (folder / "b.yaml").write_text("{name: b, llm: openai/gpt-5, prompt: x}")
        assert diff(".", "--as", "front-desk").code == 2


def test_an_agent_that_is_not_connected_is_exit_1_with_the_closest_names(
    server: EmbeddedServer, diff: Any, folder: Path
) -> None:
    with registered(server):
        text = FILE.format(key="sk-secret-1").replace("front-desk", "front-dsk")
        (folder / "desk.yaml").write_text(text)
        found = diff("desk.yaml", "--json")
        assert found.code == 1
        assert found.document["error"]["code"] == "not_found"
        assert "did you mean `front-desk`?" in found.err


def test_no_server_at_all_is_exit_1(diff: Any) -> None:
    found = diff("desk.yaml")
    assert found.code == 1
    assert "no local server is running" in found.err


@pytest.mark.parametrize("target", ["broken.yaml", "missing.yaml", "front-desk"])
def test_what_is_no_agent_file_is_exit_2(diff: Any, folder: Path, target: str) -> None:
    (folder / "broken.yaml").write_text("name: a\nvioce: x\n")
    found = diff(target, "--json")
    assert found.code == 2
    assert found.document["error"]["message"]
    assert "  fix: " in found.err


def test_a_name_on_several_servers_is_exit_2(
    server: EmbeddedServer, diff: Any, tmp_path: Path
) -> None:
    with EmbeddedServer(engines=Engines(), run_dir=tmp_path / "elsewhere") as other:
        (written,) = (tmp_path / "elsewhere" / "servers").glob("*.json")
        written.rename(run_dir() / "servers" / "other.json")
        with registered(server), registered(other):
            assert diff("desk.yaml").code == 2
            assert diff("desk.yaml", "--server", other.url).code == 0


def test_a_server_that_does_not_tell_is_exit_3(diff: Any) -> None:
    agents = {"success": True, "agents": [{"slug": "front-desk"}], "total": 1}
    with answering({"/api/sdk/agents": (200, agents)}) as url:
        found = diff("desk.yaml", "--server", url, "--api-key", "k", "--json")
    assert found.code == 3
    assert found.document["error"]["code"] == "no_such_route"
    assert "does not tell how its agents are configured" in found.err


def test_a_server_that_is_not_there_is_exit_3_and_a_wrong_key_exit_4(
    server: EmbeddedServer, diff: Any
) -> None:
    assert diff("desk.yaml", "--server", "http://127.0.0.1:9", "--api-key", "k").code == 3
    assert diff("desk.yaml", "--server", server.url, "--api-key", "k").code == 4


async def test_the_route_is_not_told_apart_from_an_agent_that_has_just_gone() -> None:
    listing: dict[str, tuple[int, Any]] = {"/api/sdk/agents": (200, {"agents": [{"slug": "a"}]})}
    with answering(listing) as url:
        async with Rest(url, Secret("k")) as rest:
            with pytest.raises(NotFoundError):
                await rest.agent_config("b")
            with pytest.raises(InfrastructureError):
                await rest.agent_config("a")
