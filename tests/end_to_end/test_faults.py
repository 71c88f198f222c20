"""Servers die, names are taken, pipes close: what the command says, and how it ends."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pinecall_cli.audio.wav import read_wav
from tests.end_to_end.conftest import Start
from tests.end_to_end.program import COMMAND, Program, agent_file, spoken

KEY = "key-of-the-test"
PATIENT = "steps: [{silence: 30m}]"
RunServer = Callable[..., Program]
HELLO = 'steps: [{say: "Who are you?"}]'
LONG = 'steps: [{say: "Who are you?"}, {silence: 30m}]'


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Return the file of an agent that says back its prompt."""
    return agent_file(
        tmp_path,
        "{name: desk, prompt: !file prompt.md, raw_prompt: true, llm: script,"
        " local: {llm: script, script: desk.script.yaml}}",
        prompt__md="I am here.",
        desk__script__yaml='- say: "{prompt}"\n',
    )


@pytest.fixture
def run_server(start: Start, tmp_path: Path) -> RunServer:
    """Return how to start a server on a port; its call log is in the test's folder."""

    def run(port: int = 0) -> Program:
        data = tmp_path / "data"
        return start("server", "--port", str(port), "--api-key", KEY, "--data", data, "--json")

    return run


def test_a_server_that_was_killed_and_comes_back_is_given_its_agents_again(
    start: Start, run_server: RunServer, desk: Path
) -> None:
    server = run_server()
    url = server.wait("server.ready")["url"]
    there = ("--server", url, "--api-key", KEY, "--json")
    dev = start("dev", desk, *there)
    assert dev.wait("dev.ready")["server"] == url
    call = start("call", "desk", "--caller", "-", *there, stdin=PATIENT)
    call.wait("call.started")

    server.kill()
    assert call.end() == 3
    (error,) = call.of("error")
    assert error["error"]["code"] == "server_unreachable"
    assert dev.wait("dev.reconnecting")["attempt"] >= 0
    desk.with_name("prompt.md").write_text("I am back.", encoding="utf-8")
    receipt = dev.wait("dev.reloaded")
    assert receipt["calls"] == []
    assert "not connected" in receipt["notes"][0]
    dev.wait("dev.reconnecting", where=lambda record: record["attempt"] == 3)
    told = [one["error"]["message"] for one in dev.of("error")]
    assert told
    assert len(told) == len(set(told))  # once, and not at each attempt

    run_server(int(url.rpartition(":")[2])).wait("server.ready")
    dev.wait("dev.reconnected")
    again = start("call", "desk", "--caller", "-", "--stay", "0.2", *there, stdin=HELLO)
    assert again.end() == 0, again.talk
    assert list(spoken(again.records).values()) == ["I am back."]
    assert {e["error"]["code"] for e in dev.of("error")} <= {"server_unreachable"}
    assert dev.stop() == 143


def test_a_server_that_is_terminated_ends_its_calls_first_and_leaves_its_port_free(
    start: Start, run_server: RunServer, desk: Path, tmp_path: Path
) -> None:
    server = run_server()
    url = server.wait("server.ready")["url"]
    there = ("--server", url, "--api-key", KEY, "--json")
    dev = start("dev", desk, *there)
    dev.wait("dev.ready")
    call = start("call", "desk", "--caller", "-", *there, stdin=LONG)
    call.wait("call.started")
    listener = start("listen", "--no-audio", "--record", tmp_path / "kept.wav", *there)
    call.wait("bot.word")  # in the middle of a sentence
    listener.wait("bot.speaking")
    assert server.stop() == 143

    assert call.end() == 1
    assert call.of("call.ended")[0]["reason"] == "server_shutdown"
    assert call.records[-1]["type"] == "call.summary"
    assert call.records[-1]["reason"] == "server_shutdown"
    assert listener.end() == 0, listener.talk
    assert listener.records[-1]["type"] == "call.summary"
    assert read_wav(tmp_path / "kept.wav")[0]
    assert not [line for line in server.talk if "cut off" in line or "Traceback" in line]

    again = run_server(int(url.rpartition(":")[2]))
    again.wait("server.ready")
    dev.wait("dev.reconnected")
    stored = start("logs", call.records[-1]["call_id"], *there)
    assert stored.end() == 0
    assert [record["type"] for record in stored.records[-2:]] == ["call.ended", "call.summary"]
    assert dev.stop() == again.stop() == 143


