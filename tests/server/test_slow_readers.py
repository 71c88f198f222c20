"""Peers that do not read what they are sent: the server keeps it, and their place, not for long."""

from __future__ import annotations

import asyncio
import json
import logging
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import uvicorn
import websockets
from uvicorn.server import ServerState
from websockets.frames import Opcode

from pinecall_cli.server.app import Limits
from pinecall_cli.server.connections import Http, Patience
from pinecall_cli.server.embedded import EmbeddedServer, bind, in_thread
from pinecall_cli.server.phone import mic_line
from tests.fakes.engines import Engines
from tests.sdk.jumping import JumpingLoop
from tests.server.peer import PATIENCE_S, Peer, connected, embedded, token, unauthenticated
from tests.server.raw_socket import HANDSHAKE, frame, plain

STALLED = Limits(stalled_s=0.3, auth_s=3_600, head_s=3_600)
ENDLESS = Limits(stalled_s=3_600)
REQUEST = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
PINGS = frame(b"p" * 125, Opcode.PING) * 1_000


async def cut_off(writer: asyncio.StreamWriter, more: bytes) -> None:
    """Send more without end and read nothing, until the server breaks the connection off."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                writer.write(more)
                await writer.drain()
    except ConnectionError:
        pass


async def test_whoever_reads_no_answers_to_their_requests_is_cut_off():
    async with embedded(limits=STALLED) as server, plain(server) as (_, writer):
        await cut_off(writer, REQUEST * 20)


async def test_whoever_reads_nothing_of_a_socket_is_cut_off():
    async with embedded(limits=STALLED) as server, plain(server) as (reader, writer):
        writer.write(b"GET /client HTTP/1.1\r\n" + HANDSHAKE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await cut_off(writer, PINGS)


async def narrow(port: int) -> sockets.socket:
    """Connect a socket of a few KiB."""
    connection = sockets.socket()
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return connection


async def ask_for_much(server: EmbeddedServer, writer: asyncio.StreamWriter) -> None:
    """Ask for one answer of far more than the kernel takes for two ends that do not read."""
    async with connected(server) as peer:
        await peer.agent("desk", llm={"provider": "script", "rules": [{"say": "Noted."}]})
        for _ in range(10):
            text = "hello " * 150_000
            await peer.send("llm.chat", agent_id="desk", session_id="chat-1", text=text)
            await peer.until("llm.chat.done")
    writer.write(b"GET /v1/calls/chat-1/events HTTP/1.1\r\nHost: localhost\r\n")
    writer.write(b"Authorization: Bearer pk_one\r\n\r\n")


async def test_whoever_opens_a_socket_behind_an_answer_that_they_do_not_read_is_cut_off():
    async with embedded(limits=STALLED) as server, plain(server) as (reader, writer):
        await ask_for_much(server, writer)
        writer.write(b"GET /client HTTP/1.1\r\n" + HANDSHAKE + b"\r\n")
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        await cut_off(writer, PINGS)


async def test_a_server_that_stops_waits_for_no_reader_and_reports_none(
    caplog: pytest.LogCaptureFixture,
):
    async with embedded(limits=ENDLESS) as server, plain(server) as (reader, writer):
        await ask_for_much(server, writer)
        writer.write(REQUEST)  # whose answer has to wait for the other to be taken
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        await in_thread(server.stop)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_the_last_of_an_answer_is_kept_no_longer_though_it_is_little():
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"60000"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(60_000)})

    listener = bind("127.0.0.1", 0)
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
    config = uvicorn.Config(answer, lifespan="off", log_config=None)
    http = partial(Http, config, ServerState(), {}, limits=STALLED)
    async with await asyncio.get_running_loop().create_server(http, sock=listener):
        sock = await narrow(listener.getsockname()[1])
        _, writer = await asyncio.open_connection(sock=sock, limit=1)
        writer.write(REQUEST)
        await cut_off(writer, bytes(1_000))


# --- calls ----------------------------------------------------------------------------------------


@asynccontextmanager
async def deaf_caller(server: EmbeddedServer) -> AsyncIterator[Peer]:
    """Call an agent, and type much while reading nothing: each text is told to the caller too.

    Yields the agent's end.
    """
    async with unauthenticated(server, max_size=None) as peer:
        await peer.send("connect", api_key="pk_one")
        await peer.until("connected")
        await peer.agent("desk", llm={"provider": "script", "rules": [{"say": "Noted."}]})
        url = f"ws{server.url[4:]}/mic/ws?token={await token(server)}"
        sock = await narrow(server.port)
        async with websockets.connect(url, sock=sock, max_queue=1, ping_interval=None) as socket:
            start = {"event": "start", "sample_rate": 16_000, "channels": 1}
            await socket.send(json.dumps(start | {"encoding": "pcm_s16le"}))
            await peer.until("call.started")
            typing = asyncio.create_task(type_on(socket))
            try:
                yield peer
            finally:
                socket.transport.abort()
                await typing


async def type_on(socket: websockets.ClientConnection) -> None:
    """Type long texts until the server breaks the connection off."""
    text = json.dumps({"action": "inject_text", "text": "hello " * 40_000})
    with suppress(websockets.ConnectionClosed):
        while True:
            await socket.send(text)


async def test_a_caller_who_reads_nothing_is_taken_for_gone():
    async with embedded(engines=Engines(), limits=STALLED) as server:
        async with deaf_caller(server) as peer:
            assert (await peer.until("call.ended"))["reason"] == "disconnected"


async def test_only_so_much_waits_for_a_caller_who_reads_too_slowly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(mic_line, "OUTBOX", 50)
    async with embedded(engines=Engines(), limits=ENDLESS) as server:
        async with deaf_caller(server) as peer:
            assert (await peer.until("call.ended"))["reason"] == "disconnected"
    assert "a caller reads too slowly, and was cut off" in [r.message for r in caplog.records]


# --- patience -------------------------------------------------------------------------------------


class Pipe(asyncio.Transport):
    """A connection of which only what waits to be sent is known."""

    waiting, aborted = 0, False

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True


def test_a_reader_that_takes_a_little_now_and_then_is_waited_for_and_one_that_stops_is_not():
    async def run() -> None:
        pipe = Pipe()
        pipe.waiting = 1_000
        patience = Patience(pipe, 30.0)
        patience.begin()
        for _ in range(10):
            await asyncio.sleep(29)
            pipe.waiting -= 1
            assert not pipe.aborted
        await asyncio.sleep(61)
        assert pipe.aborted

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(run())


def test_a_reader_that_took_everything_has_all_the_time_there_is():
    async def run() -> None:
        pipe = Pipe()
        patience = Patience(pipe, 30.0)
        patience.begin()
        patience.end()
        await asyncio.sleep(3_600)
        assert not pipe.aborted

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(run())
