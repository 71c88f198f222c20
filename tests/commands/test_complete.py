"""What TAB offers: names from this machine's own state, at once or not at all."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pinecall_cli.audio.devices import Device
from pinecall_cli.commands import complete
from pinecall_cli.protocol.log import LOG_TYPES
from pinecall_cli.server.log.log_file import FILE
from pinecall_cli.settings import (
    Surroundings,
    data_dir,
    profile_file,
    run_dir,
    state_dir,
    write_profiles,
)
from tests.server.peer import connected, embedded

HOSTILE = [
    "$(reboot)",
    "`reboot`",
    "a;reboot",
    "a b",
    "a|b",
    "a&b",
    "a>b",
    "*",
    "~root",
    "-rf",
    "a'b",
    'a"b',
    "a\\b",
    "a\nb",
    "\x1b[2J",
    "a\u202eb",
    "",
    "x" * 500,
]


NOW = 4e9
"""When servers of others began, in epoch seconds: after ours."""


def names(offer: complete.Offer) -> list[str]:
    return [name for name, _ in offer]


@contextmanager
def silent() -> Iterator[str]:
    """Be a server that takes connections and answers nothing; yield its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def runtime_file(url: str, pid: int) -> None:
    """Leave the file of a server that somebody else runs."""
    folder = run_dir() / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    said = {"url": url, "key": "k", "pid": pid, "started": NOW + pid}
    (folder / f"{pid}.json").write_text(json.dumps(said))


# --- local servers ----------------------------------------------------------------------------


async def test_agents_and_calls_of_running_servers_are_offered():
    server = embedded(keys=(), data=data_dir(), run_dir=run_dir())
    async with server, connected(server, server.key) as peer:
        await peer.agent("desk", llm="script")
        for id in ("c_old", "c_live"):
            await peer.send("llm.chat", agent_id="desk", session_id=id, text="hello")
            await peer.until("llm.chat.done", session_id=id)
        await peer.send("call.hangup", call_id="c_old")
        await peer.until("llm.chat.ended", call_id="c_old")
        assert await asyncio.to_thread(complete.agents, "") == [
            ("desk", f"connected to {server.url}")
        ]
        assert names(await asyncio.to_thread(complete.live_calls, "")) == ["c_live"]
        offered = dict(await asyncio.to_thread(complete.calls, ""))
        assert offered["c_live"] == "desk, live"
        assert offered["c_old"].startswith("desk, ")
        assert "live" not in offered["c_old"]
    # The servers have gone; what they wrote down is still known.
    assert complete.agents("") == complete.live_calls("") == []
    assert {*names(complete.calls(""))} == {"c_old", "c_live"}
    assert complete.known_agents("") == [("desk", "in the call log")]


async def test_a_server_that_hangs_hides_no_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(complete, "WITHIN_S", 2.0)  # a busy machine is no failure here
    server = embedded(keys=(), run_dir=run_dir())
    with silent() as url:
        async with server, connected(server, server.key) as peer:
            await peer.agent("desk", llm="script")
            runtime_file(url, 1)  # asked first: it seems the newer one
            assert len(list((run_dir() / "servers").iterdir())) == 2
            assert names(await asyncio.to_thread(complete.agents, "")) == ["desk"]


def test_a_server_that_does_not_answer_offers_nothing():
    with silent() as url:
        runtime_file(url, 1)
        assert complete.agents("") == complete.live_calls("") == []
    runtime_file("http://127.0.0.1:9", 2)  # and where nobody listens
    assert complete.agents("") == []


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 200 OK\r\n\r\n[", b"HTTP/1.0 200 OK\r\n\r\n7"])
def test_a_server_that_talks_nonsense_offers_nothing(answer: bytes):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def talk() -> None:
            line, _ = listener.accept()
            with line:
                line.recv(65536)
                line.sendall(answer)

        talking = threading.Thread(target=talk)
        talking.start()
        runtime_file(f"http://127.0.0.1:{listener.getsockname()[1]}", 1)
        assert complete.agents("") == []
        talking.join()


def test_a_host_by_name_is_not_looked_up(monkeypatch: pytest.MonkeyPatch):
    runtime_file("http://voice.example:4747", 1)
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("looked up"))
    assert complete.agents("") == []


