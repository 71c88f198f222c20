from __future__ import annotations

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.protocol.log import MARKER_TYPES
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.app import Limits
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.log.log_file import prune
from pinecall_cli.server.tokens import Grant, Scope
from tests.server.peer import PATIENCE_S, Peer, bearer, connected, embedded

Log = list[dict[str, Any]]


def address(server: EmbeddedServer, **query: Any) -> str:
    return str(httpx.URL(f"ws{server.url[4:]}/v1/attach", params=query))


@asynccontextmanager
async def attached(
    server: EmbeddedServer, key: str | None = "pk_one", **query: Any
) -> AsyncIterator[websockets.ClientConnection]:
    headers = {} if key is None else bearer(key)
    async with websockets.connect(address(server, **query), additional_headers=headers) as socket:
        yield socket


async def entry(socket: websockets.ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        found: dict[str, Any] = json.loads(await socket.recv())
    return found


async def until(socket: websockets.ClientConnection, type: str) -> Log:
    """Return what comes up to an entry of that type."""
    seen = [await entry(socket)]
    while seen[-1]["type"] != type:
        seen.append(await entry(socket))
    return seen


async def to_the_end(socket: websockets.ClientConnection) -> tuple[Log, int | None, str | None]:
    seen: Log = []
    try:
        while True:
            seen.append(await entry(socket))
    except websockets.ConnectionClosed:
        return seen, socket.close_code, socket.close_reason


def types(log: Log) -> list[str]:
    return [one["type"] for one in log]


async def refused(url: str, key: str | None = None) -> tuple[int, str]:
    """Return how an attachment is refused: the status, and the server's words."""
    headers = {} if key is None else bearer(key)
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await websockets.connect(url, additional_headers=headers)
    response = refusal.value.response
    return response.status_code, json.loads(response.body)["detail"]


async def chat(peer: Peer, id: str, text: str = "hello", agent: str = "desk") -> None:
    await peer.send("llm.chat", agent_id=agent, session_id=id, text=text)
    await peer.until("llm.chat.done", session_id=id)


async def hang_up(peer: Peer, id: str) -> None:
    await peer.send("call.hangup", call_id=id)
    await peer.until("llm.chat.ended", call_id=id)


@asynccontextmanager
async def desk(**options: Any) -> AsyncIterator[tuple[EmbeddedServer, Peer]]:
    """Run a server with an agent that answers by itself."""
    async with embedded(**options) as server, connected(server) as peer:
        await peer.agent("desk", llm="script")
        yield server, peer


def organisation(server: EmbeddedServer, key: str = "pk_one") -> Organisation:
    found = server.server.organisations.of_key(key)
    assert found is not None
    return found


def token(server: EmbeddedServer, agent: str = "desk", **grant: Any) -> str:
    org = organisation(server, grant.pop("key", "pk_one"))
    return server.server.tokens.mint(Grant("stream", org, agent, **grant))


CHAT = ["call.started", "turn.start", "user.message", "bot.speaking", "bot.finished", "turn.end"]


async def test_a_reader_gets_what_it_missed_then_what_happens_each_once():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with attached(server, agent="desk") as socket:
            missed = await until(socket, "log.caught_up")
            assert types(missed) == [*CHAT, "log.caught_up"]
            assert missed[-1]["seq"] == missed[-1]["data"]["seq"] == missed[-2]["seq"]
            await chat(peer, "c1")
            live = await until(socket, "turn.end")
            assert types(live) == CHAT[1:]
        seqs = [one["seq"] for one in (*missed, *live) if one["type"] not in MARKER_TYPES]
        assert seqs == sorted(set(seqs))
        async with attached(server, agent="desk", after=missed[-1]["seq"]) as socket:
            again = await until(socket, "log.caught_up")
        assert again[:-1] == live


async def test_a_log_of_several_calls_names_each_in_its_data():
    async with desk() as (server, peer):
        await peer.agent("shop", llm="script")
        await chat(peer, "c1")
        await chat(peer, "c2", agent="shop")
        logs = {}
        for name in ({"call": "c1"}, {"agent": "desk"}, {"agent": "*"}):
            async with attached(server, **name) as socket:
                logs[next(iter(name.values()))] = await until(socket, "log.caught_up")
        one = logs["c1"][2]
        assert set(one) == {"seq", "ts", "call", "agent", "type", "ephemeral", "data"}
        assert (one["call"], one["agent"], one["ephemeral"]) == ("c1", "desk", False)
        assert one["data"] == {"id": one["data"]["id"], "text": "hello", "final": True}
        assert logs["desk"][2] == one | {"call": None, "data": {**one["data"], "call": "c1"}}
        everything = [entry["data"].get("call") for entry in logs["*"][:-1]]
        assert everything == ["c1"] * len(CHAT) + ["c2"] * len(CHAT)


async def test_a_calls_log_closes_behind_its_last_entry_live_or_read_later():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with attached(server, call="c1") as socket:
            await until(socket, "log.caught_up")
            await hang_up(peer, "c1")
            live, *closed = await to_the_end(socket)
        assert types(live) == ["call.ended", "call.summary"]
        assert closed == [1000, "call_ended"]
        async with attached(server, call="c1", after=0) as socket:
            stored, *closed = await to_the_end(socket)
        assert types(stored) == [*CHAT, "call.ended", "call.summary", "log.caught_up"]
        assert closed == [1000, "call_ended"]


async def test_many_pages_come_in_order_while_more_is_written():
    async with desk() as (server, peer):
        await chat(peer, "c1")

        async def go_on() -> None:
            for _ in range(150):
                await chat(peer, "c1")
            await hang_up(peer, "c1")

        going = asyncio.get_running_loop().create_task(go_on())
        async with attached(server, call="c1") as early:
            seen, *closed = await to_the_end(early)
        await going
        async with attached(server, call="c1") as late:
            stored, *_ = await to_the_end(late)
        assert closed == [1000, "call_ended"]
        assert len(stored) > 750
        assert [one for one in seen if one["type"] not in MARKER_TYPES] == stored[:-1]


async def test_whoever_reads_too_slowly_is_let_go_and_misses_nothing():
    limits = Limits(attach_frames=50, attach_bytes=1024 * 1024)
    async with desk(limits=limits) as (server, peer):
        await chat(peer, "c1")
        # A socket of a few KiB that nobody reads: full after some entries of this size.
        narrow = sockets.socket()
        narrow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(narrow, ("127.0.0.1", server.port))
        async with websockets.connect(
            address(server, agent="desk"), sock=narrow, additional_headers=bearer(), max_queue=1
        ) as socket:
            await until(socket, "log.caught_up")
            for _ in range(200):
                await chat(peer, "c1", text="hello " * 2_000)
            seen, code, reason = await to_the_end(socket)
        assert (code, reason) in {(1008, "slow_consumer"), (1006, "")}  # or cut off, unheard
        cursor = seen[-1]["seq"] if seen else 0
        async with attached(server, agent="desk", after=cursor) as socket:
            rest = await until(socket, "log.caught_up")
        async with attached(server, agent="desk") as socket:
            stored = await until(socket, "log.caught_up")
        assert seen + rest[:-1] == stored[len(stored) - len(seen) - len(rest) : -1]
        assert len(seen) < 1_000 < len(stored)


async def test_a_hole_that_retention_tore_is_marked():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        await hang_up(peer, "c1")
        await chat(peer, "c2")
        async with attached(server, agent="desk") as socket:
            log = await until(socket, "log.caught_up")
        first_of_c2 = log[len(CHAT) + 2]["seq"]
        journal = server.server.journal
        await asyncio.wrap_future(journal.ask(lambda db: prune(db, since=0.0, calls=1)))
        async with attached(server, agent="desk", after=log[1]["seq"]) as socket:
            gap, *rest = await until(socket, "log.caught_up")
        assert (gap["type"], gap["seq"]) == ("log.gap", log[1]["seq"])
        assert gap["data"] == {"from": log[1]["seq"], "resume_from": first_of_c2}
        assert rest[0]["seq"] == first_of_c2
        async with attached(server, agent="desk") as socket:  # who asks for all gets all there is
            assert "log.gap" not in types(await until(socket, "log.caught_up"))


async def test_when_the_server_stops_readers_hear_how_the_calls_ended():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with attached(server, agent="desk") as socket:
            await until(socket, "log.caught_up")
            stopping = asyncio.get_running_loop().run_in_executor(None, server.stop)
            seen, code, reason = await to_the_end(socket)
            await stopping
        assert types(seen) == ["call.ended", "call.summary"]
        assert (code, reason) == (1001, "server_shutdown")


# --- who may read what ---


async def test_a_token_opens_the_logs_it_is_for_and_no_other():
    async with desk() as (server, peer):
        await peer.agent("shop", llm="script")
        await chat(peer, "c1")
        await chat(peer, "c2", agent="shop")
        everything = token(server, agents=("shop",))
        for query in ({"agent": "desk"}, {"agent": "shop"}, {"call": "c2"}):
            async with attached(server, None, token=everything, **query) as socket:
                await until(socket, "log.caught_up")  # and again: it lets its holder come back
        one_call = token(server, call_id="c1")
        async with attached(server, None, token=one_call, call="c1") as socket:
            await until(socket, "log.caught_up")
        foreign = token(server, key="pk_two")
        for query, status in [
            ({"token": one_call, "call": "c2"}, 403),
            ({"token": one_call, "agent": "desk"}, 403),
            ({"token": everything, "agent": "*"}, 403),
            ({"token": everything, "agent": "other"}, 403),
            ({"token": everything, "call": "nope"}, 404),
            ({"token": foreign, "call": "c1"}, 404),
            ({"token": "str_wrong", "agent": "desk"}, 401),
            ({"token": everything[:-1], "agent": "desk"}, 401),
            ({"token": everything}, 422),
            ({"token": everything, "agent": "desk", "call": "c1"}, 422),
            ({"token": everything, "agent": "desk", "after": "-1"}, 422),
            ({"token": everything, "agent": ""}, 422),
            ({"agent": "desk"}, 401),
        ]:
            assert (await refused(address(server, **query)))[0] == status, query
        assert (await refused(address(server, agent="desk"), "pk_wrong"))[0] == 401


async def test_a_key_sees_nothing_of_another_organisation():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with attached(server, "pk_two", agent="desk") as socket:
            assert types(await until(socket, "log.caught_up")) == ["log.caught_up"]
            await chat(peer, "c1")
            async with connected(server, "pk_two") as other:
                await other.agent("desk", llm="script")
                await chat(other, "c9")
                seen = await until(socket, "user.message")
        assert {one["data"]["call"] for one in seen} == {"c9"}
        assert (await refused(address(server, call="c1"), "pk_two"))[0] == 404


async def test_tokens_for_calls_open_no_log_and_are_used_up():
    async with desk() as (server, _):
        tokens = server.server.tokens
        wrong = tokens.mint(Grant("webrtc", organisation(server), "desk"))
        assert (await refused(address(server, token=wrong, agent="desk")))[0] == 401
        assert tokens.consume(wrong, "webrtc") is None


async def test_a_page_of_another_origin_may_read_with_a_token():
    async with desk() as (server, _):
        origin = {"Origin": "https://dashboard.example"}
        url = address(server, token=token(server), agent="desk")
        async with websockets.connect(url, additional_headers=origin) as socket:
            await until(socket, "log.caught_up")


# --- what a human may do ---


async def acted(socket: websockets.ClientConnection, action: str, **fields: Any) -> None:
    await socket.send(json.dumps({"action": action, **fields}))


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("observe", 0), ("participate", 3), ("supervise", 6)],
)
async def test_a_scope_allows_what_it_says(scope: Scope, allowed: int):
    actions = ["say", "inject_text", "hangup", "whisper", "pause", "resume"]
    async with desk() as (server, peer):
        await chat(peer, "c1")
        key = token(server, scope=scope)
        async with attached(server, None, token=key, call="c1") as socket:
            await until(socket, "log.caught_up")
            for action in actions[allowed:]:
                await acted(socket, action, text="hi")
                answer = await entry(socket)
                assert (answer["type"], answer["code"]) == ("error", "SCOPE")


