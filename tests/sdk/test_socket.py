"""One WebSocket: what opening can come to, what travels, and how it ends."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from pinecall_cli.errors import NotAuthorisedError, ServerUnreachableError
from pinecall_cli.sdk.socket import Socket, SocketClosedError
from tests.sdk.listening import raw_server


def url_of(server: Server, path: str = "/") -> str:
    port = next(iter(server.sockets)).getsockname()[1]
    return f"ws://127.0.0.1:{port}{path}"


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        if message == "bye":
            await socket.close(4001, "Displaced by API")
        elif message == "drop":
            socket.transport.abort()
        else:
            await socket.send(message)


async def test_text_and_bytes_travel_as_what_they_are() -> None:
    async with serve(echo, "127.0.0.1", 0) as server, await Socket.open(url_of(server)) as socket:
        await socket.send("text ü")
        await socket.send(b"\x00\xff")
        assert await socket.receive() == "text ü"
        assert await socket.receive() == b"\x00\xff"


async def test_the_peers_reason_comes_with_the_end() -> None:
    async with serve(echo, "127.0.0.1", 0) as server, await Socket.open(url_of(server)) as socket:
        await socket.send("last")
        await socket.send("bye")
        assert await socket.receive() == "last"
        with pytest.raises(SocketClosedError) as caught:
            await socket.receive()
        assert (caught.value.code, caught.value.reason) == (4001, "Displaced by API")
        with pytest.raises(SocketClosedError):
            await socket.send("x")
        await socket.close()


async def test_an_end_without_a_word_is_a_lost_connection() -> None:
    async with serve(echo, "127.0.0.1", 0) as server, await Socket.open(url_of(server)) as socket:
        await socket.send("drop")
        with pytest.raises(SocketClosedError) as caught:
            await socket.receive()
        assert (caught.value.code, caught.value.reason) == (1006, "connection_lost")


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (HTTPStatus.UNAUTHORIZED, NotAuthorisedError),
        (HTTPStatus.FORBIDDEN, NotAuthorisedError),
        (HTTPStatus.NOT_FOUND, ServerUnreachableError),
    ],
)
async def test_a_refused_upgrade_tells_why_and_hides_tokens(
    status: HTTPStatus, problem: type[Exception]
) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(status, "no\n")

    async with serve(echo, "127.0.0.1", 0, process_request=refuse) as server:
        with pytest.raises(problem) as caught:
            await Socket.open(url_of(server, "/mic/ws?token=secret"))
        assert "secret" not in str(caught.value)


async def test_who_is_no_server_or_nobody_is_unreachable(unused_tcp_port: int) -> None:
    with pytest.raises(ServerUnreachableError, match="connection refused"):
        await Socket.open(f"ws://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(ServerUnreachableError):
        await Socket.open("ftp://127.0.0.1")


@pytest.fixture
async def unused_tcp_port() -> int:
    async with serve(echo, "127.0.0.1", 0) as server:
        port: int = next(iter(server.sockets)).getsockname()[1]
    return port


async def strange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as something else would: not at all, or not in HTTP."""
    request = await reader.readuntil(b"\r\n\r\n")
    if b"/silent" in request:
        await reader.read()
    elif b"/garbage" in request:
        writer.write(b"220 mail.test ESMTP\r\n\r\n")
        await reader.read()


@pytest.mark.parametrize("path", ["/silent", "/garbage", "/closes"])
async def test_what_is_no_websocket_server_is_unreachable(path: str) -> None:
    async with raw_server(strange) as port:
        with pytest.raises(ServerUnreachableError):
            await Socket.open(f"ws://127.0.0.1:{port}{path}", timeout=0.3)


async def test_a_proxy_is_not_asked_on_the_way_to_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serve(echo, "127.0.0.1", 0) as server, await Socket.open(url_of(server)) as socket:
        await socket.send("x")
        assert await socket.receive() == "x"
