"""The microphone socket: sessions.md §7.2."""

from __future__ import annotations

from typing import Any

import pytest
import websockets

from pinecall_cli.server.app import Limits
from tests.conformance.microphone import calling, microphone, speaking, waiting
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, bearer, connected, token

SCRIPT: dict[str, Any] = {
    "provider": "script",
    "rules": [
        {"on": "order", "call": {"lookup": {"id": "7"}}, "say": "It is {result.status}."},
        {"on": "prompt", "say": "{prompt}"},
        {"say": "You said {text}."},
    ],
}
OURS, THEIRS = "+13186330963", "+14155550100"
STAMPS = {"agent_id", "call_id", "seq", "ts"}


async def phone(peer: Peer, **payload: Any) -> None:
    await peer.agent("desk", llm=SCRIPT, **payload)
    await peer.send("channel.add", agent_id="desk", type="phone", ref=OURS)
    await peer.until("channel.added")


async def refused(server: Any, query: str, headers: dict[str, str] | None = None) -> int:
    url = f"ws{server.url[4:]}/mic/ws{query}"
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await websockets.connect(url, additional_headers=headers or {})
    return refusal.value.response.status_code


@holds("sessions", "7.2")
async def test_a_token_is_consumed_at_the_upgrade_and_any_other_is_a_401():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        minted = await token(server)
        async with websockets.connect(f"ws{server.url[4:]}/mic/ws?token={minted}"):
            assert await refused(server, f"?token={minted}") == 401
        for query in ("", "?token=", "?token=wrtc_x", f"?token={await token(server, kind='chat')}"):
            assert await refused(server, query) == 401, query
        assert await refused(server, "?token=x", bearer()) == 401


@holds("sessions", "7.2")
@pytest.mark.parametrize(
    "first",
    [
        {"event": "begin"},
        {"event": "start", "sample_rate": 44_100},
        {"event": "start", "sample_rate": 16_000, "encoding": "mulaw"},
        {"event": "start", "encoding": "opus"},
        {"event": "start", "channels": 2},
        {"action": "hangup"},
    ],
)
async def test_a_bad_first_frame_is_an_error_and_a_close_with_1008(first: dict[str, Any]):
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        async with microphone(server, first, query=f"?token={await token(server)}") as end:
            assert await end.closed() == 1008
            (told,) = end.seen
        assert told.keys() >= {"event", "code", "error"}
        assert told["event"] == "error"
        assert "call.started" not in [frame["event"] for frame in await peer.settled()]


@holds("sessions", "7.2")
@pytest.mark.parametrize(
    ("format", "size"),
    [
        ({"sample_rate": 8000, "encoding": "mulaw"}, 160),
        ({"sample_rate": 8000}, 320),
        ({"sample_rate": 16_000}, 640),
        ({"sample_rate": 24_000}, 960),
        ({"sample_rate": 48_000}, 1920),
    ],
)
async def test_sound_comes_in_the_callers_format_20_ms_a_message_from_the_start(
    format: dict[str, Any], size: int
):
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        async with calling(server, **format) as end:
            await end.reached(lambda: len(end.heard) == 10)
            assert end.order[0] == "call.started"
            assert {len(frame) for frame in end.heard} == {size}
            await end.act("hangup")
            assert await end.closed() == 1000


@holds("sessions", "7.2")
async def test_every_frame_of_the_call_is_the_agents_own_and_call_ended_the_last():
    async with speaking({1: "an order"}) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, greeting="Hi.", preparing=False)
        async with calling(server) as end:
            await end.until("bot.finished")
            end.say(1, 700)
            call = await peer.until("llm.tool_call")
            await peer.send(
                "llm.tool_result",
                call_id=call["call_id"],
                msg_id=call["msg_id"],
                results=[
                    {"tool_call_id": call["tool_calls"][0]["id"], "result": {"status": "sent"}}
                ],
            )
            await end.until("message.confirmed", text="It is sent.")
            await end.act("hangup")
            assert await end.closed() == 1000
        await peer.until("call.ended")
        mine = [frame for frame in peer.seen if "call_id" in frame]
        assert end.seen == mine
        assert all(frame.keys() >= STAMPS for frame in end.seen)
        names = [frame["event"] for frame in end.seen]
        assert (names[0], names[-1]) == ("call.started", "call.ended")
        assert {"turn.end", "turn.latency", "llm.tool_call", "llm.tool_result"} < set(names)
        seqs = [frame["seq"] for frame in end.seen]
        assert seqs == sorted(set(seqs))


