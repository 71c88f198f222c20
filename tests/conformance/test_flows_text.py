"""flows.md §6, §11, §15: text sessions of a page, of WhatsApp and of the agent socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.desk import BROKEN, LOOKUP, desk, names, of, of_call
from tests.conformance.paragraphs import holds
from tests.conformance.test_events_chat import ANA, notify, with_whatsapp, wrote
from tests.server.peer import Peer, bearer, connected


@asynccontextmanager
async def page(server: EmbeddedServer, thread: str = "t9", **sealed: str) -> AsyncIterator[Peer]:
    """Be a page that writes, with a token of its backend's."""
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        params = {"agent_id": "desk", **sealed}
        minted = (await http.get("/chat/token", params=params)).json()
    assert minted["token"].startswith("cht_")
    assert minted["expires_in"] == 60
    url = f"ws{minted['server'][4:]}/chat/ws?token={minted['token']}&thread={thread}"
    async with websockets.connect(url) as socket:
        yield Peer(socket)


async def answer(owner: Peer, result: Any) -> dict[str, Any]:
    """Answer the next round of tools."""
    call = await owner.until("llm.tool_call")
    (wish,) = call["tool_calls"]
    await owner.send(
        "llm.tool_result",
        call_id=call["call_id"],
        msg_id=call["msg_id"],
        results=[{"tool_call_id": wish["id"], "result": result}],
    )
    return call


@holds("flows", "6")
async def test_a_chat_of_a_page_from_token_to_end():
    config = {"greeting": "Hi!", "greetingInChat": True, "tools": [LOOKUP], "preparing": True}
    async with desk(**config, language="en") as (server, owner):
        async with page(server, metadata='{"userId":"u9"}') as browser:
            hello = await browser.receive()
            greeting = await browser.receive()
            await browser.send("message", text="Where is my order?")
            before = await owner.until("llm.before")
            await owner.send(
                "llm.ready", call_id=before["call_id"], agent_id="desk", turn=before["turn"]
            )
            await answer(owner, {"status": "in Peru"})
            done = await browser.until("chat.done")
            await browser.send("message", text="thanks")
            await browser.until("chat.done", text="You said thanks.")
        ended = await owner.until("llm.chat.ended")
        frames = of_call(owner.seen, hello["session_id"])
    assert hello["event"] == "chat.connected"
    assert hello["session_id"].startswith("chat-")
    assert (greeting["event"], greeting["text"]) == ("chat.done", "Hi!")
    between = names(browser.seen[2 : browser.seen.index(done)])
    assert between[:2] == ["chat.tool_call", "chat.tool_result"]
    assert set(between[2:]) == {"chat.token"}
    assert done["text"] == "It is in Peru."
    started = frames[0]
    assert (started["event"], started["language"]) == ("llm.chat.started", "en")
    assert started["metadata"]["userId"] == "u9"
    assert names(frames, "llm.tool_result") == [
        *("llm.chat.started", "chat.response", "chat.message", "llm.before", "llm.tool_call"),
        *("chat.response", "chat.message", "chat.response", "llm.chat.ended"),
    ]
    assert ended["duration_seconds"] >= 0
    assert [m["content"] for m in ended["messages"] if m["role"] == "user"] == [
        *("Where is my order?", "thanks"),
    ]


@holds("flows", "6")
@holds("open-questions", "C")
async def test_a_thread_is_restored_and_not_greeted_again():
    async with desk(greeting="Hi!", greetingInChat=True) as (server, owner):
        async with page(server) as browser:
            await browser.until("chat.done", text="Hi!")
            await browser.send("message", text="hello")
            await browser.until("chat.done", text="You said hello.")
        await owner.until("llm.chat.ended")
        async with page(server) as browser:
            assert (await browser.receive())["event"] == "chat.connected"
            history = await browser.receive()
            await browser.send("message", text="again")
            await browser.until("chat.done", text="You said again.")
    assert history["event"] == "chat.history"
    assert [(m["role"], m["text"]) for m in history["messages"]][-2:] == [
        ("user", "hello"),
        (history["messages"][-1]["role"], "You said hello."),
    ]
    assert history["messages"][-1]["role"] != "user"
    assert not of(browser.seen, "chat.done", text="Hi!")


