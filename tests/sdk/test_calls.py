"""Calls of a client against a real server: their events, tools and commands."""

from __future__ import annotations

import asyncio
import gc

import pytest

from pinecall_cli.agent.tools import tool
from pinecall_cli.protocol import commands
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from tests.sdk.desk import desk
from tests.sdk.listening import Frames, Log, chat


async def test_a_chat_reaches_the_handlers_of_agent_and_client(client: Pinecall) -> None:
    agent = desk()
    heard, all_heard, raw = Log(), Log(), Frames(client)
    for name in ("chat.started", "user.message", "chat.message", "bot.speaking"):
        agent.on(name, lambda *args, name=name: heard(name, *args))
    client.on("*", all_heard)
    client.add(agent)
    await client.registered()
    session = await chat(client, "front-desk", "Hello")
    names = [entry[0] for entry in heard.entries]
    assert names == ["chat.started", "chat.message", "user.message", "bot.speaking"]
    (call,) = client.calls("front-desk")
    assert heard.entries[0] == ("chat.started", call)
    _, event, last = heard.entries[2]
    assert (event.text, last) == ("Hello", call)
    assert (call.id, call.transport, call.from_, call.to) == (session, "chat", "chat", "front-desk")
    assert call.transcript[0] == {"role": "user", "content": "Hello"}
    assert call.transcript[1]["role"] == "assistant"
    assert "llm.chat.done" in raw.names
    assert any(call in entry for entry in all_heard.entries)


async def test_a_handler_that_raises_is_told_and_hurts_nobody(client: Pinecall) -> None:
    errors, heard = Log(), Log()
    agent = desk()

    @agent.on("user.message")
    async def broken(event: object, call: Call) -> None:
        raise RuntimeError("in a handler")

    agent.on("user.message", heard)
    client.on("error", errors)
    client.add(agent)
    await client.registered()
    await chat(client, "front-desk", "Hello")
    await heard.until()
    (problem,) = await errors.until()
    assert str(problem) == "in a handler"


async def test_an_error_handler_that_raises_is_not_told_of_itself(
    client: Pinecall, caplog: pytest.LogCaptureFixture
) -> None:
    called = Log()

    @client.on("error")
    def broken(problem: Exception) -> None:
        called(problem)
        raise ValueError("again")

    client.agent("front-desk", llm="script", prompt="x").on("user.message", lambda *_: 1 / 0)
    await client.registered()
    await chat(client, "front-desk", "Hello")
    await called.until()
    assert len(called.entries) == 1
    assert "again" in caplog.text


async def test_tools_run_and_their_results_go_back(client: Pinecall) -> None:
    agent = desk()
    results, rounds = Log(), Log()
    agent.on("llm.tool_result", results)
    agent.on("llm.tool_call", rounds)
    client.add(agent)
    await client.registered()
    session = await chat(client, "front-desk", 'tool add {"a": 1, "b": "2"}')
    await chat(client, "front-desk", 'tool note {"text": "x"}', session=session)
    await chat(client, "front-desk", 'tool fail {"why": "because"}', session=session)
    await chat(client, "front-desk", "tool nobody {}", session=session)
    found = [event.result for event, call in results.entries]
    assert found[:3] == [3, f"{session}: x", {"error": "ValueError: because"}]
    assert found[3:] in ([{"error": "Unknown tool: nobody"}], [])
    (call,) = client.calls()
    said = [m["role"] for m in call.messages]
    assert said[:4] == ["user", "assistant", "tool", "assistant"]
    assert call.messages[2] == {
        "role": "tool",
        "tool_call_id": call.messages[1]["tool_calls"][0]["id"],
        "content": "3",
    }