@holds("sessions", "7.2")
async def test_without_to_a_call_is_webrtc_and_what_was_sealed_wins():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        mine = {"plan": "gold", "page": "/lamps"}
        async with calling(server, sealed='{"plan":"free"}', metadata=mine) as end:
            started = await end.until("call.started")
        assert (started["from"], started["to"]) == ("webrtc", "webrtc")
        assert (started["transport"], started["direction"]) == ("webrtc", "inbound")
        assert started["metadata"] == {"plan": "free", "page": "/lamps"}
        async with calling(server, from_="ana") as end:
            assert (await end.until("call.started"))["from"] == "ana"


@holds("sessions", "7.2")
async def test_with_to_it_is_a_phone_call_routed_by_the_number():
    async with speaking() as server, connected(server) as peer, connected(server) as dev:
        await phone(peer)
        await peer.agent("other", llm=SCRIPT)
        async with calling(server, "other", to=OURS, from_=THEIRS) as end:
            started = await end.until("call.started")
        assert (started["agent_id"], started["transport"]) == ("desk", "phone")
        assert (started["from"], started["to"]) == (THEIRS, OURS)
        assert started["call_id"].startswith("CA")
        await dev.send("dev.config", callers=[THEIRS])
        await dev.agent("dev-desk", llm=SCRIPT)
        await dev.send("channel.add", agent_id="dev-desk", type="phone", ref=OURS)
        await dev.until("channel.added")
        async with calling(server, "other", to=OURS, from_=THEIRS) as end:
            assert (await end.until("call.started"))["agent_id"] == "dev-desk"
        async with calling(server, "other", to=OURS, from_="+14155550199") as end:
            assert (await end.until("call.started"))["agent_id"] == "desk"


@holds("sessions", "7.2")
async def test_a_phone_call_must_be_mu_law_and_its_number_somebodys():
    async with speaking() as server, connected(server) as peer:
        await phone(peer)
        for wrong in (
            {"to": OURS, "encoding": "pcm_s16le"},
            {"to": "+19995550123"},
            {"to": "no number"},
        ):
            async with calling(server, **wrong) as end:
                assert await end.closed() == 1008, wrong
            assert [frame["event"] for frame in end.seen] == ["error"]


@holds("sessions", "7.2")
async def test_keys_are_pressed_on_phone_calls_and_refused_on_others():
    async with speaking() as server, connected(server) as peer:
        await phone(peer)
        async with calling(server, to=OURS, from_=THEIRS) as end:
            await end.until("call.started")
            await end.act("dtmf", digits="12#")
            keys = [(await peer.until("call.dtmf_received"))["digit"] for _ in range(3)]
            assert keys == ["1", "2", "#"]
        async with calling(server) as end:
            await end.until("call.started")
            await end.act("dtmf", digits="1")
            assert (await end.until("error"))["code"] == "NOT_PHONE"
            await end.socket.send("ping")
            await end.act("hangup")
            assert (await end.until("call.ended"))["reason"] == "hangup"
            assert await end.closed() == 1000


@holds("sessions", "7.2", "3.1")
async def test_the_actions_of_the_data_channel_are_obeyed_here_too():
    async with speaking({1: "hello"}) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Be kind.", raw_prompt=True, preparing=False)
        async with calling(server) as end:
            await end.until("call.started")
            await end.act("mute")
            end.say(1, 500)
            await end.act("set_context", key="page", value="/pricing")
            await end.act("inject_text", text="prompt")
            confirmed = await end.until("message.confirmed")
            assert confirmed["text"].split() == [
                "Be",
                "kind.",
                "##",
                "UI",
                "Context",
                "###",
                "page",
                "/pricing",
            ]
            assert not end.of("speech.started")
            await end.act("set_context", key="page", value=None)
            await end.act("configure", language="es")
            assert (await end.until("call.updated"))["language"] == "es"
            await end.act("unmute")
            end.say(1, 700)
            await end.until("user.message", text="hello")
        await peer.until("call.ended")


