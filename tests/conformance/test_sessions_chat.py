"""The browser's chat socket: sessions.md §1."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pinecall_cli.errors import EngineError
from pinecall_cli.server.app import Limits
from tests.conformance.paragraphs import holds
from tests.server.chat_page import page
from tests.server.peer import connected, embedded, token
from tests.server.test_chat import LOOKUP, SCRIPT

GREETS = {"greetingInChat": True, "greeting": "Hi {{who}}!", "vars": {"who": "Ana"}}


@holds("sessions", "1", "1.1", "1.2", "1.4")
async def test_a_page_writes_and_reads_the_answer_as_it_comes():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, language="en")
        minted = await token(server, kind="chat", metadata='{"userId":"u_9","lang":"es"}')
        async with page(server, minted, origin="https://shop.example") as browser:
            first = await browser.receive()
            assert first["event"] == "chat.connected"
            assert first["session_id"].startswith("chat-")
            assert first.keys() == {"event", "session_id"}
            await browser.send("message", text="  hello there ")
            done = await browser.until("chat.done")
            tokens = browser.seen[1:-1]
            assert {frame["event"] for frame in tokens} == {"chat.token"}
            assert {frame["message_id"] for frame in tokens} == {done["message_id"]}
            assert tokens[-1]["text"] == done["text"] == "You said: hello there"
            assert "".join(frame["token"] for frame in tokens) == done["text"]
        ended = await owner.until("llm.chat.ended")
        assert (ended["reason"], len(ended["messages"])) == ("chat_completed", 2)
        mine = [f for f in owner.seen if f.get("call_id") == first["session_id"]]
        assert [f["event"] for f in mine] == [
            "llm.chat.started",
            "chat.message",
            "chat.response",
            "llm.chat.ended",
        ]
        assert (mine[0]["metadata"]["userId"], mine[0]["language"]) == ("u_9", "es")


@holds("sessions", "1.2", "1.4")
async def test_the_owners_tools_run_and_the_page_sees_them():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, tools=[LOOKUP])
        async with page(server, await token(server, kind="chat")) as browser:
            await browser.send("message", text="where is order 42?")
            call = await owner.until("llm.tool_call")
            (wish,) = call["tool_calls"]
            await owner.send(
                "llm.tool_result",
                call_id=call["call_id"],
                msg_id=call["msg_id"],
                results=[{"tool_call_id": wish["id"], "result": {"status": "shipped"}}],
            )
            assert (await browser.until("chat.tool_call"))["tool_calls"] == [wish]
            result = await browser.until("chat.tool_result")
            assert (result["tool_call_id"], result["result"]) == (wish["id"], {"status": "shipped"})
            assert (await browser.until("chat.done"))["text"] == "shipped."


@holds("sessions", "1.3")
async def test_messages_that_come_at_once_are_answered_one_after_the_other():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with page(server, await token(server, kind="chat")) as browser:
            for text in ("slow", "second"):
                await browser.send("message", text=text)
            assert (await browser.until("chat.done"))["text"] == "one two three"
            assert (await browser.until("chat.done"))["text"] == "You said: second"


@holds("sessions", "1.3", "3.5")
async def test_context_of_the_page_reaches_the_prompt_until_it_is_taken_out():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, prompt="Be kind.", raw_prompt=True)
        async with page(server, await token(server, kind="chat")) as browser:
            await browser.send("set_context", key="page", value="/pricing")
            await browser.send("message", text="prompt")
            assert "/pricing" in (await browser.until("chat.done"))["text"]
            await browser.send("set_context", key="page", value=None)
            await browser.send("message", text="prompt")
            assert (await browser.until("chat.done"))["text"] == "Be kind."


@holds("sessions", "1.2")
async def test_a_greeting_comes_right_after_the_connection_where_it_is_wanted():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, **GREETS)
        async with page(server, await token(server, kind="chat")) as browser:
            await browser.until("chat.connected")
            greeting = await browser.receive()
            assert (greeting["event"], greeting["text"]) == ("chat.done", "Hi Ana!")
            await browser.send("message", text="hello")
            done = await browser.until("chat.done")
            assert done["message_id"] != greeting["message_id"]


@holds("sessions", "1.3")
@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        "[]",
        '{"event":"message"}',
        '{"event":"message","text":7}',
        '{"event":"message","text":"  "}',
        json.dumps({"event": "message", "text": "x" * 16_001}),
        '{"event":"set_context","key":"","value":"x"}',
        '{"event":"llm.chat","text":"x"}',
        '{"event":"connect","api_key":"pk_one"}',
        "[" * 5_000,
    ],
)
async def test_nonsense_is_answered_and_ends_nothing(frame: str):
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with page(server, await token(server, kind="chat")) as browser:
            await browser.socket.send(b"\x00\x01")
            await browser.socket.send(frame)
            assert (await browser.until("chat.error"))["error"]
            await browser.send("message", text="hello")
            assert (await browser.until("chat.done"))["text"] == "You said: hello"


@holds("sessions", "1.2")
async def test_a_failing_model_is_an_error_of_the_turn_for_both():
    async with embedded(limits=Limits(reply_s=0.01)) as server, connected(server) as owner:
        await owner.agent("desk")
        async with page(server, await token(server, kind="chat")) as browser:
            await browser.send("message", text="hello")
            assert "did not answer" in (await browser.until("chat.error"))["error"]
            await owner.until("llm.chat.error")
            await browser.send("message", text="once more")
            await browser.until("chat.error")


@holds("sessions", "1.4")
async def test_the_application_itself_may_answer():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk")
        async with page(server, await token(server, kind="chat")) as browser:
            await browser.send("message", text="hello")
            message = await owner.until("chat.message")
            call = message["call_id"]
            await owner.send("bot.reply", call_id=call, message_id="m1", text="Hi.")
            done = await browser.until("chat.done")
            assert (done["message_id"], done["text"]) == ("m1", "Hi.")


@holds("sessions", "1.1")
async def test_an_agent_whose_model_is_not_there_is_an_error_and_a_close():
    def choose(llm: Any) -> None:
        raise EngineError("no such model", fix="name another")

    async with embedded(models=choose) as server, connected(server) as owner:
        await owner.agent("desk")
        async with page(server, await token(server, kind="chat")) as browser:
            assert await browser.closed() == (1011, "engine")
            assert browser.seen == [{"event": "error", "error": "the agent cannot answer now"}]


@holds("sessions", "1.1", "1.2")
async def test_a_thread_is_taken_up_where_it_was_left():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, **GREETS)
        async with page(server, await token(server, kind="chat"), "&thread=t9") as browser:
            await browser.send("message", text="hello")
            await browser.until("chat.done", text="You said: hello")
        async with page(server, await token(server, kind="chat"), "&thread=t9") as browser:
            await browser.until("chat.connected")
            history = await browser.receive()
            assert history["event"] == "chat.history"
            assert history["messages"] == [
                {"role": "assistant", "text": "Hi Ana!"},
                {"role": "user", "text": "hello"},
                {"role": "assistant", "text": "You said: hello"},
            ]
            await browser.send("message", text="more")
            assert (await browser.until("chat.done"))["text"] == "You said: more"
            call = browser.seen[0]["session_id"]
            await owner.send("history.get", call_id=call, request_id="r")
            messages = (await owner.until("history.data"))["messages"]
            assert [message["role"] for message in messages] == [
                *("assistant", "user", "assistant", "user", "assistant"),
            ]


@holds("sessions", "1.1")
async def test_two_tabs_in_one_thread_leave_each_other_their_messages():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with (
            page(server, await token(server, kind="chat"), "&thread=both") as one,
            page(server, await token(server, kind="chat"), "&thread=both") as other,
        ):
            for tab, text in ((one, "a1"), (other, "b1"), (one, "a2"), (other, "b2")):
                await tab.send("message", text=text)
                await tab.until("chat.done")
        async with page(server, await token(server, kind="chat"), "&thread=both") as later:
            history = await later.until("chat.history")
        said = [line["text"] for line in history["messages"] if line["role"] == "user"]
        assert said == ["a1", "b1", "a2", "b2"]


@holds("sessions", "1.1")
async def test_a_thread_that_a_key_sealed_is_not_to_be_had_by_naming_it():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        sealed = '{"threadId":"patient-7"}'
        async with page(server, await token(server, kind="chat", metadata=sealed)) as browser:
            await browser.send("message", text="a secret")
            await browser.until("chat.done")
        async with page(server, await token(server, kind="chat"), "&thread=patient-7") as thief:
            await thief.send("message", text="hello")
            await thief.until("chat.done")
            assert "chat.history" not in {frame["event"] for frame in thief.seen}
        minted = await token(server, kind="chat", metadata=sealed)
        async with page(server, minted, "&thread=other") as browser:
            await browser.until("chat.connected")
            assert (await browser.receive())["messages"][0]["text"] == "a secret"
