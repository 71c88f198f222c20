from __future__ import annotations

import asyncio
import gc
import os
import threading
from pathlib import Path

import httpx
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.engines.choose import OnDemand, SpeechEngines
from pinecall_cli.errors import InfrastructureError, UsageError
from pinecall_cli.server import runtime
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.hosts import host_allowed, is_loopback, same_origin
from tests.server.peer import bearer, connected, embedded, unauthenticated

PATHS = ["/api/sdk/agents", "/api/sdk/agents/a/config", "/webrtc/token", "/chat/token", "/nowhere"]


def test_a_server_listens_when_start_returns_and_is_gone_when_stop_does():
    server = embedded()
    server.start()
    assert server.port != 0
    assert httpx.get(f"{server.url}/api/sdk/agents", headers=bearer()).status_code == 200
    server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/api/sdk/agents")
    server.stop()


def test_servers_come_and_go_in_one_process_and_leave_no_threads():
    before = set(threading.enumerate())
    for _ in range(5):
        with embedded() as one, embedded() as two:
            assert one.port != two.port
    assert set(threading.enumerate()) <= before
    gc.collect()  # an unclosed socket or database would warn here


def test_engines_that_a_server_loads_for_itself_go_when_it_stops_and_come_again_with_it():
    server = EmbeddedServer(keys=["pk_one"])
    with server:
        first: SpeechEngines = server.engines
        assert first.ready.result(60).vad() is not None
    assert first.closed
    with server:
        assert server.engines.ready.result(60).vad() is not None
    assert server.engines.closed


def test_engines_that_a_server_was_given_outlive_it():
    engines = OnDemand()
    with embedded(engines=engines):
        pass
    assert not engines.closed


async def test_a_port_is_free_again_at_once():
    async with embedded() as first, connected(first) as peer:
        await peer.agent("a")
        port = first.port
    async with embedded(port=port) as again:
        assert again.port == port


def test_a_taken_port_is_an_error_with_a_fix():
    with embedded() as server, pytest.raises(InfrastructureError, match="in use") as taken:
        embedded(port=server.port).start()
    assert taken.value.exit_code == 3
    assert "--port" in (taken.value.fix or "")


def test_an_address_of_another_machine_is_an_error():
    with pytest.raises((UsageError, InfrastructureError)):
        embedded(host="no such host").start()
    with pytest.raises(InfrastructureError):
        embedded(host="192.0.2.1").start()


def test_a_data_folder_is_made_and_one_that_cannot_be_is_an_error(tmp_path: Path):
    with embedded(data=tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / "calls.db").stat().st_mode & 0o777 == 0o600
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="call log"):
        embedded(data=tmp_path / "file").start()


async def test_stopping_tells_those_who_are_connected():
    server = embedded().start()
    try:
        async with connected(server) as peer, connected(server) as other:
            await peer.agent("a", llm="script")
            await other.send("llm.chat", agent_id="a", session_id="chat-1", text="hi")
            await other.until("llm.chat.done")
            await asyncio.to_thread(server.stop)
            ended = await peer.until("llm.chat.ended")
            assert ended["reason"] == "server_shutdown"
            assert await peer.closed() == (1001, "server_shutdown")
            assert await other.closed() == (1001, "server_shutdown")
    finally:
        server.stop()


async def test_stopping_does_not_wait_for_a_peer_that_reads_nothing():
    server = embedded().start()
    try:
        async with unauthenticated(server, max_queue=1, close_timeout=0.1) as peer:
            await peer.send("connect", api_key="pk_one")
            await peer.receive()
            await peer.agent("a")
            holder = next(server.server.registry.online()).connection
            assert holder is not None
            server.call_soon(lambda: [holder.post("x" * 100_000) for _ in range(100)])
            await asyncio.to_thread(server.stop)
        with pytest.raises(OSError, match=r"refused|failed"):
            await asyncio.open_connection("127.0.0.1", server.port)
    finally:
        server.stop()


def test_call_soon_runs_on_the_servers_own_thread():
    with embedded() as server:
        found: list[str] = []
        done = threading.Event()
        server.call_soon(lambda: (found.append(threading.current_thread().name), done.set()))
        assert done.wait(10)
        assert found == ["pinecall-server"]


def test_without_keys_there_is_one_random_key():
    one, two = embedded(keys=()), embedded(keys=())
    assert one.key != two.key
    assert len(one.key) > 40


