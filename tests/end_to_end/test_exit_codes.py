"""The exit codes of the contract, command by command: the installed program, run to its end.

Code 5 (nothing ran) belongs to `test` and stands with its tests; what takes a call to reach stands
with the command's own.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pinecall_cli.app import COMMANDS
from tests.commands.office import desk, office
from tests.end_to_end.conftest import Start
from tests.end_to_end.program import COMMAND, PATIENCE_S, agent_file

NUMBER = "+14155550123"
TEST_NUMBER = "+15005550001"

GOOD = ("agents check desk.yaml", "agents schema", "agents", "logs", "config list", "logout")
NOT_THERE = (
    "call nobody",
    f"call {NUMBER}",
    "listen",
    "listen 0a11ce",
    "logs 0a11ce",
    "logs -f 0a11ce",
    "token nobody",
    "agents kick nobody --yes",
    "agents show nobody",
    "chat nobody",
)
WRONG = (
    "dev bad.yaml",
    "dev nowhere.yaml",
    "call bad.yaml --say hello",
    "call desk.yaml --say hello --input hello.wav",
    "call 911",
    "call +19005550123",
    "call 1-800-FLOWERS",
    f"call {NUMBER} --say hello",
    f"call {NUMBER} --answer bussy",
    f"call {NUMBER} --agent bad.yaml",
    "listen --raw --json",
    "logs --since yesterday",
    "logs 0a11ce --export mp3",
    "agents check bad.yaml",
    "agents show bad.yaml",
    "chat bad.yaml",
    "test desk.yaml",
    "token",
    "server --numbers bad.yaml",
    "server --script bad.yaml",
    "server --host nowhere.invalid",
)
ASKS_A_SERVER = (
    "dev desk.yaml",
    "call desk",
    f"call {NUMBER} --agent desk",
    "listen",
    "logs",
    "logs 0a11ce",
    "logs -f",
    "token desk",
    "agents",
    "agents kick desk --yes",
    "agents show desk",
    "chat desk",
)
HELD = (
    "dev desk.yaml",
    "call desk.yaml --say hello",
    f"call {TEST_NUMBER} --agent desk.yaml",
    "chat desk.yaml -m hello",
)


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    text = "{name: desk, local: {llm: script, script: [{say: Hello.}]}}"
    agent_file(tmp_path, text, name="desk.yaml")
    agent_file(tmp_path, "{vioce: x}", name="bad.yaml")


def run(line: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end."""
    return subprocess.run(
        [COMMAND, *line.split(), *more],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], code: int) -> None:
    """Make sure that a command ended with that code, and said why to people and programs."""
    assert done.returncode == code, (done.args, done.stdout, done.stderr)
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert set(last["error"]) >= {"code", "message", "hint"}
    assert f"error: {last['error']['message']}" in done.stderr


@pytest.mark.parametrize("line", GOOD)
def test_0_what_was_asked_is_done(tmp_path: Path, line: str) -> None:
    done = run(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr


@pytest.mark.parametrize("line", NOT_THERE)
def test_1_the_agent_or_call_named_is_not_there(tmp_path: Path, line: str) -> None:
    refused(run(line, tmp_path, "--json"), 1)


@pytest.mark.parametrize("line", WRONG)
def test_2_wrong_usage_or_an_invalid_file(tmp_path: Path, line: str) -> None:
    done = run(line, tmp_path, "--json")
    if line.startswith(("agents check", "test")):  # their document tells all, problem by problem
        assert done.returncode == 2, done.stderr
        assert json.loads(done.stdout)
        return
    refused(done, 2)


@pytest.mark.parametrize("command", COMMANDS)
def test_2_every_command_refuses_an_option_that_it_does_not_know(
    tmp_path: Path, command: str
) -> None:
    refused(run(command, tmp_path, "--no-such-option", "--json"), 2)


@pytest.mark.parametrize("line", ASKS_A_SERVER)
def test_3_a_server_that_is_named_and_not_there(tmp_path: Path, line: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = ("--server", f"http://127.0.0.1:{port}", "--api-key", "pk_test")
    refused(run(line, tmp_path, *where, "--json"), 3)


def test_3_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(f"server --port {taken.getsockname()[1]}", tmp_path, "--json")
    refused(done, 3)


@pytest.mark.parametrize("line", ASKS_A_SERVER)
def test_4_no_key_for_a_server_elsewhere(tmp_path: Path, line: str) -> None:
    refused(run(line, tmp_path, "--server", "https://voice.invalid", "--json"), 4)


async def side_by_side(
    lines: Sequence[str], folder: Path, *more: str
) -> list[subprocess.CompletedProcess[str]]:
    """Run commands two at a time while a server in this process answers them."""
    places = asyncio.Semaphore(2)

    async def one(line: str) -> subprocess.CompletedProcess[str]:
        async with places:
            return await asyncio.to_thread(run, line, folder, *more)

    return await asyncio.gather(*(one(line) for line in lines))


async def test_4_a_key_that_is_refused(tmp_path: Path) -> None:
    async with office(desk()) as server:
        where = ("--server", server.url, "--api-key", "pk_wrong", "--json")
        for done in await side_by_side(ASKS_A_SERVER, tmp_path, *where):
            refused(done, 4)


async def test_6_the_agents_name_is_held_by_another_process(tmp_path: Path) -> None:
    async with office(desk()) as server:
        for done in await side_by_side(HELD, tmp_path, "--json"):
            refused(done, 6)
            assert server.url in done.stderr


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("line", "ready"),
    [
        ("server --port 0 --data :memory:", "Ctrl-C ends it"),
        ("logs --follow", "waiting for one"),
    ],
)
def test_130_and_143_it_was_interrupted_or_terminated(
    start: Start, line: str, ready: str, sent: signal.Signals, code: int
) -> None:
    program = start(*line.split())
    program.hears(ready)
    program.signal(sent)
    assert program.end() == code
    assert not [text for text in program.talk if "Traceback" in text]