async def test_a_supervisor_speaks_whispers_pauses_and_hangs_up():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with attached(server, call="c1") as socket:
            await until(socket, "log.caught_up")
            await acted(socket, "say", text="One moment.")
            said, *_, spoken = await until(socket, "bot.speaking")
            assert said["type"] == "supervisor.said"
            assert said["data"] == {"text": "One moment.", "by": "supervisor"}
            assert spoken["data"]["text"] == "One moment."
            await until(socket, "bot.finished")
            await acted(socket, "whisper", text="Be kind.")
            assert (await entry(socket))["type"] == "supervisor.whispered"
            await acted(socket, "pause")
            assert (await entry(socket))["type"] == "handoff.active"
            await acted(socket, "inject_text", text="anybody there?")
            heard = await until(socket, "user.message")
            assert heard[-1]["data"]["text"] == "anybody there?"
            await acted(socket, "say", text="A person.")
            await peer.until("llm.chat.done", session_id="c1", text="A person.")
            await acted(socket, "resume")
            assert (await until(socket, "handoff.released"))[-1]["data"] == {"by": "supervisor"}
            await chat(peer, "c1", text="prompt")
            await acted(socket, "hangup")
            *_, ended, summary = (await to_the_end(socket))[0]
        assert (ended["type"], ended["data"]["reason"]) == ("call.ended", "hangup")
        assert summary["type"] == "call.summary"
        ended = await peer.until("llm.chat.ended")
        assert {"role": "system", "content": "Be kind."} in ended["messages"]


