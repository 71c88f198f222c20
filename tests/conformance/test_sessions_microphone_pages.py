"""The microphone socket in the hands of a page, and of anybody else (sessions.md §7.2)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.microphone import calling, microphone, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import connected

SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "You said {text}."}]}
PAGE = "https://shop.example"
OURS, THEIRS = "+13186330963", "+14155550100"
PHONE = {"event": "start", "sample_rate": 8000, "encoding": "mulaw"}


async def pages_token(server: EmbeddedServer, origin: str = PAGE) -> str:
    """Return a token that a page got for its origin alone, without a key."""
    async with httpx.AsyncClient(base_url=server.url, headers={"Origin": origin}) as http:
        answer = await http.get("/webrtc/token", params={"agent_id": "shop"})
    assert answer.status_code == 200
    return str(answer.json()["token"])


@holds("sessions", "7.2")
@pytest.mark.parametrize(
    "start",
    [PHONE | {"to": OURS}, PHONE | {"to": OURS, "from": THEIRS}, {"event": "start", "from": "ana"}],
)
async def test_a_page_that_was_let_in_by_one_agent_calls_no_other_and_as_nobody_else(
    start: dict[str, Any],
):
    async with speaking() as server, connected(server) as owner, connected(server) as private:
        await owner.agent("shop", llm=SCRIPT, allowed_origins=[PAGE])
        await private.agent("private", llm=SCRIPT)
        await private.send("channel.add", agent_id="private", type="phone", ref=OURS)
        await private.until("channel.added")
        query = f"?token={await pages_token(server)}"
        async with microphone(server, start, query=query) as end:
            assert await end.closed() == 1008
        assert [frame["code"] for frame in end.seen] == ["BAD_START"]
        for peer in (owner, private):
            assert "call.started" not in [frame["event"] for frame in await peer.settled()]


@holds("sessions", "7.2")
async def test_a_pages_token_is_good_from_its_own_origin_and_from_no_other_page():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("shop", llm=SCRIPT, allowed_origins=[PAGE, "http://127.0.0.1:*"])
        ours = {"Origin": server.url}  # other pages than ours are turned away at the door
        query = f"?token={await pages_token(server)}"
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await websockets.connect(f"ws{server.url[4:]}/mic/ws{query}", additional_headers=ours)
        assert refusal.value.response.status_code == 403
        assert b"a page of another origin" in (refusal.value.response.body or b"")
        query = f"?token={await pages_token(server, server.url)}"
        async with microphone(server, {"event": "start"}, query=query, headers=ours) as end:
            assert (await end.until("call.started"))["agent_id"] == "shop"


@holds("sessions", "7.2")
@holds("commands", "10")
async def test_the_contact_is_the_name_that_was_sealed_and_not_the_one_the_caller_says():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, preparing=False)
        human = {"agent_id": "desk", "contact": "u_9", "text": "A human here."}
        async with calling(server, metadata={"userId": "u_9"}) as end:
            assert (await end.until("call.started"))["metadata"] == {"userId": "u_9"}
            await owner.send("session.send", **human)
            assert (await owner.until("error"))["code"] == "CALL_NOT_FOUND"
        await owner.until("call.ended")
        sealed = '{"userId":"u_9"}'
        async with calling(server, sealed=sealed, metadata={"userId": "u_1"}) as end:
            await end.until("call.started")
            await owner.send("session.send", **human)
            assert (await end.until("bot.speaking"))["text"] == "A human here."


@holds("sessions", "7.2")
async def test_too_many_keys_at_once_are_an_error_and_pressed_by_nobody():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        await owner.send("channel.add", agent_id="desk", type="phone", ref=OURS)
        async with calling(server, to=OURS, from_=THEIRS) as end:
            await end.until("call.started")
            await end.act("dtmf", digits="1" * 101)
            assert (await end.until("error"))["code"] == "INVALID_DIGITS"
            await end.act("dtmf", digits="2")
            assert (await end.until("call.dtmf_received"))["digits"] == "2"


@holds("sessions", "7.2")
async def test_a_call_that_cannot_be_opened_is_an_error_and_a_close_with_1011():
    def none(llm: Any) -> None:
        raise ValueError("no such model")

    async with speaking(models=none) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with calling(server) as end:
            assert await end.closed() == 1011
        assert [(f["event"], f["code"]) for f in end.seen] == [("error", "INTERNAL_ERROR")]
