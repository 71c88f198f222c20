from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.app import run
from pinecall_cli.commands.server_outbox import told
from pinecall_cli.server.text.messages import Outgoing
from tests.server.peer import Peer

RUN = "import typer; from pinecall_cli.commands.server import server; typer.run(server)"


@contextmanager
def running(*options: str, **popen: Any) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run the command, and yield the process and its `server.ready`."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", RUN, "--json", *options]
    with subprocess.Popen(command, **(pipes | popen)) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def listing(ready: dict[str, Any], key: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or ready['api_key']}"}
    return httpx.get(f"{ready['url']}/api/sdk/agents", headers=headers)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_says_where_it_is_and_ends_in_order(empty_home: Path, sent: signal.Signals, code: int):
    with running("--port", "0") as (process, ready):
        assert set(ready) == {"type", "ts", "url", "api_key", "pid"}
        assert ready["type"] == "server.ready"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", ready["ts"])
        assert ready["pid"] == process.pid
        assert listing(ready).status_code == 200
        runtime_file = empty_home / "run" / "pinecall" / "servers" / f"{process.pid}.json"
        assert json.loads(runtime_file.read_text())["key"] == ready["api_key"]
        process.send_signal(sent)
        rest, talk = process.communicate(timeout=30)
        assert process.returncode == code
        assert rest == ""
        assert ready["url"] in talk
        assert f"log  {empty_home / '.local/share/pinecall'}" in talk
        assert not runtime_file.exists()
        assert (empty_home / ".local/share/pinecall/calls.db").stat().st_mode & 0o777 == 0o600


def test_it_says_when_it_is_open_to_the_network():
    with running("--port", "0", "--data", ":memory:", "--host", "0.0.0.0") as (process, _):
        process.terminate()
        assert "net  open to the network on 0.0.0.0" in process.communicate(timeout=30)[1]


