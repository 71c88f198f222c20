"""A page writes to an agent: `/chat/ws` (protocol: sessions.md §1)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.errors import EngineError
from pinecall_cli.protocol.chat import UNANSWERED
from pinecall_cli.server.app import Limits
from pinecall_cli.server.text.threads import MOST_BYTES, Thread, Threads, newest, thread_of
from tests.server.chat_page import page
from tests.server.peer import bearer, connected, embedded, token
from tests.server.test_chat import SCRIPT


async def test_a_page_that_writes_faster_than_it_is_answered_is_told():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk")
        async with page(server, await token(server, kind="chat")) as browser:
            for _ in range(40):
                await browser.send("message", text="again")
            assert "too many" in (await browser.until("chat.error"))["error"]


async def test_a_page_learns_that_a_model_failed_and_its_owner_why():
    llm = {"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=llm)
        async with page(server, await token(server, kind="chat")) as browser:
            await browser.send("message", text="hello")
            assert (await browser.until("chat.error"))["error"] == UNANSWERED
            assert "127.0.0.1:9" in (await owner.until("llm.chat.error"))["error"]


async def test_a_page_learns_that_there_is_no_such_model_and_whoever_runs_the_server_why(
    caplog: pytest.LogCaptureFixture,
):
    def choose(llm: Any) -> None:
        raise EngineError("`SHOP_MODEL_KEY` is not set", fix="set it")

    async with embedded(models=choose) as server, connected(server) as owner:
        await owner.agent("desk")
        async with page(server, await token(server, kind="chat")) as browser:
            assert (await browser.until("error"))["error"] == UNANSWERED
            assert await browser.closed() == (1011, "engine")
    assert "SHOP_MODEL_KEY" in caplog.text


async def test_without_its_agent_the_socket_is_closed_and_says_why():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with (
            page(server, await token(server, kind="chat")) as browser,
            httpx.AsyncClient(base_url=server.url) as http,
        ):
            await browser.until("chat.connected")
            await http.delete("/api/sdk/agents/desk", headers=bearer())
            assert await browser.closed() == (1000, "hangup")


async def test_a_server_that_stops_says_so_to_its_pages():
    server = embedded().start()
    try:
        async with connected(server) as owner:
            await owner.agent("desk", llm=SCRIPT)
            async with page(server, await token(server, kind="chat")) as browser:
                await browser.until("chat.connected")
                await asyncio.to_thread(server.stop)
                assert await browser.closed() == (1001, "server_shutdown")
    finally:
        server.stop()


async def test_more_pages_than_there_is_room_for_are_turned_away():
    async with embedded(limits=Limits(browser_chats=1)) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with page(server, await token(server, kind="chat")) as browser:
            await browser.until("chat.connected")
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(
                    f"ws{server.url[4:]}/chat/ws?token={await token(server, kind='chat')}"
                )
            assert refused.value.response.status_code == 503


def test_a_thread_is_of_one_agent_and_its_sealed_name_wins():
    assert thread_of("o", "a", {}, None) is None
    assert thread_of("o", "a", {}, "x" * 201) is None
    assert thread_of("o", "a", {"threadId": 7}, "t") == Thread("o", "a", "t", sealed=False)
    assert thread_of("o", "a", {"threadId": "t"}, "t") == Thread("o", "a", "t", sealed=True)


def test_the_threads_that_rested_longest_go_first_and_long_ones_lose_their_beginning():
    threads = Threads(most=2)
    a, b, c = (Thread("o", "a", id, sealed=False) for id in "abc")
    other = Thread("p", "a", "a", sealed=False)
    for thread in (other, a, b, a, c):
        threads.keep(thread, [{"role": "user", "content": thread.id}])
    assert not threads.history(b)
    assert threads.history(a)[0]["content"] == "a"
    assert threads.history(other)  # another organisation's: ours count for nothing there
    known = threads.history(a)
    threads.keep(a, [*known, {"role": "user", "content": "more"}], known)
    assert [message["content"] for message in threads.history(a)] == ["a", "a", "more"]
    threads.keep(a, [{"role": "user", "content": "anew"}], threads.history(a))
    assert [message["content"] for message in threads.history(a)] == ["anew"]
    resting = [{"role": "user", "content": text} for text in ("m1", "m2", "m3")]
    threads.keep(b, resting, resting[:2])  # it had gone meanwhile, and comes back whole
    assert list(threads.history(b)) == resting
    long = [{"role": role, "content": "x" * 1_000} for role in ("user", "assistant")] * 100
    kept = newest(long)
    assert kept[0]["role"] == "user"
    assert len(json.dumps(kept, separators=(",", ":"))) <= MOST_BYTES
    assert newest([]) == []
