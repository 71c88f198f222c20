"""What a peer can do to a connection, and to those of others: slowness, size, number, floods."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

import httpx
import pytest
import websockets
from websockets.frames import Opcode

from pinecall_cli.server.app import Limits
from pinecall_cli.server.connections import MOST_FRAGMENTS
from pinecall_cli.server.embedded import LARGEST_FRAME, EmbeddedServer
from tests.fakes.engines import Engines
from tests.server.peer import PATIENCE_S, bearer, connected, embedded, unauthenticated
from tests.server.raw_socket import HANDSHAKE, ended, frame, plain

QUICK = Limits(head_s=0.2, body_s=0.2)
HEAD = b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer pk_one\r\n"


async def trickle(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send a little, again and again: never so little that nothing comes."""
    with contextlib.suppress(OSError):
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"", b""),
        (b"GET", b""),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        (b"GET /ws/stream HTTP/1.1\r\nUpgrade: websocket\r\n", b""),
        (HEAD + b"Content-Length: 100\r\n\r\n", b""),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\nGET", b""),
    ],
    ids=["silent", "word", "header by header", "upgrade", "body", "chunks", "second request"],
)
async def test_a_request_that_does_not_come_is_given_up(begun: bytes, piece: bytes):
    async with embedded(limits=QUICK, engines=Engines()) as server, plain(server) as connection:
        reader, writer = connection
        writer.write(begun)
        dripping = asyncio.create_task(trickle(writer, piece)) if piece else None
        await ended(reader)
        if dripping is not None:
            dripping.cancel()


async def test_a_request_in_time_is_answered_however_it_is_cut_up_and_the_next_one_too():
    async with embedded(limits=Limits(head_s=PATIENCE_S)) as server, plain(server) as connection:
        reader, writer = connection
        request = b"GET /webrtc/ice-servers HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(3):
            for byte in request:
                writer.write(bytes([byte]))
                await writer.drain()
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"200 OK" in head
                await reader.readuntil(b"}")


async def test_a_call_outlives_the_time_that_a_request_has():
    async with embedded(limits=QUICK) as server, connected(server) as peer:
        await peer.agent("desk", llm="script")
        async with plain(server) as (reader, _):
            await ended(reader)  # this one had its time
        assert await peer.settled() == []


async def test_too_many_connections_are_turned_away_and_those_there_are_go_on():
    async with embedded(limits=Limits(connections=5)) as server, connected(server) as peer:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(unauthenticated(server))
            async with plain(server) as (reader, _):
                assert await ended(reader) == b""
            assert await peer.settled() == []
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(OSError, httpx.HTTPError):
                    async with httpx.AsyncClient(base_url=server.url) as http:
                        await http.get("/webrtc/ice-servers")
                        break


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        (b"GET /client?x=" + b"x" * 9_000, b"", 414),
        (b"GET /client", b"X: " + b"y" * 9_000 + b"\r\n", 431),
        (b"GET /client", b"X: y\r\n" * 130, 431),
        (b"POST /client", b"Content-Length: 5\r\n", 400),
        (b"GET /client", b"Transfer-Encoding: chunked\r\n", 400),
    ],
    ids=["address", "header", "headers", "body", "chunks"],
)
async def test_an_upgrade_that_is_no_handshake_is_refused_and_keeps_nobodys_place(
    line: bytes, headers: bytes, status: int, caplog: pytest.LogCaptureFixture
):
    patient = Limits(connections=1, head_s=3_600, body_s=3_600)
    async with embedded(limits=patient) as server:
        for _ in range(3):
            async with plain(server) as (reader, writer):
                writer.write(line + b" HTTP/1.1\r\n" + HANDSHAKE + headers + b"\r\n")
                answer = await ended(reader)
                assert answer.startswith(b"HTTP/1.1 %d " % status)
                assert answer.count(b"HTTP/1.1") == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# --- sockets --------------------------------------------------------------------------------------


