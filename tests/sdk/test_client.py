"""The client against a real server: agents, calls, tools, requests, loss and return."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.define import Agent, collecting
from pinecall_cli.agent.tools import tool
from pinecall_cli.errors import (
    ConflictError,
    NotAuthorisedError,
    NotFoundError,
    ServerUnreachableError,
    UsageError,
)
from pinecall_cli.protocol import commands
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.discover import key_of
from pinecall_cli.sdk.registration import RegistrationRefusedError
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import Engines
from tests.sdk.listening import Frames, Log, chat


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


@tool(ephemeral=True, no_followup=True)
def note(text: str, call: Call) -> str:
    """Note something.

    Args:
        text: What.
    """
    return f"{call.id}: {text}"


@tool
def fail(why: str) -> str:
    """Fail.

    Args:
        why: The reason.
    """
    raise ValueError(why)


def desk(name: str = "front-desk", **options: Any) -> Agent:
    return Agent(
        name,
        **(
            {
                "llm": "script",
                "prompt": "Be kind, {{who}}.",
                "prompt_vars": {"who": "you"},
                "tools": [add, note, fail],
            }
            | options
        ),
    )


@asynccontextmanager
async def second(server: EmbeddedServer, key: str | None = None) -> Any:
    async with Pinecall(key or server.key, server.url) as other:
        yield other


async def listed(server: EmbeddedServer) -> dict[str, Any]:
    async with Rest(server.url, Secret(server.key)) as rest:
        return {agent.slug: agent for agent in await rest.agents()}


# --- connecting and registering ---------------------------------------------------------------


async def test_it_connects_by_itself_and_registers_what_it_was_given(
    server: EmbeddedServer,
) -> None:
    client = Pinecall(server.key, server.url.replace("http", "ws"))
    client.add(desk(phone_numbers=["+1 (318) 633-0963"]))
    client.agent("billing", llm="script", prompt="x")
    await client.ready
    await client.registered()
    assert client.connected
    assert client.embedded
    agents = await listed(server)
    assert set(agents) == {"front-desk", "billing"}
    await client.disconnect()
    assert not client.connected


async def test_a_client_made_before_the_loop_connects_when_it_is_entered(
    server: EmbeddedServer,
) -> None:
    made: list[Pinecall] = []
    thread = threading.Thread(target=lambda: made.append(Pinecall(server.key, server.url)))
    thread.start()
    thread.join()
    (client,) = made
    client.add(desk())
    async with client:
        await client.registered("front-desk")
        assert "front-desk" in await listed(server)
    assert not client.connected


async def test_a_wrong_key_fails_at_once_and_for_good(server: EmbeddedServer) -> None:
    client = Pinecall("pk_wrong", server.url)
    client.add(desk())
    errors = Log()
    client.on("error", errors)
    with pytest.raises(NotAuthorisedError) as caught:
        await client.ready
    assert caught.value.exit_code == 4
    assert str(caught.value) == f"{server.url} refuses the key: Invalid API key"
    assert "pk_wrong" not in str(caught.value.as_json())
    with pytest.raises(NotAuthorisedError):
        await client.registered()
    assert len(errors.entries) == 1
    await client.disconnect()


async def test_an_error_that_nobody_handles_is_logged_and_ends_nothing(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = Pinecall("pk_wrong", server.url)
    with pytest.raises(NotAuthorisedError):
        await client.ready
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert (record.name, record.getMessage()) == (
        "pinecall",
        f"{server.url} refuses the key: Invalid API key",
    )
    await client.disconnect()


async def test_no_key_is_an_error_with_a_fix(server: EmbeddedServer) -> None:
    client = Pinecall(api_url=server.url)
    with pytest.raises(NotAuthorisedError, match="no API key") as caught:
        await client.ready
    assert "PINECALL_API_KEY" in (caught.value.fix or "")


async def test_key_and_server_of_the_environment_are_used(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINECALL_API_KEY", server.key)
    monkeypatch.setenv("PINECALL_URL", server.url)
    async with Pinecall() as client:
        assert client.connected
        assert client.api_url == server.url
    assert Pinecall("pk_1", "ws://elsewhere.test").api_url == "ws://elsewhere.test"
    monkeypatch.setenv("PINECALL_URL", "")
    with collecting():
        assert Pinecall().api_url == "wss://voice.pinecall.io"


async def test_connect_tells_that_nobody_is_there(unused_url: str) -> None:
    client = Pinecall("pk_1", unused_url)
    client.on("error", Log())
    with pytest.raises(ServerUnreachableError, match="connection refused"):
        await client.connect()
    await client.disconnect()
    with pytest.raises(ServerUnreachableError):
        async with Pinecall("pk_1", unused_url):
            pass


@pytest.fixture
async def unused_url() -> str:
    async with EmbeddedServer(engines=Engines()) as gone:
        url = gone.url
    return url


async def test_connecting_twice_is_connecting_once(
    client: Pinecall, server: EmbeddedServer
) -> None:
    await client.connect()
    await client.ready
    assert len(server.server.connections) == 1


async def test_agents_of_a_live_client_are_registered_at_once(
    client: Pinecall, server: EmbeddedServer
) -> None:
    agent = client.agent("Late Agent", llm="script", prompt="x")
    assert client.agent("Late Agent") is client.get_agent("Late Agent") is agent
    await client.registered(*client.names)
    assert set(await listed(server)) == {"late-agent"}
    client.add(agent)
    with pytest.raises(UsageError, match="two agents"):
        client.add(desk(agent.name))
    with pytest.raises(NotFoundError):
        await client.registered("nobody")


async def test_a_live_holder_of_the_name_is_a_conflict(
    client: Pinecall, server: EmbeddedServer
) -> None:
    client.add(desk())
    await client.registered()
    async with second(server) as other:
        errors = Log()
        other.on("error", errors)
        other.add(desk())
        with pytest.raises(ConflictError, match="held by another live process") as caught:
            await other.registered()
        assert caught.value.exit_code == 6
        assert "pinecall-cli, process" in str(caught.value)
        (problem,) = await errors.until()
        assert problem is caught.value
    async with second(server, "pk_two") as stranger:
        stranger.add(desk())
        await stranger.registered()


async def test_a_configuration_the_server_refuses_fails_the_registration(
    client: Pinecall,
) -> None:
    errors = Log()
    client.on("error", errors)
    agent = desk()
    client.add(agent)
    await client.registered()
    with pytest.raises(Exception, match="nova-2"):
        await client.configure("front-desk", {"stt": "deepgram/nova-2"})
    await client.configure("front-desk", {"prompt": "still fine"})
    client.swap("front-desk", agent, replace(agent.config, stt="deepgram/nova-2"))
    with pytest.raises(Exception, match="nova-2"):
        await client.create("front-desk")
    await client.configure("front-desk", {"prompt": "and still"})
    assert not errors.entries
    bad = desk("bad")
    client.add(bad, replace(bad.config, stt="deepgram/nova-2"))
    with pytest.raises(RegistrationRefusedError):
        await client.registered("bad")
    assert len(errors.entries) == 1


async def test_who_was_kicked_stays_away_until_asked(
    client: Pinecall, server: EmbeddedServer
) -> None:
    displaced = Log()
    agent = desk()
    agent.on("agent.displaced", displaced)
    client.add(agent)
    client.add(desk("other"))
    await client.registered()
    async with Rest(server.url, Secret(server.key)) as rest:
        await rest.kick("front-desk")
    await displaced.until()
    with pytest.raises(ConflictError, match="taken from us"):
        await client.registered("front-desk")
    assert client.connected
    assert client.displaced == ("front-desk",)
    assert set(await listed(server)) == {"other"}
    await client.create("front-desk")
    await client.registered()
    assert client.displaced == ()
    assert set(await listed(server)) == {"other", "front-desk"}


async def test_the_last_agent_kicked_ends_the_connection_for_good(
    client: Pinecall, server: EmbeddedServer
) -> None:
    down = Log()
    client.on("disconnected", down)
    client.add(desk())
    await client.registered()
    async with Rest(server.url, Secret(server.key)) as rest:
        await rest.kick("front-desk")
    (reason,) = await down.until()
    assert "isplaced" in reason
    with pytest.raises(ConflictError):
        await client.ready
    await client.connect()
    await client.create("front-desk")
    assert "front-desk" in await listed(server)


# --- calls and events ---------------------------------------------------------------------------


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


# --- requests -----------------------------------------------------------------------------------


async def test_requests_are_over_when_the_server_has_acknowledged_them(
    client: Pinecall, server: EmbeddedServer
) -> None:
    client.add(desk(phone_numbers=["+13186330963"]))
    await client.registered()
    frames = Frames(client)
    await client.configure("front-desk", {"voice": "elevenlabs/sarah"})
    await client.channel_add("front-desk", {"type": "phone", "ref": "+1 415 555 0100"})
    await client.channel_configure("front-desk", "+14155550100", {"language": "es"})
    await client.channel_remove("front-desk", "+1-318-633-0963")
    await client.create("front-desk")
    assert [name for name in frames.names if name != "pong"][-5:] == [
        "agent.configured",
        "channel.added",
        "channel.configured",
        "channel.removed",
        "agent.created",
    ]
    agents = await listed(server)
    assert agents["front-desk"].phones == ("+14155550100",)
    with pytest.raises(NotFoundError):
        client.configure("nobody", {})
    with pytest.raises(NotFoundError):
        client.set_prompt("no-call", "x")


async def test_a_number_in_use_fails_its_request_and_is_not_an_error_event(
    client: Pinecall, server: EmbeddedServer
) -> None:
    client.add(desk(phone_numbers=["+13186330963"]))
    await client.registered()
    await client.channel_add("front-desk", {"type": "chat"})
    async with second(server) as other:
        errors = Log()
        other.on("error", errors)
        other.add(desk("sales"))
        await other.registered()
        with pytest.raises(ConflictError, match="PHONE_IN_USE"):
            await other.channel_add("sales", {"type": "phone", "ref": "+13186330963"})
        with pytest.raises(Exception, match="whatsapp"):
            await other.channel_add("sales", {"type": "whatsapp", "ref": "1"})
        assert not errors.entries


async def test_a_live_call_is_changed_without_counting_as_its_own(client: Pinecall) -> None:
    client.add(desk())
    await client.registered()
    session = await chat(client, "front-desk", "Hello")
    await client.configure_session(session, {"language": "es"})
    await client.set_prompt(session, "Reloaded {{who}}")
    await client.set_prompt_vars(session, {"who": "now"})
    (call,) = client.calls()
    assert call.overrides == set()
    frames = Frames(client)
    await chat(client, "front-desk", "prompt", session=session)
    assert "Reloaded now" in (await frames.frame("llm.chat.done"))["text"]


async def test_update_sends_what_changed(client: Pinecall, server: EmbeddedServer) -> None:
    agent = desk()
    client.add(agent)
    await client.registered()
    frames = Frames(client)
    agent.update(prompt="Changed.", tools=[add])
    await frames.frame("agent.configured")
    assert (await frames.frame("agent.configured"))["agent_id"] == "front-desk"
    async with Rest(server.url, Secret(server.key)) as rest:
        config = (await rest.agent_config("front-desk"))["config"]
    assert config["prompt"] == "Changed."
    assert [t["function"]["name"] for t in config["tools"]] == ["add"]


async def test_a_removed_agent_finishes_its_calls(client: Pinecall, server: EmbeddedServer) -> None:
    client.add(desk())
    client.add(desk("other"))
    await client.registered()
    session = await chat(client, "front-desk", "Hello")
    agent = client.get_agent("front-desk")
    assert agent is not None
    assert await client.remove_agent("front-desk") is True
    assert await client.remove_agent("front-desk") is False
    assert await client.remove_agent("nobody") is False
    assert client.get_agent("front-desk") is None
    assert set(await listed(server)) == {"other"}
    await chat(client, "front-desk", 'tool add {"a": 1, "b": 1}', session=session)
    (call,) = client.calls("front-desk")
    assert call.messages[-1]["content"] == "2"
    await call.hangup()
    assert client.names == ("other",)
    with pytest.raises(UsageError, match="not registered"):
        agent.dial("+14155550100")
    client.add(desk())
    await client.registered()
    assert set(await listed(server)) == {"other", "front-desk"}


async def test_an_agent_that_is_removed_before_it_is_registered_is_not_left_behind(
    client: Pinecall, server: EmbeddedServer
) -> None:
    client.add(desk())
    assert await client.remove_agent("Front Desk") is True
    assert client.names == ()
    assert await listed(server) == {}
    refused = desk("refused")
    client.on("error", Log())
    client.add(refused, replace(refused.config, stt="deepgram/nova-2"))
    assert await client.remove_agent("refused") is True
    assert client.names == ()


async def test_a_removed_agent_of_the_same_name_may_follow_while_calls_go_on(
    client: Pinecall, server: EmbeddedServer
) -> None:
    old = client.agent("front-desk", llm="script", prompt="x")
    await client.registered()
    await chat(client, "front-desk", "Hello")
    await client.remove_agent("front-desk")
    new = client.agent("front-desk", llm="script", prompt="y")
    assert new is not old
    await client.registered()
    assert set(await listed(server)) == {"front-desk"}


async def test_removing_an_agent_while_the_connection_is_lost_is_done_when_it_is_back() -> None:
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"]) as first:
        client = Pinecall("pk_1", first.url)
        client.on("error", Log())
        lost = Log()
        client.on("disconnected", lost)
        client.add(desk())
        client.add(desk("other"))
        await client.registered()
        port = first.port
    await lost.until()
    assert await client.remove_agent("front-desk") is True
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"], port=port) as again:
        await client.registered()
        async with Rest(again.url, Secret("pk_1")) as rest:
            assert [one.slug for one in await rest.agents()] == ["other"]
        await client.disconnect()


# --- loss and return ------------------------------------------------------------------------------


async def test_it_comes_back_and_brings_everything_with_it() -> None:
    heard = Log()
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"]) as first:
        client = Pinecall("pk_1", first.url)
        for name in ("connected", "disconnected", "reconnecting", "error"):
            client.on(name, lambda *args, name=name: heard(name, *args))
        agent = desk(phone_numbers=["+13186330963"])
        agent.on("call.ended", lambda *args: heard("call.ended", *args))
        client.add(agent)
        client.add(desk("second"))
        await client.registered()
        await chat(client, "front-desk", "Hello")
        (call,) = client.calls()
        port = first.port
    await heard.until(lambda name, *_: name == "disconnected")
    assert client.calls() == ()
    assert call.status == "ended"
    agent.update(prompt="Changed while away.")
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"], port=port) as again:
        await client.ready
        await client.registered()
        async with Rest(again.url, Secret("pk_1")) as rest:
            agents = {one.slug: one for one in await rest.agents()}
            config = (await rest.agent_config("front-desk"))["config"]
        assert set(agents) == {"front-desk", "second"}
        assert config["prompt"] == "Changed while away."
        await chat(client, "front-desk", "Hello again")
        frames = Frames(client)
        await client.channel_add("front-desk", {"type": "phone", "ref": "+13186330963"})
        await frames.frame("channel.added")
        async with Rest(again.url, Secret("pk_1")) as rest:
            assert {p for one in await rest.agents() for p in one.phones or ()} == {"+13186330963"}
        names = [entry[0] for entry in heard.entries]
        assert names[0] == "connected"
        assert names.count("connected") == 2
        attempt, delay = next(e[1:] for e in heard.entries if e[0] == "reconnecting")
        assert attempt == 1
        assert 1 <= delay <= 1.25
        await client.disconnect()
    assert names[-1] == "connected"


async def test_it_comes_back_to_a_local_server_with_another_key(tmp_path: Path) -> None:
    async with EmbeddedServer(engines=Engines(), run_dir=tmp_path) as first:
        url, port, known = first.url, first.port, Secret(first.key)
        client = Pinecall(lambda: key_of(url, tmp_path) or known, url)
        client.on("error", Log())
        lost = Log()
        client.on("disconnected", lost)
        client.add(desk())
        await client.registered()
    await lost.until()
    async with EmbeddedServer(engines=Engines(), run_dir=tmp_path, port=port) as second:
        assert second.key != first.key
        await client.registered()
        assert set(await listed(second)) == {"front-desk"}
        await client.disconnect()


async def test_a_request_under_way_fails_when_the_connection_is_lost() -> None:
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"]) as server:
        client = Pinecall("pk_1", server.url)
        client.on("error", Log())
        client.add(desk())
        await client.registered()
    lost = Log()
    client.on("disconnected", lost)
    if client.connected:
        await lost.until()
    answer = client.configure("front-desk", {"prompt": "x"})
    await client.disconnect()
    with pytest.raises(ServerUnreachableError):
        await answer


async def test_disconnecting_ends_calls_and_says_nothing_of_loss(client: Pinecall) -> None:
    ended, lost = Log(), Log()
    client.on("call.ended", ended)
    client.on("disconnected", lost)
    client.add(desk())
    await client.registered()
    await chat(client, "front-desk", "Hello")
    await client.disconnect()
    assert [reason for _, reason in ended.entries] == ["client_disconnect"]
    assert not lost.entries
    await client.disconnect()
    with pytest.raises(ServerUnreachableError):
        client.send(commands.Ping())
    await client.connect()
    await client.registered()


# --- under the CLI --------------------------------------------------------------------------------


@pytest.fixture
def imported() -> tuple[Pinecall, Agent]:
    with collecting() as collected:
        handle = Pinecall()
        agent = handle.agent("front-desk", llm="script", prompt="x")
        Pinecall("pk_other", "wss://elsewhere.test").run(agent)
    assert collected.clients[0] is handle
    assert collected.agents == [agent]
    return handle, agent


async def test_a_handle_never_connects_and_hears_what_the_cli_hears(
    client: Pinecall, imported: tuple[Pinecall, Agent]
) -> None:
    handle, agent = imported
    heard = Log()
    handle.on("user.message", heard)
    await handle.connect()
    assert not handle.connected
    release = client.adopt(handle)
    client.add(agent)
    await handle.ready
    await client.registered()
    assert handle.connected
    assert handle.embedded
    assert handle.get_agent("front-desk") is agent
    await chat(client, "front-desk", "Hello")
    _, call = await heard.until()
    assert handle.calls() == (call,)
    await handle.configure("front-desk", {"prompt": "by the handle"})
    handle.agent("second", llm="script", prompt="made while running")
    await handle.registered()
    assert set(client.names) == {"front-desk", "second"}
    await handle.remove_agent("second")
    assert client.names == ("front-desk",)
    handle.route_callers(["+34600123456"])
    handle.send(commands.Ping())
    release()
    release()
    await chat(client, "front-desk", "Hello?", session=call.id)
    assert len(heard.entries) == 1
    await handle.disconnect()
    assert client.connected