async def test_nonsense_and_actions_without_a_call_are_told_and_change_nothing():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with attached(server, agent="desk") as socket:
            await until(socket, "log.caught_up")
            for sent, code in [
                ("no json", "BAD_ACTION"),
                ("[]", "BAD_ACTION"),
                ('{"action": 7}', "BAD_ACTION"),
                ('{"action": "dance"}', "UNKNOWN_ACTION"),
                ('{"action": "say"}', "BAD_ACTION"),
                (json.dumps({"action": "say", "text": "x" * 5_000}), "BAD_ACTION"),
                ('{"action": "say", "text": "hi"}', "CALL_OVER"),
            ]:
                await socket.send(sent)
                answer = await entry(socket)
                assert (answer["type"], answer["code"]) == ("error", code), sent
        async with attached(server, call="c1") as socket:
            log = await until(socket, "log.caught_up")
        assert types(log[:-1]) == CHAT


# --- the same over HTTP ---


async def get(server: EmbeddedServer, path: str, key: str | None = "pk_one", **query: Any) -> Any:
    headers = {} if key is None else bearer(key)
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{server.url}{path}", params=query, headers=headers)
    return answer.json() if answer.is_success else answer.status_code


async def test_a_calls_entries_come_in_pages():
    async with desk() as (server, peer):
        for _ in range(3):
            await chat(peer, "c1")
        async with attached(server, call="c1") as socket:
            log = (await until(socket, "log.caught_up"))[:-1]
        path = "/v1/calls/c1/events"
        whole = await get(server, path)
        assert whole == {"entries": log, "last_seq": log[-1]["seq"], "has_more": False}
        found, after = [], 0
        while True:
            page = await get(server, path, after=after, limit=5)
            found += page["entries"]
            after = page["last_seq"]
            if not page["has_more"]:
                break
        assert found == log
        nothing = await get(server, path, after=log[-1]["seq"])
        assert nothing == {"entries": [], "last_seq": log[-1]["seq"], "has_more": False}
        assert await get(server, path, limit="x") == 422
        assert await get(server, path, after="9" * 30) == 422
        assert await get(server, path, key="pk_two") == 404
        assert await get(server, path, key="pk_wrong") == 401
        assert await get(server, "/v1/calls/c2/events") == 404