async def open_sockets(server: EmbeddedServer, peer: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the address of every socket that a stranger or a guest can open, with a token."""
    found: list[tuple[str, dict[str, Any]]] = [("/client", {})]
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        for path, channel in (
            ("/chat/ws", "chat"),
            ("/mic/ws", "webrtc"),
            ("/api/scribe/ws", "chat"),
            ("/v1/attach", "stream"),
            ("/ws/stream", "stream"),
        ):
            token = (await http.get(f"/{channel}/token?agent_id=desk")).json()["token"]
            found.append((f"{path}?token={token}&agent=desk", {}))
    found.append(("/v1/audio/transcriptions/stream?api_key=pk_one", {}))
    return found


@pytest.mark.parametrize("fragments", [1, 8])
@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_a_message_of_more_than_a_mebibyte_ends_any_socket(kind: str, fragments: int):
    async with embedded(engines=Engines()) as server, connected(server) as peer:
        await peer.agent("desk", llm="script")
        for path, options in await open_sockets(server, peer):
            async with websockets.connect(f"ws{server.url[4:]}{path}", **options) as socket:
                size = LARGEST_FRAME // fragments + 1
                piece: Any = "x" * size if kind == "text" else bytes(size)
                with contextlib.suppress(websockets.ConnectionClosed):
                    await socket.send([piece] * fragments)
                async with asyncio.timeout(PATIENCE_S):
                    await socket.wait_closed()
                # Where more of it is on its way yet, the close frame may be lost with it.
                assert socket.close_code in (1006, 1009), path
        await peer.settled()


async def test_a_message_of_a_mebibyte_is_taken():
    async with embedded() as server, unauthenticated(server) as peer:
        frame = {"event": "connect", "api_key": "pk_one", "padding": ""}
        short = len(json.dumps(frame))
        await peer.send(**frame | {"padding": "x" * (LARGEST_FRAME - short)})
        assert (await peer.receive())["event"] == "connected"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(b"\xff", Opcode.TEXT), 1007),
        (frame(b"\xed\xa0\x80", Opcode.TEXT), 1007),
        (frame(b"{", Opcode.TEXT, fin=False) + frame(b"\xff", Opcode.CONT), 1007),
        (
            frame(b"", Opcode.TEXT, fin=False)
            + frame(b"", Opcode.CONT, fin=False) * (MOST_FRAGMENTS + 1),
            1009,
        ),
        (frame(b"x", Opcode.CONT), 1002),
        (frame(b"x", Opcode.TEXT)[:1] + b"\x01x", 1002),
        (b"\xff" * 20, 1002),
    ],
    ids=["utf-8", "surrogate", "fragment", "fragments", "stray", "unmasked", "noise"],
)
async def test_frames_that_are_none_end_the_socket_and_are_no_news(
    frames: bytes, code: int, caplog: pytest.LogCaptureFixture
):
    async with embedded(engines=Engines()) as server, connected(server) as peer:
        await peer.agent("desk", llm="script")
        for path, options in await open_sockets(server, peer):
            async with websockets.connect(f"ws{server.url[4:]}{path}", **options) as socket:
                socket.transport.write(frames)
                async with asyncio.timeout(PATIENCE_S):
                    await socket.wait_closed()
                assert socket.close_code == code, path
        await peer.settled()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_pings_whose_answers_nobody_reads_fill_no_memory():
    async with embedded() as server, connected(server) as peer:
        async with plain(server) as (reader, writer):
            writer.write(b"GET /client HTTP/1.1\r\n" + HANDSHAKE + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            # Nothing is read from here on: the server's answers pile up, first in the kernel.
            pings = frame(b"p" * 125, Opcode.PING) * 1_000
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 200 * len(pings):
                    writer.write(pings)
                    sent += len(pings)
                    async with asyncio.timeout(1.0):
                        await writer.drain()
            assert sent < 200 * len(pings), "the server went on reading"
        assert await peer.settled() == []


# --- floods ---------------------------------------------------------------------------------------


async def flood_frames(server: EmbeddedServer, going: asyncio.Event) -> None:
    """Send frames of every size without end, on one agent socket."""
    async with connected(server) as peer:
        small = json.dumps({"event": "history.get", "call_id": "none"})
        large = json.dumps({"event": "nonsense", "padding": [[]] * 200_000})
        while True:
            for text in (*[small] * 500, large):
                await peer.socket.send(text)
            going.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    while True:
                        await peer.socket.recv()


async def flood_requests(server: EmbeddedServer, going: asyncio.Event) -> None:
    """Ask for everything there is without end, from twenty connections."""

    async def one(http: httpx.AsyncClient) -> None:
        while True:
            for path in ("/api/sdk/agents", "/v1/calls", "/nowhere", "/chat/token?agent_id=desk"):
                await http.get(path, headers=bearer())
            going.set()

    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_S) as http:
        await asyncio.gather(*(one(http) for _ in range(20)))


async def flood_texts(server: EmbeddedServer, going: asyncio.Event) -> None:
    """Have as much spoken as one may, without end."""

    async def one(http: httpx.AsyncClient) -> None:
        while True:
            wish = {"input": "A word, and another. " * 200, "voice": "hibari/heart"}
            await http.post("/v1/audio/speech", json=wish, headers=bearer())
            going.set()

    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        await asyncio.gather(*(one(http) for _ in range(20)))


@pytest.mark.parametrize("flood", [flood_frames, flood_requests, flood_texts])
async def test_a_client_that_floods_the_server_stops_nobody_elses_conversation(flood: Any):
    async with embedded(engines=Engines()) as server, connected(server, "pk_two") as peer:
        await peer.agent("desk", llm={"provider": "script", "rules": [{"say": "{text}"}]})
        going = asyncio.Event()
        flooding = asyncio.create_task(flood(server, going))
        async with asyncio.timeout(60):
            await going.wait()
        for number in range(10):
            await peer.send("llm.chat", agent_id="desk", session_id="chat-1", text=f"{number}")
            answer = await peer.until("llm.chat.done")
            assert answer["text"] == f"{number}"
        assert not flooding.done()
        flooding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await flooding


async def test_calls_beyond_what_a_server_can_hold_are_refused_with_a_reason():
    async with embedded(engines=Engines(), limits=Limits(voice_calls=1)) as server:
        async with connected(server) as peer, httpx.AsyncClient(base_url=server.url) as http:
            await peer.agent("desk", llm="script")

            async def call() -> websockets.ClientConnection:
                answer = await http.get("/webrtc/token?agent_id=desk", headers=bearer())
                url = f"ws{server.url[4:]}/mic/ws?token={answer.json()['token']}"
                socket = await websockets.connect(url)
                start = {"event": "start", "sample_rate": 16_000, "channels": 1}
                await socket.send(json.dumps(start | {"encoding": "pcm_s16le"}))
                return socket

            first = await call()
            await peer.until("call.started")
            second = await call()
            refusal = json.loads(await second.recv())
            assert (refusal["event"], refusal["code"]) == ("error", "SERVER_AT_CAPACITY")
            await second.wait_closed()
            assert second.close_code == 1013
            await first.close()
            await peer.until("call.ended")