@holds("sessions", "7.2")
async def test_what_is_said_stops_within_what_a_client_buffers_when_it_is_interrupted():
    story = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    async with speaking({1: "stop it now"}) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, greeting=story)
        async with calling(server) as end:
            await end.reached(lambda: sum(any(frame) for frame in end.heard) > 25)
            end.say(1, 900)
            await end.until("bot.interrupted")
            at = end.order.index("bot.interrupted")
            await end.until("user.message")
            sounds = iter(end.heard[end.order[:at].count("sound") :])
            later = [any(next(sounds)) for kind in end.order[at:] if kind == "sound"]
            assert not any(later[:-25][3:])
        await peer.until("call.ended")


@holds("sessions", "7.2")
async def test_a_terminal_that_waits_rings_and_takes_the_call():
    async with speaking() as server, connected(server) as peer:
        await phone(peer)
        async with waiting(server, THEIRS) as end:
            await end.until("answer.ready")
            await peer.send("call.dial", **{"agent_id": "desk", "to": THEIRS, "from": OURS})
            ringing = await end.until("call.ringing")
            assert (ringing["from"], ringing["to"]) == (OURS, THEIRS)
            assert not end.of("call.started")
            await end.act("accept")
            started = await end.until("call.started")
            assert (started["direction"], started["call_id"]) == ("outbound", ringing["call_id"])
            await end.reached(lambda: len(end.heard) == 3)
            assert {len(frame) for frame in end.heard} == {160}
            await end.act("hangup")
            assert await end.closed() == 1000
        assert (await peer.until("call.ended"))["reason"] == "hangup"


@holds("sessions", "7.2")
@pytest.mark.parametrize("reason", ["busy", "rejected"])
async def test_a_terminal_may_turn_a_call_away(reason: str):
    async with speaking() as server, connected(server) as peer:
        await phone(peer)
        async with waiting(server, THEIRS) as end:
            await end.until("answer.ready")
            await peer.send("call.dial", **{"agent_id": "desk", "to": THEIRS, "from": OURS})
            await end.until("call.ringing")
            await end.act("reject", reason=reason)
            assert (await peer.until("call.ended"))["reason"] == reason


@holds("sessions", "7.2")
async def test_of_several_terminals_all_ring_and_the_first_to_accept_has_the_call():
    async with speaking() as server, connected(server) as peer:
        await phone(peer)
        async with waiting(server, THEIRS) as one, waiting(server, THEIRS) as two:
            for end in (one, two):
                await end.until("answer.ready")
            await peer.send("call.dial", **{"agent_id": "desk", "to": THEIRS, "from": OURS})
            for end in (one, two):
                await end.until("call.ringing")
            await two.act("accept")
            await two.until("call.started")
            await one.until("call.ended")
            await one.act("accept")
            assert (await one.until("error"))["code"] == "NOT_RINGING"


@holds("sessions", "7.2")
async def test_a_call_that_nobody_takes_is_not_answered():
    limits = Limits(ring_timeout_s=0.1)
    async with speaking(limits=limits) as server, connected(server) as peer:
        await phone(peer)
        async with waiting(server, THEIRS) as end:
            await end.until("answer.ready")
            await peer.send("call.dial", **{"agent_id": "desk", "to": THEIRS, "from": OURS})
            assert (await peer.until("call.ended"))["reason"] == "no-answer"
            await end.until("call.ended", reason="no-answer")


@holds("sessions", "7.2")
async def test_waiting_needs_the_key_and_calling_a_token():
    async with speaking() as server, connected(server) as peer:
        await phone(peer)
        answer = {"event": "answer", "number": THEIRS}
        async with microphone(server, answer, query=f"?token={await token(server)}") as end:
            assert await end.closed() == 1008
        async with microphone(server, {"event": "start"}, headers=bearer()) as end:
            assert await end.closed() == 1008
        assert await refused(server, "", bearer("pk_no")) == 401