@holds("flows", "6")
async def test_a_chat_that_fails_is_told_to_the_page_and_to_the_owner():
    async with desk(server=BROKEN) as (server, owner), page(server) as browser:
        await browser.send("message", text="hello")
        error = await browser.until("chat.error")
        mirrored = await owner.until("llm.chat.error")
    assert error["error"]
    assert mirrored["error"]
    assert mirrored["agent_id"] == "desk"


@holds("flows", "11")
async def test_a_person_takes_over_a_whatsapp_session_and_gives_it_back():
    async with desk() as (server, owner):
        await with_whatsapp(owner)
        await notify(server.url, wrote("hello", "wamid.1"))
        started = await owner.until("whatsapp.session_started")
        id = started["session_id"]
        message = await owner.receive()
        assert (message["event"], message["paused"]) == ("whatsapp.message", False)
        await owner.until("whatsapp.response", text="You said hello.")
        await owner.until("whatsapp.status", status="sent")
        await owner.send("session.pause", agent_id="desk", session_id=id)
        assert (await owner.until("session.paused"))["session_id"] == id
        await notify(server.url, wrote("a person, please", "wamid.2"))
        held = await owner.until("whatsapp.message")
        assert (held["text"], held["paused"]) == ("a person, please", True)
        human = {"agent_id": "desk", "session_id": id, "contact": ANA, "text": "Hi, I am Bea."}
        await owner.send("session.send", **human)
        response = await owner.until("whatsapp.response")
        assert (response["text"], response["source"]) == ("Hi, I am Bea.", "human")
        assert (response["to"], response["session_id"]) == (ANA, id)
        await owner.send("session.resume", agent_id="desk", session_id=id)
        assert (await owner.until("session.resumed"))["session_id"] == id
        await notify(server.url, wrote("thanks", "wamid.3"))
        await owner.until("whatsapp.response", text="You said thanks.")
        await owner.send("history.get", call_id=id, request_id="rq")
        data = await owner.until("history.data")
    assert [(m["role"], m["content"]) for m in data["messages"]][2:4] == [
        ("user", "a person, please"),
        ("assistant", "Hi, I am Bea."),
    ]
    said = of(owner.seen, "whatsapp.response")
    assert [frame["text"] for frame in said] == [
        *("You said hello.", "Hi, I am Bea.", "You said thanks."),
    ]


@holds("flows", "15")
async def test_the_command_lines_chat_talks_to_an_agent_of_another_process():
    async with desk(tools=[LOOKUP]) as (server, owner), connected(server) as cli:
        ask = {"agent_id": "desk", "session_id": "test-mt3janpy-t6jv"}
        await cli.send("llm.chat", **ask, text="my order")
        call = await answer(owner, {"status": "shipped"})
        done = await cli.until("llm.chat.done")
        await owner.until("chat.response", text="It is shipped.")
        await cli.send("llm.chat", **(ask | {"session_id": "test-mt3janpy-new1"}), text="hi")
        await cli.until("llm.chat.done", text="You said hi.")
        await owner.until("chat.response", text="You said hi.")
    assert call["call_id"] == "test-mt3janpy-t6jv"
    first = [f for f in cli.seen if f.get("session_id") == ask["session_id"]]
    told = names(first)
    assert told[:3] == ["llm.chat.started", "llm.chat.tool_call", "llm.chat.tool_result"]
    assert set(told[3:-1]) == {"llm.chat.token"}
    assert first[0]["model"]
    assert (done["text"], done["model"]) == ("It is shipped.", first[0]["model"])
    assert names(of_call(owner.seen, ask["session_id"]), "llm.tool_result") == [
        *("llm.chat.started", "chat.message", "llm.tool_call", "chat.response"),
    ]
    assert len(of(owner.seen, "llm.chat.started")) == 2, "a new id is a new session"
