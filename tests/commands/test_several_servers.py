"""Several local servers, and files of servers that are gone: what each command makes of them."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.define import Agent
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import run_dir
from tests.commands.office import Done, desk, office, pinecall
from tests.server.calling import calling

TEST_NUMBER = "+15005550001"
NAMES_AN_AGENT = (
    "call desk --caller -",
    f"call {TEST_NUMBER} --agent desk",
    "token desk",
    "agents kick desk --yes",
    "chat desk -m hello",
)


def last(done: Done) -> dict[str, Any]:
    """Return the last thing a command said on stdout."""
    found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return found


@asynccontextmanager
async def another(*agents: Agent) -> AsyncIterator[EmbeddedServer]:
    """Run a second server, found as if it were in a process of its own."""
    first = run_dir() / "servers" / f"{os.getpid()}.json"
    first.rename(first.with_name("1.json"))
    async with office(*agents) as server:
        yield server


@pytest.mark.parametrize("line", NAMES_AN_AGENT)
async def test_a_name_that_two_servers_have_is_a_question(line: str):
    async with office(desk()) as one, another(desk()) as two:
        done = await pinecall(*line.split(), "--json", stdin=b"steps: [hangup]")
    assert done.code == 2, done.err
    error = last(done)["error"]
    assert error["code"] == "ambiguous_server"
    assert one.url in error["message"]
    assert two.url in error["message"]
    assert "--server" in error["hint"]


async def test_the_one_that_is_named_is_used_with_the_key_of_its_file():
    async with office(desk()), another(desk()) as two:
        done = await pinecall("call", TEST_NUMBER, "--agent", "desk", "--server", two.url, "--json")
    assert done.code == 1, done.err
    assert done.records[-1]["reason"] == "busy"
    assert two.url in done.err


async def test_agents_and_calls_of_all_servers_are_listed():
    greeting = "a greeting that goes on for a while"
    async with office(desk("desk", greeting=greeting)) as one, another(desk("shop")) as two:
        async with calling(one) as (_, call_id):
            listed = await pinecall("logs", "--json")
            agents = await pinecall("agents", "--json")
    assert [call["call_id"] for call in last(listed)["calls"]] == [call_id]
    assert {agent["agent"] for agent in last(agents)["agents"]} == {"desk", "shop"}
    assert two.url != one.url


@pytest.fixture
def dead() -> Path:
    """Leave the file of a server that was killed; return it."""
    folder = run_dir() / "servers"
    folder.mkdir(parents=True, mode=0o700)
    file = folder / "4194303.json"
    about = {"url": "http://127.0.0.1:9", "key": "pk_gone", "pid": 4194303, "started": 1.0}
    file.write_text(json.dumps(about), "utf-8")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("line", "code"),
    [
        *((line, 1) for line in NAMES_AN_AGENT),
        ("listen", 1),
        ("agents", 0),
        ("logs", 0),
    ],
)
async def test_the_file_of_a_server_that_is_gone_is_swept_and_stands_in_nobodys_way(
    dead: Path, line: str, code: int
):
    done = await pinecall(*line.split(), "--json", stdin=b"steps: [hangup]")
    assert done.code == code, done.err
    assert os.listdir(dead.parent) == []
    assert "pk_gone" not in done.out + done.err


async def test_beside_it_the_one_that_runs_is_found(dead: Path):
    async with office(desk()):
        done = await pinecall("call", TEST_NUMBER, "--agent", "desk", "--json")
    assert done.code == 1, done.err
    assert done.records[-1]["reason"] == "busy"
    assert os.listdir(dead.parent) == []
