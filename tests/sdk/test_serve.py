"""`Pinecall().run(agent)` as users start it: ``python file.py``, ended by signals and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import (
    ConflictError,
    NotAuthorisedError,
    PinecallError,
    UsageError,
    Where,
)
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.sdk.serve import in_lines, serve
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import Engines
from tests.sdk.listening import Log
from tests.sdk.test_foreign_server import foreign

PATIENCE_S = 45.0
"""For a process to end on a busy machine; a test that runs into it has failed."""

SCRIPT = """
from pinecall_cli import Agent, Pinecall
agent = Agent("front-desk", llm="script", prompt="x")
@agent.on("agent.created")
async def created(event):
    print("serving", flush=True)
Pinecall().run(agent)
print("ended", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_it_gracefully(number: signal.Signals, tmp_path: Path) -> None:
    with EmbeddedServer(engines=Engines()) as server:
        serve_until(number, server, tmp_path)


def serve_until(number: signal.Signals, server: EmbeddedServer, tmp_path: Path) -> None:
    with started(server, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        process.send_signal(number)
        assert end_of(process) == (0, "ended\n", "")


@contextlib.contextmanager
def started(
    server: EmbeddedServer, tmp_path: Path, **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """Run the script as users do, and leave nothing of it."""
    file = tmp_path / "agent_file.py"
    file.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PINECALL_API_KEY": server.key,
            "PINECALL_URL": server.url,
            **environ,
        },
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def end_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return exit code, and what is left of both outputs."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def test_a_script_with_a_wrong_key_ends_in_words_and_with_the_code_of_that(tmp_path: Path) -> None:
    with EmbeddedServer(engines=Engines()) as server:
        with started(server, tmp_path, PINECALL_API_KEY="pk_wrong_key") as process:
            code, out, err = end_of(process)
    lines = err.splitlines()
    assert (code, out) == (4, "")
    assert lines[0] == f"error: {server.url} refuses the key: Invalid API key"
    assert lines[1].startswith("  fix: check `PINECALL_API_KEY`")
    assert len(lines) == 2


def test_a_script_without_a_key_says_which_variable_it_misses(tmp_path: Path) -> None:
    with EmbeddedServer(engines=Engines()) as server:
        with started(server, tmp_path, PINECALL_API_KEY="") as process:
            code, out, err = end_of(process)
    assert (code, out) == (4, "")
    assert err.splitlines()[0] == f"error: no API key, and no server of yours at {server.url}"
    assert "PINECALL_API_KEY" in err.splitlines()[1]


def test_a_script_whose_agent_is_kicked_ends_and_says_so_once(tmp_path: Path) -> None:
    async def kick(server: EmbeddedServer) -> None:
        async with Rest(server.url, Secret(server.key)) as rest:
            await rest.kick("front-desk")

    with EmbeddedServer(engines=Engines()) as server:
        with started(server, tmp_path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "serving\n"
            asyncio.run(kick(server))
            code, out, err = end_of(process)
    assert (code, out) == (6, "")
    first, fix = err.splitlines()
    assert first.startswith("error: agent `front-desk` was taken from us: ")
    assert fix.startswith("  fix: `pinecall agents`")


def test_a_script_whose_agent_is_held_elsewhere_says_by_whom(tmp_path: Path) -> None:
    with EmbeddedServer(engines=Engines()) as server:
        with started(server, tmp_path) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "serving\n"
            with started(server, tmp_path) as late:
                code, out, err = end_of(late)
            pid = holder.pid
    assert (code, out) == (6, "")
    first, fix = err.splitlines()
    assert first == (
        f"error: agent `front-desk` is held by another live process (pinecall-cli, process {pid})"
    )
    assert fix.startswith("  fix: stop that process")


def test_an_error_in_lines_steers_no_terminal_and_shows_no_key():
    problem = PinecallError(
        "bad \x1b[2J key pk_local_0123456789\nnext",
        where=Where("a\x07.py", 3),
        fix="use \u202eit",
    )
    assert in_lines(problem).splitlines() == [
        "error: bad \\x1b[2J key ***\\nnext",
        "  where: a\\x07.py:3",
        "  fix: use \\u202eit",
    ]


async def test_one_of_two_agents_refused_is_logged_and_the_other_goes_on(
    server: EmbeddedServer, client: Pinecall, caplog: pytest.LogCaptureFixture
) -> None:
    client.agent("front-desk", llm="script", prompt="x")
    await client.registered()
    other = Pinecall(server.key, server.url)
    agents = [Agent(name, llm="script", prompt="x") for name in ("front-desk", "sales")]
    for agent in agents:
        other.add(agent)
    serving = asyncio.ensure_future(serve(other, agents))
    gone = Log()
    agents[1].on("agent.displaced", gone)
    with pytest.raises(ConflictError, match="held by another"):
        await other.registered("front-desk")
    await other.registered("sales")
    await asyncio.sleep(0)
    assert not serving.done()
    assert [one.levelname for one in caplog.records if "held by" in one.message] == ["ERROR"]
    async with Rest(server.url, Secret(server.key)) as rest:
        await rest.kick("sales")
    await gone.until()
    with pytest.raises(ConflictError, match="`sales` was taken from us"):
        await serving
    assert not [one for one in caplog.records if "taken from us" in one.message]


async def test_every_agent_taken_ends_it_also_where_the_server_keeps_the_connection() -> None:
    async with foreign() as (peer, client):
        serving = asyncio.ensure_future(serve(client, []))
        await peer.say("agent.created", agent_id="front-desk")
        await client.registered()
        await peer.say("agent.displaced", agent_id="front-desk", reason="newer one")
        with pytest.raises(ConflictError, match="newer one"):
            await serving


async def test_a_wrong_key_ends_it(server: EmbeddedServer) -> None:
    client = Pinecall("pk_wrong", server.url)
    client.on("error", lambda problem: None)
    with pytest.raises(NotAuthorisedError):
        await serve(client, [Agent("front-desk", llm="script", prompt="x")])


async def test_it_ends_when_every_agent_is_refused(
    server: EmbeddedServer, client: Pinecall
) -> None:
    client.agent("front-desk", llm="script", prompt="x")
    await client.registered()
    other = Pinecall(server.key, server.url)
    other.on("error", lambda problem: None)
    with pytest.raises(ConflictError):
        await serve(other, [Agent("front-desk", llm="script", prompt="x")])
    assert not other.connected


def in_a_thread(client: Pinecall, *agents: Agent) -> BaseException | None:
    """Run a client as a program that is none: outside the main thread there are no signals."""
    raised: list[BaseException] = []

    def program() -> None:
        try:
            client.run(*agents)
        except BaseException as end:
            raised.append(end)

    thread = threading.Thread(target=program)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    return raised[0] if raised else None


def test_a_program_that_cannot_go_on_leaves_with_the_error_as_its_cause(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with EmbeddedServer(engines=Engines()) as server:
        agent = Agent("front-desk", llm="script", prompt="x")
        end = in_a_thread(Pinecall("pk_wrong_key", server.url), agent)
    assert isinstance(end, SystemExit)
    assert end.code == 4
    assert isinstance(end.__cause__, NotAuthorisedError)
    assert capsys.readouterr().err.startswith("error: ")


def test_an_interruption_that_comes_as_an_exception_is_exit_code_130() -> None:
    class Interrupted(Pinecall):
        def add(self, agent: Agent, config: object = None) -> None:
            raise KeyboardInterrupt

    end = in_a_thread(Interrupted("pk_1", "ws://127.0.0.1:9"), Agent("a", prompt="x"))
    assert isinstance(end, SystemExit)
    assert end.code == 130


async def test_two_agents_of_one_name_end_it_before_it_connects() -> None:
    client = Pinecall("pk_1", "ws://127.0.0.1:9", auto_reconnect=False)
    client.on("error", lambda problem: None)
    with pytest.raises(UsageError, match="two agents"):
        await serve(client, [Agent("a", prompt="x"), Agent("a", prompt="y")])
    await client.disconnect()
