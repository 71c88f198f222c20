from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from pinecall_cli.errors import NotAuthorisedError, NotFoundError, ServerUnreachableError
from pinecall_cli.protocol.log import MARKER_TYPES, LogEntry
from pinecall_cli.sdk.log import LogStream, calls, entries, logged_call
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.agents.organisation import org_id
from pinecall_cli.server.log.journal import Journal
from pinecall_cli.server.log.log_file import FILE
from pinecall_cli.server.log.translate import Entry
from pinecall_cli.settings import Secret
from tests.server.peer import PATIENCE_S, Peer, connected, embedded

KEY = Secret("pk_one")


def at_once() -> float:
    """No jitter; the delays of a test are long enough."""
    return 0.0


class Reader:
    """Reads a stream in the background and says when something has come."""

    def __init__(self, stream: LogStream) -> None:
        self.seen: list[LogEntry] = []
        self._came = asyncio.Condition()
        self._stream = stream
        self.task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        async with aclosing(self._stream.entries()) as found:
            async for entry in found:
                async with self._came:
                    self.seen.append(entry)
                    self._came.notify_all()

    async def until(self, type: str, count: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_S), self._came:
            await self._came.wait_for(lambda: [e.type for e in self.seen].count(type) >= count)

    @property
    def stored(self) -> list[tuple[int, str, str | None]]:
        kept = (e for e in self.seen if not e.ephemeral and e.type not in MARKER_TYPES)
        return [(e.seq, e.type, e.call) for e in kept]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


async def chat(peer: Peer, id: str) -> None:
    await peer.send("llm.chat", agent_id="desk", session_id=id, text="hello")
    await peer.until("llm.chat.done", session_id=id)


async def test_it_goes_on_where_it_was_when_its_server_was_started_again(tmp_path: Path):
    first = embedded(data=tmp_path)
    async with first, connected(first) as peer:
        await peer.agent("desk", llm="script")
        lost: list[str] = []
        back = asyncio.Event()
        stream = LogStream(
            first.url, lambda: KEY, jitter=at_once, on_lost=lost.append, on_back=back.set
        )
        reader = Reader(stream)
        await chat(peer, "c1")
        await reader.until("turn.end")
    second = embedded(data=tmp_path, port=first.port)
    async with second, connected(second) as peer:
        await peer.agent("desk", llm="script")
        await chat(peer, "c2")
        await reader.until("turn.end", 2)
        async with asyncio.timeout(PATIENCE_S):
            await back.wait()
        assert len(lost) == 1
        async with Rest(second.url, KEY) as rest:
            stored = [
                (entry.seq, entry.type, entry.call)
                for id in ("c1", "c2")
                async for entry in entries(rest, id)
            ]
        assert reader.stored == stored
        assert stream.cursor == stored[-1][0]
        await reader.stop()


async def test_a_calls_log_ends_with_it():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm="script")
        await chat(peer, "c1")
        reader = Reader(LogStream(server.url, lambda: KEY, call="c1", agent="desk"))
        await reader.until("log.caught_up")
        await peer.send("call.hangup", call_id="c1")
        async with asyncio.timeout(PATIENCE_S):
            await reader.task
        assert reader.stored[-1][1] == "call.summary"
        assert {call for *_, call in reader.stored} == {"c1"}


async def test_nobody_there_a_wrong_key_and_an_unknown_call_are_errors_at_first():
    async with embedded() as server:
        wrong = LogStream(server.url, lambda: Secret("pk_wrong"), agent="desk")
        with pytest.raises(NotAuthorisedError):
            await anext(wrong.entries())
        unknown = LogStream(server.url, lambda: KEY, call="c9", agent="desk")
        with pytest.raises(NotFoundError, match="c9"):
            await anext(unknown.entries())
    gone = LogStream(server.url, lambda: KEY)
    with pytest.raises(ServerUnreachableError):
        await anext(gone.entries())


async def test_a_server_that_stays_away_is_lost_for_good():
    async with embedded() as server:
        stream = LogStream(server.url, lambda: KEY, patience_s=0.5, jitter=at_once)
        reader = Reader(stream)
        await reader.until("log.caught_up")
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ServerUnreachableError):
            await reader.task


async def test_it_finds_a_server_that_came_back_with_another_key(tmp_path: Path):
    first = embedded(data=tmp_path, keys=())
    keys = [Secret(first.key)]
    async with first:
        reader = Reader(LogStream(first.url, lambda: keys[-1], jitter=at_once))
        await reader.until("log.caught_up")
    second = embedded(data=tmp_path, keys=(), port=first.port)
    async with second, connected(second, second.key) as peer:
        await peer.agent("desk", llm="script")
        await chat(peer, "c1")
        keys.append(Secret(second.key))
        await reader.until("turn.end")
        await reader.stop()