async def test_a_round_in_flight_ends_on_the_tools_it_began_with(client: Pinecall) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @tool(name="work")
    async def old() -> str:
        """Work."""
        begun.set()
        await go_on.wait()
        return "old"

    @tool(name="work")
    async def new() -> str:
        """Work."""
        return "new"

    agent, newer, results = desk(tools=[old]), desk(tools=[new]), Log()
    client.on("llm.tool_result", results)
    client.add(agent)
    await client.registered()
    first = asyncio.ensure_future(chat(client, "front-desk", "tool work {}"))
    await begun.wait()
    client.swap("front-desk", newer, newer.config)
    await chat(client, "front-desk", "tool work {}")
    go_on.set()
    await first
    assert [event.result for event, _ in results.entries] == ["new", "old"]
    assert client.get_agent("front-desk") is newer
    assert agent.wire is None
    newer.update(prompt="Newest.")
    assert await client.configure("front-desk", {"timezone": "UTC"}) is None


async def test_preparing_handlers_are_waited_for(client: Pinecall) -> None:
    agent = desk(preparing={"timeout_ms": 5000})
    sent = Frames(client)

    @agent.on("call.preparing")
    async def prepare(call: Call) -> None:
        await call.set_prompt_vars(who="Ana")

    client.add(agent)
    await client.registered()
    await chat(client, "front-desk", "prompt")
    answer = await sent.frame("llm.chat.done")
    assert "Be kind, Ana." in answer["text"]
    assert "llm.preparing_timeout" not in sent.names


async def test_a_call_can_be_told_things(client: Pinecall) -> None:
    client.add(desk())
    await client.registered()
    session = await chat(client, "front-desk", "Hello")
    (call,) = client.calls()
    await call.set_prompt("New {{who}}")
    await call.set_prompt_vars({"who": "prompt"})
    await call.add_context("And this.")
    await call.update(language="es", prompt_vars={"other": "x"})
    await call.add_history([{"role": "assistant", "content": "Added."}])
    history = await call.get_history()
    assert history[-1] == {"role": "assistant", "content": "Added."}
    assert call.overrides == {"prompt", "vars", "language"}
    frames = Frames(client)
    await chat(client, "front-desk", "prompt", session=session)
    answer = await frames.frame("llm.chat.done")
    assert "New prompt" in answer["text"]
    assert "And this." in answer["text"]
    await call.set_history([])
    await call.clear_history()
    assert await call.get_history() == []
    with pytest.raises(TypeError, match="vioce"):
        call.update(vioce="x")


async def test_hanging_up_ends_the_call_and_tells_why(client: Pinecall) -> None:
    agent, ended = desk(), Log()
    agent.on("call.ended", ended)
    client.add(agent)
    await client.registered()
    await chat(client, "front-desk", "Hello")
    (call,) = client.calls()
    own = Log()
    call.on("call.ended", own)
    reason = await call.hangup()
    assert ended.entries == [(call, reason)]
    assert len(own.entries) == 1
    assert call.status == "ended"
    assert call.reason == reason
    assert client.calls() == ()
    assert call.transcript
    with pytest.raises(Exception, match=r"no such|no call|not found|ended"):
        await call.get_history()


async def test_commands_may_come_from_a_thread(client: Pinecall) -> None:
    agent, ended = desk(), Log()

    @tool(name="bye")
    def bye(call: Call) -> str:
        """End the call."""
        call.hangup()
        call.on("call.ended", lambda event: None)
        return "gone"

    agent.update(tools=[bye])
    agent.on("call.ended", ended)
    client.add(agent)
    await client.registered()
    client.send(commands.LlmChat(agent_id="front-desk", session_id="chat-9", text="tool bye {}"))
    await ended.until()


async def test_ignored_answers_never_warn(
    client: Pinecall, recwarn: pytest.WarningsRecorder
) -> None:
    client.add(desk())
    await client.registered()
    await chat(client, "front-desk", "Hello")
    (call,) = client.calls()
    call.say("one")
    call.reply("two")
    call.set_prompt("x")
    client.configure("front-desk", {"prompt": "y"})
    ready = client.ready
    del ready
    await call.hangup()
    gc.collect()
    assert not recwarn.list
