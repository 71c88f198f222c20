"""The call log on its socket: sessions.md §6."""

from __future__ import annotations

import asyncio
import socket as sockets

import websockets

from pinecall_cli.protocol.log import MARKER_TYPES
from pinecall_cli.server.app import Limits
from pinecall_cli.server.log.log_file import prune
from pinecall_cli.server.tokens import Grant
from tests.conformance.paragraphs import holds
from tests.server.log_reader import (
    CHAT,
    address,
    attached,
    chat,
    desk,
    hang_up,
    organisation,
    refused,
    to_the_end,
    token,
    types,
    until,
)
from tests.server.peer import bearer, connected, embedded


@holds("sessions", "6")
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


@holds("sessions", "6")
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


@holds("sessions", "6")
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


@holds("sessions", "6")
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


@holds("sessions", "6")
async def test_whoever_reads_too_slowly_is_let_go_and_misses_nothing():
    limits = Limits(attach_frames=50, attach_bytes=1024 * 1024)
    async with embedded(limits=limits) as server, connected(server) as peer:
        # A short answer: each of its words is sent to the writer with all that came before it.
        await peer.agent("desk", llm={"provider": "script", "rules": [{"say": "Noted."}]})
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
                await chat(peer, "c1", text="hello " * 10_000)
                peer.seen.clear()
            seen, code, reason = await to_the_end(socket)
        assert (code, reason) in {(1008, "slow_consumer"), (1006, "")}  # or cut off, unheard
        cursor = seen[-1]["seq"] if seen else 0
        async with attached(server, agent="desk", after=cursor) as socket:
            rest = await until(socket, "log.caught_up")
        async with attached(server, agent="desk") as socket:
            stored = await until(socket, "log.caught_up")
        assert seen + rest[:-1] == stored[len(stored) - len(seen) - len(rest) : -1]
        assert len(seen) < 1_000 < len(stored)


@holds("sessions", "6")
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


@holds("sessions", "6")
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


@holds("sessions", "6")
@holds("rest", "2.1", "2.3")
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


@holds("sessions", "6")
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


@holds("sessions", "6")
async def test_tokens_for_calls_open_no_log_and_are_used_up():
    async with desk() as (server, _):
        tokens = server.server.tokens
        wrong = tokens.mint(Grant("webrtc", organisation(server), "desk"))
        assert (await refused(address(server, token=wrong, agent="desk")))[0] == 401
        assert tokens.consume(wrong, "webrtc") is None