def test_the_second_to_run_an_agent_is_told_who_holds_it(start: Start, desk: Path) -> None:
    first = start("dev", desk, "--json")
    first.wait("dev.ready")
    second = start("dev", desk, "--json")
    assert second.end() == 6
    (record,) = second.records
    assert record["error"]["code"] == "agent_conflict"
    assert f"process {first.process.pid}" in record["error"]["message"]
    assert "desk" in record["error"]["message"]
    assert "--as" in record["error"]["hint"]
    assert second.hears(f"process {first.process.pid}")
    # Under another name there is room, and the first has noticed nothing.
    other = start("dev", desk, "--as", "Other Desk", "--json")
    assert other.wait("dev.ready")["agents"][0]["agent"] == "other-desk"
    assert other.stop() == first.stop() == 143
    assert first.of("agent.displaced", "error") == []


def test_a_name_that_is_taken_on_a_running_server_is_refused_too(
    start: Start, run_server: RunServer, desk: Path
) -> None:
    url = run_server().wait("server.ready")["url"]
    first = start("dev", desk, "--json", "--server", url)  # its key is in the server's own file
    first.wait("dev.ready")
    second = start("dev", desk, "--json", "--server", url)
    assert second.end() == 6
    assert second.records[-1]["error"]["code"] == "agent_conflict"
    assert "desk" in second.records[-1]["error"]["message"]
    assert first.of("agent.displaced", "error") == []
    assert first.stop() == 143


def test_a_server_that_is_not_there_is_infrastructure_and_a_wrong_key_is_not_authorised(
    start: Start, run_server: RunServer, desk: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = start("dev", desk, "--json", "--server", f"http://127.0.0.1:{port}", "--api-key", KEY)
    url = run_server().wait("server.ready")["url"]
    stranger = start("dev", desk, "--json", "--server", url, "--api-key", "another-key")
    assert nobody.end() == 3
    assert nobody.records[-1]["error"]["code"] == "server_unreachable"
    assert stranger.end() == 4
    assert stranger.records[-1]["error"]["code"] == "invalid_key"


def test_once_ends_with_the_first_call(start: Start, desk: Path) -> None:
    dev = start("dev", desk, "--once", "--json")
    dev.wait("dev.ready")
    call = start("call", "desk", "--caller", "-", "--json", stdin="steps: [{wait: 200ms}, hangup]")
    assert call.end() == 0
    assert dev.end() == 0
    assert dev.records[-1]["type"] == "dev.stopped"
    assert dev.records[-1]["reason"] == "once"
    assert dev.of("call.ended")[0]["call_id"] == call.records[-1]["call_id"]


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_everything_in_order(
    start: Start, desk: Path, number: signal.Signals, code: int, reason: str
) -> None:
    dev = start("dev", desk, "--json")
    dev.ready()
    call = start("call", "desk", "--caller", "-", "--json", stdin=PATIENT)
    dev.wait("call.started")
    dev.signal(number)
    assert dev.end() == code
    assert dev.records[-1]["type"] == "dev.stopped"
    assert dev.records[-1]["reason"] == reason
    # Whoever was on the line was hung up on, and saw a call that ended.
    assert call.end() == 0, call.talk
    assert call.records[-1]["type"] == "call.summary"


def test_a_caller_who_presses_ctrl_c_hangs_up(start: Start, desk: Path) -> None:
    dev = start("dev", desk, "--json")
    dev.ready()
    call = start("call", "desk", "--caller", "-", "--json", stdin=PATIENT)
    call.wait("call.started")
    call.signal(signal.SIGINT)
    assert call.end() == 130
    assert [record["type"] for record in call.records[-2:]] == ["call.ended", "call.summary"]
    assert dev.wait("call.ended")["reason"] == "hangup"


@pytest.mark.parametrize("twin", ["--json", "--plain"])
def test_a_reader_who_has_seen_enough_is_no_error(desk: Path, twin: str) -> None:
    line = f"{shlex.quote(str(COMMAND))} dev {shlex.quote(str(desk))} {twin} --events | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{line}; echo code=${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=desk.parent,
        check=True,
    )
    assert done.stdout.endswith("code=0\n")
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
