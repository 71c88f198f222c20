"""What comes early, late, for nobody, or in an older spelling: it hurts nobody, and is not lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.server import ServerConnection, serve

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import ConflictError, NotAuthorisedError, NotFoundError, UsageError
from pinecall_cli.protocol import events
from pinecall_cli.protocol.refusal import outcome_of
from pinecall_cli.sdk import discover
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.dials import DialError
from pinecall_cli.sdk.payloads import tools_in
from pinecall_cli.sdk.registration import problem_of
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret, Target
from tests.fakes.engines import Engines
from tests.sdk.listening import Log
from tests.sdk.pretended import Office, started
from tests.sdk.test_foreign_server import Foreign, foreign


def test_a_call_of_an_older_server_is_known_as_a_pages_by_its_id():
    office = Office()
    office.happen(
        events.CallStarted(agent_id="front-desk", call_id="wrt_1", from_="x", to="y"),
        events.CallStarted(agent_id="front-desk", call_id="CA1", from_="x", to="y"),
    )
    transports = {call.id: call.transport for call in office.client.calls()}
    assert transports == {"wrt_1": "webrtc", "CA1": "unknown"}


def test_what_is_of_agents_that_are_not_ours_is_left_alone():
    office = Office()
    said = Log()
    office.client.on("agent.displaced", said)
    office.happen(
        events.AgentDisplaced(agent_id="nobody"),
        events.LlmToolCall(agent_id="nobody", call_id="chat-9", msg_id="m", tool_calls=()),
        events.CallError(agent_id="nobody", error="busy"),
    )
    assert (said.entries, office.client.calls()) == ([], ())


def test_a_turn_that_goes_on_after_the_application_has_set_the_history_takes_nothing_out():
    office = Office()
    office.happen(
        started(),
        events.UserMessage(
            agent_id="front-desk", call_id="c1", message_id="u1", text="I want", turn_id=1
        ),
    )
    (call,) = office.client.calls()
    call.messages[:] = [{"role": "user", "content": "as the application has it"}]
    office.happen(events.TurnContinued(agent_id="front-desk", call_id="c1", turn_id=1))
    assert [one["content"] for one in call.messages] == ["as the application has it"]


async def test_a_client_that_was_never_connected_has_nobody_to_ask():
    office = Office()
    office.happen(started())
    (call,) = office.client.calls()
    with pytest.raises(RuntimeError, match="not connected"):
        call.get_history()


async def test_a_greeting_that_is_for_voice_alone_is_not_said_in_a_chat_nor_one_that_is_empty():
    asked: list[str] = []

    def greet(call: object) -> None:
        asked.append("greeting")

    async with foreign(greeting=greet) as (peer, _):
        await peer.say("agent.created", agent_id="front-desk")
        await peer.say("llm.chat.started", agent_id="front-desk", call_id="chat-1")
        assert "bot.reply" not in await peer.nothing_but_pongs()
        assert asked == []
        about = {"from": "+1415", "to": "+1318", "direction": "inbound", "transport": "phone"}
        await peer.say("call.started", agent_id="front-desk", call_id="CA1", **about)
        assert "bot.reply" not in await peer.nothing_but_pongs()
        assert asked == ["greeting"]


async def test_what_a_server_says_before_it_has_accepted_the_key_is_passed_over():
    peers: asyncio.Queue[Foreign] = asyncio.Queue()

    async def handler(socket: ServerConnection) -> None:
        peers.put_nowait(Foreign(socket))
        await socket.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        client = Pinecall("pk_1", f"http://127.0.0.1:{port}")
        peer = await peers.get()
        await peer.hear("connect")
        await peer.say("server.news", text="hello")
        await peer.say("authenticated")
        assert not client.connected
        await peer.say("connected")
        await client.ready
        assert client.connected
        await client.disconnect()


@asynccontextmanager
async def dialled() -> AsyncIterator[tuple[Foreign, asyncio.Future[Call]]]:
    """Let an agent dial; nothing has come of it yet."""
    async with foreign() as (peer, client):
        agent = client.get_agent("front-desk")
        assert agent is not None
        await peer.say("agent.created", agent_id="front-desk")
        dialling = asyncio.ensure_future(agent.dial("+14155550123", from_="+13186330963"))
        await peer.hear("call.dial")
        yield peer, dialling


async def test_a_dial_whose_end_is_all_that_is_told_has_failed_with_its_reason():
    async with dialled() as (peer, dialling):
        about = {"from": "+13186330963", "to": "+14155550123", "direction": "outbound"}
        await peer.say("call.ended", agent_id="front-desk", call_id="CA1", reason="busy", **about)
        with pytest.raises(DialError) as failed:
            await dialling
        assert failed.value.reason == "busy"


async def test_a_dial_that_breaks_off_while_it_rings_has_failed_and_errors_of_others_are_not_its():
    async with dialled() as (peer, dialling):
        await peer.say("call.error", agent_id="nobody", error="not this one")
        about = {"from": "+13186330963", "to": "+14155550123"}
        await peer.say("call.dialing", agent_id="front-desk", call_id="CA1", **about)
        await peer.say("call.error", agent_id="front-desk", call_id="CA1", error="the line broke")
        with pytest.raises(DialError, match="the line broke") as failed:
            await dialling
        assert failed.value.reason == "failed"


async def test_callers_that_are_routed_before_there_is_a_connection_are_routed_by_it():
    async with EmbeddedServer(engines=Engines()) as server:
        client = Pinecall(server.key, server.url)
        client.route_callers(["+34600123456"])
        client.add(Agent("front-desk"))
        await client.registered()
        async with httpx.AsyncClient(base_url=server.url) as http:
            headers = {"Authorization": f"Bearer {server.key}"}
            listed = (await http.get("/api/sdk/agents", headers=headers)).json()
        assert listed["dev_callers"] == ["+34600123456"]
        await client.disconnect()


async def test_a_server_that_sends_us_away_without_a_word_about_an_agent_is_a_conflict():
    async with foreign() as (peer, client):
        await peer.say("agent.created", agent_id="front-desk")
        await client.registered()
        client.on("error", Log())
        lost = Log()
        client.on("disconnected", lost)
        await peer.socket.close(4001, "Displaced by API")
        await lost.until()
        with pytest.raises(ConflictError, match="Displaced by API"):
            await client.ready


async def test_a_client_stays_on_the_loop_that_it_is_connected_on(client: Pinecall):
    problems: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(client.connect())
        except RuntimeError as problem:
            problems.append(problem)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert "another event loop" in str(problems[0])
    assert client.connected


@pytest.mark.parametrize(
    ("holder", "told"),
    [({"pid": 7}, "process 7"), ({"name": "x"}, "x"), ("some text", "some text"), ({}, "")],
)
def test_who_holds_an_agent_is_told_as_far_as_it_is_known(holder: object, told: str):
    error = events.Error(
        code="AGENT_CONFLICT_FATAL",
        error="held",
        agent_id="a",
        holder=holder,  # type: ignore[arg-type]
    )
    assert told in str(problem_of(outcome_of(error), error))


def test_an_agent_that_is_refused_for_its_key_is_not_authorised():
    error = events.Error(code="UNAUTHORIZED", error="not yours", agent_id="a")
    assert isinstance(problem_of(outcome_of(error), error), NotAuthorisedError)


def test_the_tools_of_a_skill_are_found_in_whatever_form_it_is_written():
    def price() -> int:
        """Look up a price."""
        return 1

    written = [{"name": "prices", "description": "d", "tools": [price, {"name": "theirs"}, None]}]
    assert [tool.name for tool in tools_in(written)] == ["price"]


def test_without_a_key_for_the_hosted_server_one_is_told_how_to_try_it_here():
    with pytest.raises(NotAuthorisedError) as missing:
        asyncio.run(Pinecall().connect())
    assert "PINECALL_API_KEY" in (missing.value.fix or "")
    assert "pinecall server" in (missing.value.fix or "")


async def test_the_only_agent_need_not_be_named(tmp_path: Path):
    async with EmbeddedServer(engines=Engines(), run_dir=tmp_path) as server:
        target = Target("local", server.url, Secret(server.key))

        async def only() -> str:
            return await discover.only(target, how="choose one", folder=tmp_path)

        with pytest.raises(NotFoundError, match="no agent is running"):
            await only()
        async with Pinecall(server.key, server.url) as client:
            client.add(Agent("first"))
            await client.registered()
            assert await only() == "first"
            client.add(Agent("second"))
            await client.registered()
            with pytest.raises(UsageError, match="`first`, `second`") as several:
                await only()
            assert several.value.fix == "choose one"