def test_a_runtime_file_lives_as_long_as_its_server(tmp_path: Path):
    with embedded(run_dir=tmp_path) as server:
        (running,) = runtime.found(tmp_path)
        assert (running.url, running.key, running.pid) == (server.url, server.key, os.getpid())
    assert runtime.found(tmp_path) == []


@pytest.mark.parametrize("host", ["evil.com", "127.0.0.1.evil.com", "localhost.evil", "", "[::2]"])
async def test_a_foreign_host_is_turned_away_on_every_route(host: str):
    async with embedded() as server, httpx.AsyncClient(base_url=server.url) as http:
        for path in PATHS:
            answer = await http.get(path, headers=bearer() | {"Host": host})
            assert answer.status_code == 403
            assert "host" in answer.json()["detail"]
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(
                f"ws://127.0.0.1:{server.port}/client", additional_headers={"Host": host}
            )
        assert refused.value.response.status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8080", "LOCALHOST:80"])
async def test_the_loopback_has_several_names(host: str):
    async with embedded() as server, httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.get("/api/sdk/agents", headers=bearer() | {"Host": host})
        assert answer.status_code == 200


async def test_a_public_host_is_let_in_by_name():
    async with (
        embedded(public_hosts=["Voice.Example"]) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        answer = await http.get("/api/sdk/agents", headers=bearer() | {"Host": "voice.example"})
        assert answer.status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.com", "null", "http://127.0.0.1:1", "x"])
async def test_a_foreign_page_is_turned_away(origin: str):
    async with embedded() as server, httpx.AsyncClient(base_url=server.url) as http:
        for path in ("/api/sdk/agents", "/api/sdk/agents/a/config", "/nowhere"):
            answer = await http.get(path, headers=bearer() | {"Origin": origin})
            assert answer.status_code == 403
        for path in ("/client", "/mic/ws?token=x"):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(
                    f"ws://127.0.0.1:{server.port}{path}", additional_headers={"Origin": origin}
                )
            assert refused.value.response.status_code == 403


async def test_a_page_of_the_servers_own_is_let_in():
    async with embedded() as server, httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.get("/api/sdk/agents", headers=bearer() | {"Origin": server.url})
        assert answer.status_code == 200


async def test_runs_of_slashes_count_as_one_and_what_is_not_there_is_said_in_json():
    async with embedded() as server, httpx.AsyncClient(base_url=server.url) as http:
        slashes = f"{server.url}//api///sdk/agents"
        assert (await http.get(slashes, headers=bearer())).status_code == 200
        missing = await http.get("/nowhere")
        assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
        wrong = await http.post("/api/sdk/agents", headers=bearer())
        assert wrong.status_code == 405
        assert (await http.get("/client")).status_code == 404


async def test_a_refused_upgrade_is_no_news(caplog: pytest.LogCaptureFixture):
    async with embedded() as server:
        for path in ("/mic/ws?token=secret", "/nowhere"):
            with pytest.raises(websockets.InvalidStatus):
                await websockets.connect(f"ws://127.0.0.1:{server.port}{path}")
    assert caplog.records == []


@given(st.text(max_size=20))
def test_a_name_is_never_let_in_by_resembling_one_of_ours(text: str):
    if "." in text.strip() and not text.startswith("["):
        assert not host_allowed(f"{text}.com", loopback=False)
    for name in (f"localhost{text}x", f"x{text}127.0.0.1"):
        assert not host_allowed(name, loopback=True)


def test_off_the_loopback_an_address_will_do_but_no_name():
    assert host_allowed("192.168.0.7:4747", loopback=False)
    assert not host_allowed("192.168.0.7:4747", loopback=True)
    assert not host_allowed("rebound.example", loopback=False)
    assert host_allowed("rebound.example", loopback=False, names={"rebound.example"})


def test_an_origin_is_ones_own_by_host_and_port():
    assert same_origin("http://localhost:4747", "localhost:4747", "ws")
    assert same_origin("https://voice.example", "voice.example", "https")
    assert not same_origin("http://localhost:3000", "localhost:4747", "ws")
    assert not same_origin("http://localhost", "localhost:4747", "http")
    assert not same_origin("http://evil.com", None, "http")


def test_what_binds_to_the_loopback_is_known():
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "host")] == [
        True,
        True,
        True,
        False,
        False,
    ]