def test_addresses_are_offered_without_asking_anybody():
    runtime_file("http://127.0.0.1:9", 77)
    runtime_file("http://[::1]:9", 78)  # brackets are a pattern to shells
    assert complete.servers("") == [("http://127.0.0.1:9", "process 77")]


# --- what is kept -----------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"no database at all, and long enough to be read as one"])
def test_a_log_that_cannot_be_read_offers_nothing(body: bytes):
    data_dir().mkdir(parents=True)
    (data_dir() / FILE).write_bytes(body)
    assert complete.calls("") == complete.known_agents("") == []


def test_a_log_that_somebody_locks_is_not_waited_for():
    data_dir().mkdir(parents=True)
    with closing(sqlite3.connect(data_dir() / FILE)) as other:
        other.execute("CREATE TABLE calls (call, agent, reason, started_at)")
        other.execute("INSERT INTO calls VALUES ('c1', 'desk', NULL, 1)")
        other.commit()
        assert complete.calls("") == [("c1", "desk, not ended")]
        other.execute("BEGIN EXCLUSIVE")
        assert complete.calls("") == []


DEVICES = [
    Device(0, "Microphone $(reboot)", input=True, output=False, default=True),
    Device(1, "Speakers", input=False, output=True, default=True),
    Device(12, "Headset", input=True, output=True, default=False),
]


def test_devices_are_offered_by_their_sides():
    assert complete.devices("") == complete.loudspeakers("") == []
    complete.remember_devices(DEVICES)
    assert names(complete.devices("")) == ["0", "12"]
    assert names(complete.devices("0:")) == ["0:1", "0:12"]
    assert names(complete.devices(":")) == [":1", ":12"]
    assert names(complete.loudspeakers("")) == ["1", "12"]
    assert complete.devices("$(reboot):") == []
    saved = complete.devices_file()
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert stat.S_IMODE(saved.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", ["", "{", "[" * 9000, "7", '{"a": 1}', '[7, {"id": 1}]'])
def test_a_list_of_devices_that_is_none_offers_nothing(text: str):
    state_dir().mkdir(parents=True)
    complete.devices_file().write_text(text)
    assert complete.devices("") == complete.devices("0:") == []


def test_devices_are_not_remembered_where_nothing_can_be_written():
    state_dir().parent.mkdir(parents=True)
    state_dir().write_text("in the way")
    complete.remember_devices(DEVICES)
    assert complete.devices("") == []


def test_profiles_are_offered_with_their_servers_and_without_their_keys():
    file = profile_file(Surroundings.here())
    write_profiles(
        file, {"default": {"api_key": "pk_1"}, "lab": {"api_key": "pk_2", "url": "http://lab"}}
    )
    assert complete.profiles("") == [
        ("default", "https://voice.pinecall.io"),
        ("lab", "http://lab"),
    ]
    assert "pk_" not in str(complete.profiles(""))
    file.write_text("[")
    assert complete.profiles("") == []


def test_the_types_of_entries_are_those_of_the_log():
    assert names(complete.entries("")) == list(LOG_TYPES)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_name_that_a_shell_would_not_take_as_it_stands_is_not_offered(name: str):
    assert complete.plain([(name, "about"), ("good-name.1", "$(about)")]) == [
        ("good-name.1", "$(about)")
    ]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_an_address_that_a_shell_would_not_take_as_it_stands_is_not_offered(name: str):
    assert complete.plain([(f"http://h{name}/", "")], complete.ADDRESS) == []


def test_a_folder_of_servers_that_is_a_file_offers_nothing(empty_home: Path):
    run_dir().mkdir(parents=True)
    (run_dir() / "servers").write_text("in the way")
    assert complete.agents("") == complete.servers("") == []
