"""What other servers say: conflicts that pass, refusals, old habits, and nonsense.

The server here is a script on a real socket; it says what ours never would.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from pinecall_cli.agent.skill import Skill
from pinecall_cli.agent.tools import tool
from pinecall_cli.errors import ConflictError, InfrastructureError
from pinecall_cli.protocol.frames import Unknown
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.dials import DialError
from pinecall_cli.sdk.registration import RegistrationRefusedError
from tests.sdk.listening import PATIENCE_S, Log


class Foreign:
    """One connection of a server that a test speaks for."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def say(self, event: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"event": event, **fields}))

    async def hear(self, event: str) -> dict[str, Any]:
        """Return the next frame of that name; frames before it are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                frame: dict[str, Any] = json.loads(await self.socket.recv())
                if frame["event"] == event:
                    return frame

    async def nothing_but_pongs(self) -> list[str]:
        """Return the frames that had been sent when a ping is answered."""
        await self.say("ping")
        seen: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            while not seen or seen[-1] != "pong":
                seen.append(json.loads(await self.socket.recv())["event"])
        return seen[:-1]


@tool
async def double(n: int) -> int:
    """Double a number.

    Args:
        n: The number.
    """
    return 2 * n


@asynccontextmanager
async def foreign(**options: Any) -> AsyncIterator[tuple[Foreign, Pinecall]]:
    """Connect a client with one agent, whose `agent.create` has been heard."""
    peers: asyncio.Queue[Foreign] = asyncio.Queue()

    async def handler(socket: ServerConnection) -> None:
        peers.put_nowait(Foreign(socket))
        await socket.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        client = Pinecall("pk_1", f"http://127.0.0.1:{port}")
        client.agent("front-desk", **({"llm": "openai/gpt-5", "tools": [double]} | options))
        peer = await peers.get()
        assert (await peer.hear("connect"))["api_key"] == "pk_1"
        await peer.say("connected", org_id="org_1", surprise=True)
        await peer.hear("agent.create")
        try:
            yield peer, client
        finally:
            await client.disconnect()


async def test_a_conflict_that_passes_is_waited_out() -> None:
    async with foreign() as (peer, client):
        errors = Log()
        client.on("error", errors)
        for _ in range(2):
            await peer.say(
                "error",
                code="AGENT_CONFLICT",
                agent_id="front-desk",
                error="AGENT_CONFLICT: taken",
                retry_after_s=0.05,
                holder_alive=True,
            )
            await peer.hear("agent.create")
        await peer.say("agent.created", agent_id="org_1:front-desk")
        await client.registered()
        assert [type(problem) for (problem,) in errors.entries] == [ConflictError] * 2


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("SERVER_AT_CAPACITY", InfrastructureError),
        ("AGENT_CONFLICT_FATAL", ConflictError),
        ("REGISTRATION_ERROR", RegistrationRefusedError),
    ],
)
async def test_final_refusals(code: str, problem: type[Exception]) -> None:
    async with foreign() as (peer, client):
        errors = Log()
        client.on("error", errors)
        await peer.say("error", code=code, agent_id="front-desk", error=f"{code}: no")
        with pytest.raises(problem):
            await client.registered()
        (told,) = await errors.until()
        assert isinstance(told, problem)
        assert not client.embedded


async def test_other_errors_are_told_and_refuse_nothing() -> None:
    async with foreign() as (peer, client):
        errors = Log()
        client.on("error", errors)
        await peer.say("error", code="MODEL_NOT_ALLOWED", agent_id="front-desk", error="not yours")
        await peer.say("error", error="and this")
        await errors.until(lambda problem: str(problem) == "and this")
        await peer.say("agent.created", agent_id="front-desk")
        await client.registered()
        assert next(getattr(problem, "code", "") for (problem,) in errors.entries) == (
            "model_not_allowed"
        )


async def test_a_number_that_is_not_ours_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    async with foreign(phone_numbers=["+13186330963"]) as (peer, client):
        errors = Log()
        client.on("error", errors)
        await peer.say("agent.created", agent_id="front-desk")
        await peer.hear("channel.add")
        await peer.say(
            "error",
            code="PHONE_IN_USE",
            agent_id="front-desk",
            phone="+13186330963",
            error="PHONE_IN_USE: taken",
        )
        await peer.nothing_but_pongs()
        assert not errors.entries
        assert "PHONE_IN_USE" in caplog.text
        answer = client.create("front-desk")
        await peer.hear("agent.create")
        await peer.say("agent.created", agent_id="front-desk")
        await answer
        assert "channel.add" not in await peer.nothing_but_pongs()


async def test_local_is_not_sent_and_agents_are_not_removed_by_frame() -> None:
    async with foreign(local={"llm": "script"}) as (peer, client):
        client.route_callers(["+34600123456"])
        assert (await peer.hear("dev.config"))["callers"] == ["+34600123456"]
        await peer.say("agent.created", agent_id="front-desk")
        await client.registered()
        assert await peer.hear("dev.config")
        await client.remove_agent("front-desk")
        await peer.socket.wait_closed()
        assert peer.socket.close_reason == "client_reopen"
        assert client.names == ()


async def test_what_is_different_in_one_dial_is_spelled_as_agents_are() -> None:
    async with foreign(phone_number="+14155550100") as (peer, client):
        agent = client.get_agent("front-desk")
        assert agent is not None
        await peer.say("agent.created", agent_id="front-desk")
        config = {"prompt_vars": {"what": "lamps"}, "greeting_in_chat": True, "tools": [double]}
        dialled = [
            agent.dial("+14155550101", config=config),
            agent.bridge("other", config={"skills": [Skill("s", "S.", tools=[double])]}),
        ]
        wanted = double.spec.wire()
        assert (await peer.hear("call.dial"))["config"] == {
            "vars": {"what": "lamps"},
            "greetingInChat": True,
            "tools": [wanted],
        }
        (skill,) = (await peer.hear("call.bridge"))["config"]["skills"]
        assert (skill["tools"], skill["activation"]) == ([wanted], "model")
        for to in ("+14155550101", "other"):
            await peer.say(
                "call.ended",
                agent_id="front-desk",
                call_id=f"CA-{to}",
                **{"from": "+14155550100", "to": to},
                direction="outbound",
                reason="canceled",
            )
        for one in dialled:
            with pytest.raises(DialError) as failed:
                await one
            assert failed.value.reason == "canceled"


async def test_llm_before_without_handlers_is_answered_at_once() -> None:
    async with foreign() as (peer, _):
        await peer.say("agent.created", agent_id="front-desk")
        await peer.say("llm.chat.started", agent_id="front-desk", call_id="chat-1")
        await peer.say("llm.before", agent_id="front-desk", call_id="chat-1", turn=3)
        assert await peer.hear("llm.ready") == {
            "event": "llm.ready",
            "call_id": "chat-1",
            "agent_id": "front-desk",
            "turn": 3,
        }


async def test_old_acknowledgements_without_a_request_id_are_understood() -> None:
    async with foreign() as (peer, client):
        await peer.say("agent.created", agent_id="front-desk")
        await peer.say("llm.chat.started", agent_id="front-desk", call_id="chat-1")
        await peer.nothing_but_pongs()
        answer = client.set_prompt("chat-1", "x")
        await peer.hear("history.set_instructions")
        await peer.say("history.updated", agent_id="front-desk", call_id="chat-1", count=1)
        await answer
        refused = client.set_prompt("chat-1", "y")
        request = await peer.hear("history.set_instructions")
        await peer.say(
            "history.updated",
            agent_id="front-desk",
            call_id="chat-1",
            request_id=request["request_id"],
            error="not now",
        )
        with pytest.raises(Exception, match="not now"):
            await refused


async def test_unknown_events_reach_who_asks_for_them_by_name() -> None:
    async with foreign() as (peer, client):
        heard = Log()
        client.on("weather.changed", lambda *args: heard("in call", *args))
        client.on("llm.mood", lambda *args: heard("of agent", *args))
        client.on("weather.lost", lambda *args: heard("never", *args))
        await peer.say("agent.created", agent_id="front-desk")
        await peer.say(
            "call.started", agent_id="front-desk", call_id="c1", **{"from": "a", "to": "b"}
        )
        await peer.say("weather.changed", agent_id="front-desk", call_id="c1", sky="blue")
        await peer.say("weather.lost", agent_id="front-desk", call_id="nobody")
        await peer.say("llm.mood", agent_id="front-desk", mood="good")
        await peer.socket.send("not json")
        await peer.socket.send('["no object"]')
        await peer.say("bot.word", call_id="c1", word=3)
        await peer.nothing_but_pongs()
        (_, event, call), (_, mood) = heard.entries
        assert isinstance(event, Unknown)
        assert event.fields["sky"] == "blue"
        assert call.id == "c1"
        assert mood.fields["mood"] == "good"


async def test_events_of_calls_nobody_announced_are_dropped_but_for_old_webrtc() -> None:
    async with foreign() as (peer, client):
        heard = Log()
        client.on("user.speaking", heard)
        client.on("call.ringing", lambda event, ringing: heard("ringing", event.from_))
        client.on("call.started", lambda call: heard("started", call.transport))
        await peer.say("agent.created", agent_id="front-desk")
        for id in ("c1", "wrt_1"):
            await peer.say("user.speaking", agent_id="front-desk", call_id=id, text="Hi")
        await peer.say(
            "call.ringing", agent_id="front-desk", call_id="CA9", **{"from": "+1", "to": "+2"}
        )
        await peer.say("call.ended", agent_id="front-desk", call_id="c1", reason="busy")
        await peer.nothing_but_pongs()
        assert [entry[0] for entry in heard.entries if isinstance(entry[0], str)] == [
            "started",
            "ringing",
        ]
        assert len(heard.entries) == 3


async def test_the_end_of_a_call_brings_its_whole_history() -> None:
    async with foreign() as (peer, client):
        ended = Log()
        client.on("call.ended", ended)
        await peer.say("agent.created", agent_id="front-desk")
        await peer.say(
            "whatsapp.session_started",
            session_id="wa-1",
            agent_id="front-desk",
            contact_phone="34600",
        )
        await peer.say(
            "call.started", agent_id="front-desk", call_id="c1", **{"from": "a", "to": "b"}
        )
        await peer.say(
            "user.message", agent_id="front-desk", call_id="c1", message_id="u1", text="Hi"
        )
        await peer.say("turn.end", agent_id="front-desk", call_id="c1", turn_id=1)
        await peer.say("skill.loaded", call_id="c1", skill="booking", by="model")
        await peer.say("call.updated", agent_id="front-desk", call_id="c1", language="es")
        await peer.nothing_but_pongs()
        session, call = client.calls()
        assert (session.transport, session.from_) == ("whatsapp", "34600")
        assert (call.last_message_id, call.language, call.active_skills) == (
            "u1",
            "es",
            {"booking"},
        )
        messages = [{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Hi"}]
        await peer.say(
            "call.ended",
            agent_id="front-desk",
            call_id="c1",
            reason="hangup",
            direction="inbound",
            duration_seconds=1.5,
            messages=messages,
        )
        await peer.say(
            "whatsapp.session_ended",
            session_id="wa-1",
            contact_phone="34600",
            reason="idle_timeout",
        )
        await ended.until(lambda call, reason: reason == "idle_timeout")
        assert ended.entries[0] == (call, "hangup")
        assert call.messages == messages
        assert call.duration == 1.5
        assert client.calls() == ()
