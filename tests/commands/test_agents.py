"""``pinecall agents``: what it prints, and what it ends with."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pinecall_cli import __version__
from pinecall_cli.agent.define import Agent
from pinecall_cli.commands.agents import app
from pinecall_cli.errors import (
    AgentFileError,
    InfrastructureError,
    NotAuthorisedError,
    NotFoundError,
    UsageError,
)
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import run_dir
from tests.commands.stub_http import answering
from tests.fakes.engines import Engines


def run(*argv: str) -> Result:
    return CliRunner().invoke(app, list(argv))


def result(*argv: str) -> Result:
    found = run(*argv)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


@contextmanager
def connected(server: EmbeddedServer, *agents: Agent) -> Iterator[None]:
    """Keep agents registered from another thread."""
    ready, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with Pinecall(server.key, server.url) as client:
            for agent in agents:
                client.add(agent)
            await client.registered()
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(engines=Engines(), keys=["pk_secret"], run_dir=run_dir()) as made:
        yield made


def desk(name: str = "front-desk", **options: Any) -> Agent:
    return Agent(name, llm="script", prompt="x", **options)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


GOOD = """\
name: front-desk
llm: openai/gpt-5
prompt: You are {{who}}.
prompt_vars: {who: kind}
whatsapp: {phone_number_id: "1", access_token: very-secret}
local: {llm: script}
"""


# --- agents ---------------------------------------------------------------------------------


def test_the_agents_of_a_running_server_are_listed(server: EmbeddedServer) -> None:
    with connected(server, desk(phone_numbers=["+13186330963"]), desk("sales")):
        found = result()
        rows = [line.split("\t") for line in found.stdout.splitlines()]
        assert rows[0] == ["agent", "phones", "channels", "live calls", "since", "held by"]
        assert [row[:2] for row in rows[1:]] == [["front-desk", "+13186330963"], ["sales", "-"]]
        assert server.url in found.stderr
        held_by = f"pinecall-cli {__version__}, process {os.getpid()}"
        assert {row[-1] for row in rows[1:]} == {held_by}
        assert "pk_secret" not in found.output
        document = json.loads(result("--json", "-q").stdout)
        first = document["agents"][0]
        contract = {"agent", "phones", "channels", "live_calls", "since"}
        assert set(first) == {*contract, "holder", "server"}
        assert first["holder"] == {
            "name": "pinecall-cli",
            "version": __version__,
            "pid": os.getpid(),
        }
        assert first["server"] == server.url
        assert (first["agent"], first["phones"]) == ("front-desk", ["+13186330963"])
        assert first["live_calls"] == 0
        assert first["since"].endswith("Z")
        assert result("--plain", "-q").stderr == ""


def test_what_a_server_does_not_say_is_null_and_a_dash() -> None:
    agents = {"agents": [{"slug": "a"}, {"slug": "b", "client": {"name": "\x1b[2Jevil"}}]}
    with answering({"/api/sdk/agents": (200, agents)}) as url:
        there = ("--server", url, "--api-key", "k")
        (first, _) = json.loads(result("--json", *there).stdout)["agents"]
        assert {first[key] for key in first if key not in ("agent", "server")} == {None}
        found = result(*there)
        assert found.stdout.splitlines()[1] == "a" + "\t-" * 5
        assert "\x1b" not in found.output


def test_no_server_is_an_empty_list(folder: Path) -> None:
    found = result("--json")
    assert json.loads(found.stdout) == {"agents": []}
    assert "no local server is running" in found.stderr


def test_several_servers_are_told_apart(server: EmbeddedServer, folder: Path) -> None:
    with EmbeddedServer(engines=Engines(), run_dir=folder) as other:
        (written,) = (folder / "servers").glob("*.json")
        written.rename(run_dir() / "servers" / "other.json")
        with connected(server, desk()), connected(other, desk("sales")):
            lines = result().stdout.splitlines()
            assert lines[0].endswith("\tserver")
            assert {line.split("\t")[0] for line in lines[1:]} == {"front-desk", "sales"}
            assert {line.split("\t")[-1] for line in lines[1:]} == {server.url, other.url}


def test_a_local_server_named_by_url_needs_no_key(server: EmbeddedServer) -> None:
    with connected(server, desk()):
        document = json.loads(result("--server", server.url, "--json").stdout)
        assert [agent["agent"] for agent in document["agents"]] == ["front-desk"]


def test_a_wrong_key_is_refused(server: EmbeddedServer) -> None:
    with pytest.raises(NotAuthorisedError):
        result("--server", server.url, "--api-key", "pk_wrong")


def test_options_before_a_subcommand_are_refused() -> None:
    with pytest.raises(UsageError, match="stands before") as caught:
        result("--json", "check", "x.yaml")
    assert caught.value.fix is not None


# --- check ----------------------------------------------------------------------------------


def test_good_files_are_said_to_be_good(folder: Path) -> None:
    (folder / "agent.yaml").write_text(GOOD)
    found = result("check", "agent.yaml")
    assert (found.exit_code, found.stdout) == (0, "agent.yaml: ok (front-desk)\n")
    document = json.loads(result("check", "agent.yaml", "--json").stdout)
    assert document == {
        "valid": True,
        "files": [{"file": "agent.yaml", "agents": ["front-desk"], "problems": []}],
    }


def test_every_problem_stands_at_its_place(folder: Path) -> None:
    (folder / "bad.yaml").write_text("name: bad\nvioce: x\nprompt: 3\nllm: openai/gpt-5\n")
    (folder / "agent.yaml").write_text(GOOD)
    found = result("check", "bad.yaml", "agent.yaml")
    assert found.exit_code == 2
    assert "bad.yaml:2:1: error: " in found.stdout
    assert "`voice`" in found.stdout
    document = json.loads(result("check", "bad.yaml", "--json").stdout)
    assert document["valid"] is False
    problem = document["files"][0]["problems"][0]
    assert {"line", "column", "severity", "code", "message", "hint"} <= set(problem)
    assert (problem["line"], problem["column"], problem["severity"]) == (2, 1, "error")


def test_warnings_fail_when_asked_to(folder: Path) -> None:
    (folder / "agent.yaml").write_text("name: a\nprompt: Hi {{nobody}}\nllm: openai/gpt-5\n")
    assert result("check", ".").exit_code == 0
    strict = result("check", ".", "--strict", "--json")
    assert strict.exit_code == 2
    assert json.loads(strict.stdout)["valid"] is False


def test_a_missing_file_is_a_problem_not_a_crash(folder: Path) -> None:
    found = result("check", "nothing.yaml", "--json")
    assert found.exit_code == 2
    assert json.loads(found.stdout)["files"][0]["problems"]


def test_a_name_that_would_steer_the_terminal_is_shown_inert(folder: Path) -> None:
    (folder / "agent.yaml").write_text('name: a\nllm: x\n"\\e[31mred": 1\n')
    assert "\x1b" not in result("check", "agent.yaml").output


# --- show -----------------------------------------------------------------------------------


def test_show_resolves_and_masks(folder: Path) -> None:
    (folder / "agent.yaml").write_text(GOOD)
    found = result("show", "agent.yaml")
    document = json.loads(found.stdout)
    assert document["agent_id"] == "front-desk"
    assert document["llm"] == "script"
    assert document["vars"] == {"who": "kind"}
    assert "very-secret" not in found.output
    hosted = json.loads(result("show", "agent.yaml", "--api-key", "pk_1", "--json").stdout)
    assert hosted["agents"][0]["llm"] == "openai/gpt-5"


def test_show_imports_python(folder: Path) -> None:
    (folder / "desk.py").write_text(
        "from pinecall_cli import Agent, Pinecall\n"
        "pc = Pinecall()\n"
        "a = pc.agent('one', llm='openai/gpt-5', prompt='x')\n"
        "b = Agent('two', llm='openai/gpt-5', prompt='y')\n"
        "pc.run(a, b)\n"
    )
    document = json.loads(result("show", "desk.py", "--json").stdout)
    assert [agent["agent_id"] for agent in document["agents"]] == ["one", "two"]


def test_show_of_a_broken_file_tells_why(folder: Path) -> None:
    (folder / "agent.yaml").write_text("name: a\nvioce: x\n")
    with pytest.raises(AgentFileError, match="vioce"):
        result("show", "agent.yaml")


def test_show_of_a_name_asks_its_server(server: EmbeddedServer, folder: Path) -> None:
    with connected(server, desk(whatsapp=None)):
        document = json.loads(result("show", "front-desk").stdout)
        assert document["agent"] == "front-desk"
        assert document["config"]["prompt"] == "x"
        with pytest.raises(NotFoundError) as caught:
            result("show", "nobody")
        assert "front-desk" in (caught.value.fix or "")


# --- schema ---------------------------------------------------------------------------------


def test_the_schema_is_json_and_can_be_written(folder: Path) -> None:
    printed = json.loads(result("schema").stdout)
    assert "prompt" in printed["properties"]
    found = result("schema", "--write")
    assert found.stdout == "# yaml-language-server: $schema=agent.schema.json\n"
    assert json.loads((folder / "agent.schema.json").read_text()) == printed
    assert json.loads(result("schema", "--write", "--json").stdout) == {"file": "agent.schema.json"}


def test_a_schema_that_cannot_be_written_is_an_error_with_a_fix(folder: Path) -> None:
    (folder / "agent.schema.json").mkdir()
    with pytest.raises(UsageError, match="cannot write") as caught:
        result("schema", "--write")
    assert caught.value.fix


# --- kick -----------------------------------------------------------------------------------


def test_a_kick_says_what_it_ended(server: EmbeddedServer) -> None:
    with connected(server, desk(), desk("sales")):
        found = result("kick", "Front Desk", "--yes")
        assert found.stdout == f"front-desk is disconnected from {server.url}\n"
        document = json.loads(result("kick", "sales", "--yes", "--json").stdout)
        assert document == {"agent": "sales", "server": server.url, "calls": []}
        assert json.loads(result("--json").stdout) == {"agents": []}


def test_a_kick_of_nobody_offers_who_there_is(server: EmbeddedServer) -> None:
    with connected(server, desk(), desk("sales")):
        with pytest.raises(NotFoundError, match="no agent `frontdesk`") as caught:
            result("kick", "frontdesk", "--yes")
        assert caught.value.fix == "did you mean `front-desk`? connected: `front-desk`, `sales`"
        assert len(json.loads(result("--json").stdout)["agents"]) == 2


def test_nobody_is_kicked_before_the_server_is_named(server: EmbeddedServer, folder: Path) -> None:
    with EmbeddedServer(engines=Engines(), run_dir=folder) as other:
        (written,) = (folder / "servers").glob("*.json")
        written.rename(run_dir() / "servers" / "other.json")
        with connected(server, desk()), connected(other, desk()):
            with pytest.raises(UsageError, match="several servers") as caught:
                result("kick", "front-desk", "--yes")
            assert "--server" in (caught.value.fix or "")
            assert result("kick", "front-desk", "--yes", "--server", other.url).exit_code == 0
            (left,) = json.loads(result("--json").stdout)["agents"]
            assert left["server"] == server.url


def test_a_kick_without_anybody_to_confirm_it_is_refused(server: EmbeddedServer) -> None:
    with connected(server, desk()):
        with pytest.raises(UsageError, match="has to be confirmed") as caught:
            result("kick", "front-desk")
        assert caught.value.code == "confirmation_needed"
        assert len(json.loads(result("--json").stdout)["agents"]) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_server_that_does_not_list_calls_to_keys_still_kicks(status: int) -> None:
    routes: dict[str, tuple[int, Any]] = {
        "/api/sdk/agents": (200, {"agents": [{"slug": "a", "live_calls": 2}]}),
        "/api/sdk/agents/a": (200, {"success": True, "displaced": "a", "org_id": "o"}),
        "/v1/agents/a/calls": (status, {"detail": "no"}),
    }
    with answering(routes) as url:
        found = result("kick", "a", "--yes", "--json", "--server", url, "--api-key", "k")
        assert json.loads(found.stdout) == {"agent": "a", "server": url, "calls": None}


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (200, InfrastructureError),
        (401, NotAuthorisedError),
        (404, NotFoundError),
        (500, InfrastructureError),
    ],
)
def test_a_kick_that_is_refused_is_no_success(status: int, problem: type[Exception]) -> None:
    routes: dict[str, tuple[int, Any]] = {
        "/api/sdk/agents": (200, {"agents": [{"slug": "a"}]}),
        "/api/sdk/agents/a": (status, {"success": False, "error": "no"}),
    }
    with answering(routes) as url, pytest.raises(problem):
        result("kick", "a", "--yes", "--server", url, "--api-key", "k")


def test_a_wrong_key_kicks_nobody(server: EmbeddedServer) -> None:
    with connected(server, desk()):
        with pytest.raises(NotAuthorisedError):
            result("kick", "front-desk", "--yes", "--server", server.url, "--api-key", "pk_wrong")
        assert len(json.loads(result("--json").stdout)["agents"]) == 1


def test_every_subcommand_has_help() -> None:
    for argv in ([], ["check"], ["show"], ["schema"], ["diff"], ["new"], ["kick"]):
        found = result(*argv, "--help")
        assert found.exit_code == 0
        assert "Usage" in found.stdout


def test_nothing_heavy_is_imported_before_a_command_runs() -> None:
    import subprocess
    import sys

    code = "import sys, pinecall_cli.commands.agents; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    ).stdout.split()
    assert {"asyncio", "rich", "websockets", "httpx", "yaml", "msgspec"}.isdisjoint(loaded)