def test_each_key_is_let_in_and_one_may_come_from_stdin(tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text("pk_from_stdin\n")
    with keys.open() as stdin:
        options = ("--port", "0", "--data", ":memory:", "--api-key", "pk_one", "--api-key", "-")
        with running(*options, stdin=stdin) as (process, ready):
            assert ready["api_key"] == "pk_one"
            assert listing(ready).status_code == 200
            assert listing(ready, "pk_from_stdin").status_code == 200
            assert listing(ready, "-").status_code == 401
            process.terminate()
            assert "log  in memory, gone when it ends" in process.communicate(timeout=30)[1]


def test_pages_are_told_the_ice_servers_that_were_given_and_nobody_else_their_password():
    options = ("--port", "0", "--data", ":memory:", "-vv")
    turn = "turn:alice:s3cret@turn.example.com:3478"
    environment = os.environ | {"PINECALL_ICE_SERVERS": f"stun:stun.example.com {turn}"}
    shown = {"urls": ["turn:turn.example.com:3478"], "username": "alice", "credential": "s3cret"}
    for more, env, servers in (
        (("--ice-server", turn), None, [shown]),
        ((), environment, [{"urls": ["stun:stun.example.com"]}, shown]),
    ):
        with running(*options, *more, env=env) as (process, ready):
            answer = httpx.get(f"{ready['url']}/webrtc/ice-servers")
            assert answer.json() == {"iceServers": servers}
            process.send_signal(signal.SIGINT)
            rest, talk = process.communicate(timeout=30)
            assert "s3cret" not in rest + talk


def test_an_ice_server_that_is_none_is_refused_without_its_password(
    capsys: pytest.CaptureFixture[str],
):
    assert run(["server", "--ice-server", "turn:alice:s3cret:turn.example.com"]) == 2
    said = capsys.readouterr().err
    assert "turn:USER:PASS@HOST:PORT" in said
    assert "s3cret" not in said


def test_its_port_can_be_used_again_at_once(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for _ in range(2):
        data = str(tmp_path / "made" / "here")
        with running("--port", port, "--data", data) as (process, ready):
            assert listing(ready).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 143
    assert (tmp_path / "made" / "here" / "calls.db").exists()


def test_killed_and_started_again_it_sweeps_nothing_it_should_not(empty_home: Path):
    with running("--port", "0") as (process, _):
        process.kill()
        process.wait()
    folder = empty_home / "run" / "pinecall" / "servers"
    assert [file.stem for file in folder.glob("*.json")] == [str(process.pid)]
    with running("--port", "0") as (_, ready):
        assert listing(ready).status_code == 200


def test_a_second_signal_ends_it_at_once():
    with running("--port", "0", "--data", ":memory:") as (process, _):
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=30) == 143


async def test_what_would_have_gone_to_whatsapp_is_shown():
    with running("--port", "0", "--data", ":memory:") as (process, ready):
        socket_url = f"ws{ready['url'][4:]}/client"
        async with websockets.connect(socket_url) as socket, httpx.AsyncClient() as http:
            for frame in (
                {"event": "connect", "api_key": ready["api_key"]},
                {"event": "agent.create", "agent_id": "desk", "llm": "script"},
                {"event": "channel.add", "agent_id": "desk", "type": "whatsapp", "ref": "42"}
                | {"accessToken": "EAA"},
            ):
                await socket.send(json.dumps(frame))
                await socket.recv()
            message = {
                "from": "34600",
                "id": "wamid.1",
                "type": "text",
                "text": {"body": "\x1b[2J"},
            }
            value = {"metadata": {"phone_number_id": "42"}, "messages": [message]}
            body = {"entry": [{"changes": [{"value": value}]}]}
            await http.post(f"{ready['url']}/whatsapp/webhook", json=body)
            assert process.stdout is not None
            shown = json.loads(await asyncio.to_thread(process.stdout.readline))
    assert (shown["type"], shown["agent"], shown["to"]) == ("whatsapp.outbox", "desk", "34600")
    assert shown["text"] == "You said: \x1b[2J"


def test_to_people_it_is_shown_inert():
    sent = Outgoing("wamid.1", "org", "desk", "wa-1", "34600", "\x1b[2J[red]hi\nthere", 0.0)
    line = told(sent)
    assert line.startswith("whatsapp  desk → 34600: ")
    assert "\x1b" not in line
    assert "\n" not in line


def test_its_script_answers_for_agents_that_bring_none(tmp_path: Path):
    script = tmp_path / "s.script.yaml"
    script.write_text("- on: hours\n  say: We are open {x} from nine.\n- say: Hm.\n", "utf-8")
    with running("--port", "0", "--data", ":memory:", "--script", str(script)) as (process, ready):
        assert asyncio.run(answers(ready, "What are your hours?", "hello")) == [
            "We are open  from nine.",
            "Hm.",
        ]
        process.send_signal(signal.SIGTERM)
        _, talk = process.communicate(timeout=30)
    assert "s.script.yaml:1:" in talk or "s.script.yaml:2:" in talk
    assert "nothing sets `{x}`" in talk


async def answers(ready: dict[str, Any], *texts: str) -> list[str]:
    """Return what an agent without rules of its own answers in a chat."""
    async with websockets.connect(f"ws{ready['url'][4:]}/client") as socket:
        peer = Peer(socket)
        await peer.send("connect", api_key=ready["api_key"])
        await peer.until("connected")
        await peer.agent("desk", llm="script")
        said = []
        for text in texts:
            await peer.send("llm.chat", agent_id="desk", session_id="c1", text=text)
            said.append((await peer.until("llm.chat.done"))["text"])
        return said


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("- sayy: Hello.\n", "did you mean `say`?"),
        ("- on: '('\n  say: Hello.\n", "not a regular expression"),
        ("say: Hello.\n", "a list of rules"),
        ("", "this script is empty"),
    ],
)
def test_a_script_that_is_none_is_refused_at_its_place(
    tmp_path: Path, rules: str, said: str, capsys: pytest.CaptureFixture[str]
):
    script = tmp_path / "s.script.yaml"
    script.write_text(rules, "utf-8")
    assert run(["server", "--port", "0", "--script", str(script), "--json"]) == 2
    out, talk = capsys.readouterr()
    assert said in talk
    assert json.loads(out)["error"]["where"].startswith(f"{script}:1")