# --- a server as the hosted one may be: tokens alone, agent by agent ---


class Hosted:
    """Lets in tokens that were minted here, once each; answers with the entries it was given."""

    def __init__(self) -> None:
        self.minted: list[str] = []
        self.asked: list[str] = []
        self.refusing = False
        self._good: set[str] = set()

    def process(self, socket: ServerConnection, request: Request) -> Response | None:
        path, _, query = request.path.partition("?")
        self.asked.append(path)
        if path == "/stream/token":
            if request.headers.get("Authorization") != "Bearer pk_one":
                return answer(401, {"detail": "invalid key"})
            self.minted.append(f"str_{len(self.minted)}")
            self._good.add(self.minted[-1])
            return answer(200, {"token": self.minted[-1], "expires_in": 60})
        if path == "/v1/calls":
            return answer(404, {"detail": "Not Found"})
        if path == "/api/sdk/agents":
            return answer(200, {"agents": [{"slug": "desk"}, {"slug": "shop"}]})
        if path.endswith("/calls"):
            return answer(200, {"calls": [{"call_id": path.split("/")[3], "agent": "x"}, 7]})
        token = dict(part.split("=", 1) for part in query.split("&")).get("token")
        if self.refusing or token not in self._good:
            return answer(401, {"detail": "no good token"})
        self._good.discard(token or "")
        return None

    async def attach(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        query = dict(part.split("=", 1) for part in socket.request.path.split("?")[1].split("&"))
        seq = int(query["after"]) + 1
        for body in (
            {"seq": seq, "ts": 1.0, "type": "user.message", "data": {"call": "c1", "text": "hi"}},
            {"seq": seq, "ts": 1.0, "type": "user.message", "data": {"call": "c1", "text": "hi"}},
            {"seq": "nonsense"},
            {"seq": seq, "ts": 1.0, "type": "bot.word", "ephemeral": True, "data": {"call": "c1"}},
            {"seq": seq, "ts": 1.0, "type": "log.caught_up", "data": {"seq": seq}},
        ):
            await socket.send(json.dumps(body))
        await socket.close(1008, "slow_consumer")


def answer(status: int, body: Any) -> Response:
    return Response(
        status, "", Headers({"Content-Type": "application/json"}), json.dumps(body).encode()
    )


@asynccontextmanager
async def hosted() -> AsyncIterator[tuple[Hosted, str]]:
    server = Hosted()
    async with serve(server.attach, "127.0.0.1", 0, process_request=server.process) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        yield server, f"http://127.0.0.1:{port}"


async def test_where_the_key_opens_no_log_a_token_is_minted_and_another_when_it_is_used_up():
    async with hosted() as (server, url):
        reader = Reader(LogStream(url, lambda: KEY, agent="desk", jitter=at_once))
        await reader.until("user.message", 2)
        assert [entry.seq for entry in reader.seen if entry.type == "user.message"] == [1, 2]
        assert {entry.call for entry in reader.seen if entry.type == "user.message"} == {"c1"}
        assert len(server.minted) == 2
        server.refusing = True
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(NotAuthorisedError):
                await reader.task


async def test_the_log_of_all_agents_is_for_the_key_alone():
    async with hosted() as (server, url):
        with pytest.raises(NotAuthorisedError):
            await anext(LogStream(url, lambda: KEY).entries())
        assert server.minted == []


async def test_two_entries_of_one_microsecond_both_come_and_once_each(tmp_path: Path):
    org, now = org_id("pk_one"), time.time()
    same = [Entry(7, now, call, "desk", org, "call.started", {}) for call in ("c1", "c2")]
    later = Entry(8, now, "c1", "desk", org, "user.message", {})
    first = embedded(data=tmp_path)
    async with first:
        first.server.journal.append(same[0])
        reader = Reader(LogStream(first.url, lambda: KEY, jitter=at_once))
        await reader.until("call.started")
    journal = Journal(tmp_path / FILE)  # another server's, written before the next one comes
    for entry in (same[1], later):
        journal.append(entry)
    journal.close()
    async with embedded(data=tmp_path, port=first.port):
        await reader.until("user.message")
        await reader.stop()
    assert reader.stored == [
        (7, "call.started", "c1"),
        (7, "call.started", "c2"),
        (8, "user.message", "c1"),
    ]


async def test_calls_are_listed_agent_by_agent_where_there_is_no_list_of_all():
    async with hosted() as (_, url), Rest(url, KEY) as rest:
        found = await calls(rest, limit=10)
        assert [call.call_id for call in found.calls] == ["desk", "shop"]
        assert found.last_seq is None


def test_a_row_of_nonsense_is_a_call_of_which_nothing_is_known():
    call = logged_call({"call_id": 7, "started_at": "x", "live": "yes", "first_seq": 1.5})
    assert call == logged_call({})