async def test_calls_are_listed_live_ones_and_those_that_were():
    async with desk() as (server, peer):
        await peer.agent("shop", llm="script")
        await chat(peer, "c1")
        await hang_up(peer, "c1")
        await chat(peer, "c2", agent="shop")
        listed = await get(server, "/v1/calls")
        live, over = listed["calls"]
        assert set(live) == {
            *("call_id", "agent", "direction", "from", "to", "channel", "started_at", "ended_at"),
            *("duration_s", "reason", "live", "first_seq", "last_seq"),
        }
        assert (live["call_id"], live["agent"], live["live"]) == ("c2", "shop", True)
        assert (over["call_id"], over["live"], over["reason"]) == ("c1", False, "hangup")
        assert over["duration_s"] >= 0
        assert listed["last_seq"] >= live["last_seq"] > over["last_seq"] > over["first_seq"]
        assert [c["call_id"] for c in (await get(server, "/v1/agents/shop/calls"))["calls"]] == [
            "c2"
        ]
        assert len((await get(server, "/v1/calls", limit=1))["calls"]) == 1
        assert (await get(server, "/v1/calls", key="pk_two"))["calls"] == []
        query = {"key": None, "token": token(server)}
        assert (await get(server, "/v1/agents/desk/calls", **query))["calls"] == [over]
        assert await get(server, "/v1/calls", **query) == 403


async def test_what_a_server_without_a_given_key_did_is_its_next_runs_too(tmp_path: Any):
    made: Callable[[], EmbeddedServer] = lambda: embedded(keys=(), data=tmp_path)  # noqa: E731
    async with made() as first, connected(first, first.key) as peer:
        await peer.agent("desk", llm="script")
        await chat(peer, "c1")
    async with made() as second:
        assert second.key != first.key
        listed = await get(second, "/v1/calls", key=second.key)
        assert [call["call_id"] for call in listed["calls"]] == ["c1"]
        assert listed["calls"][0]["live"] is False
