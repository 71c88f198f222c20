"""flows.md §8, §9: a browser calls, and somebody listens."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
import websockets

from tests.conformance.desk import OURS, SCRIPT, THEIRS, desk, hears_always, registered, with_number
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.server.browser import HERE, Browser, speaking
from tests.server.peer import PATIENCE_S, bearer, connected

SAID = json.dumps({"userId": "u9", "plan": "gold"})


@pytest.mark.usefixtures("network")
@holds("flows", "8")
@holds("open-questions", "D", "E")
async def test_a_browser_calls_with_a_token_of_its_backend():
    async with speaking() as server, connected(server) as owner:
        await registered(owner, llm=SCRIPT, preparing=False, greeting="Hi.", language="en")
        async with httpx.AsyncClient(base_url=server.url) as http:
            query = {"agent_id": "desk", "metadata": SAID}
            minted = await http.get("/webrtc/token", params=query, headers=bearer())
            ice = await http.get("/webrtc/ice-servers", headers={"Origin": HERE})
        told = minted.json()
        assert minted.status_code == 200
        assert told["token"].startswith(("wrtc_", "wrt_"))
        assert (told["server"], told["expires_in"]) == (server.url, 60)
        assert ice.json() == {"iceServers": []}, "on loopback: nobody waits for a STUN server"
        page = Browser(server)
        try:
            metadata = {"plan": "free", "page": "/lamps"}
            await page.call(told["token"], metadata=metadata)
            started = await owner.until("call.started")
            await page.opened()
            greeting = await page.until("bot.speaking")
            await page.hears(audible=True)
            await page.until("bot.finished")
        finally:
            await page.close()
        ended = await owner.until("call.ended")
        refused = await Browser(server).post(told["token"], "v=0")
    expected = {"from": "webrtc", "to": "webrtc", "transport": "webrtc", "language": "en"}
    assert expected.items() <= started.items()
    # What the backend sealed wins over what the page says.
    assert started["metadata"] == {"userId": "u9", "plan": "gold", "page": "/lamps"}
    assert greeting["text"] == "Hi."
    assert not any("agent_id" in frame for frame in page.seen)
    assert ended["reason"] == "disconnected"
    assert refused.status_code == 401, "a token is good for one call"


@pytest.mark.usefixtures("network")
@holds("flows", "8")
async def test_a_public_agent_gives_tokens_to_its_own_pages_and_seals_nothing_for_them():
    async with speaking() as server, connected(server) as owner:
        await registered(owner, llm=SCRIPT, allowed_origins=[HERE])
        async with httpx.AsyncClient(base_url=server.url) as http:

            async def ask(origin: str, **query: str) -> httpx.Response:
                params = {"agent_id": "desk", **query}
                return await http.get("/webrtc/token", params=params, headers={"Origin": origin})

            own, foreign = await ask(HERE, metadata=SAID), await ask("https://evil.example")
        page = Browser(server)
        try:
            await page.call(own.json()["token"])
            started = await owner.until("call.started")
        finally:
            await page.close()
    assert own.headers["access-control-allow-origin"] == HERE
    assert started["metadata"] == {}
    assert foreign.status_code in (401, 403)
    assert "detail" in foreign.json()
    assert "access-control-allow-origin" not in foreign.headers


@holds("flows", "8")
async def test_a_call_with_metadata_waits_for_its_configuration_before_it_greets():
    async with desk(hears_always(""), greeting={"en": "Hi.", "es": "Hola."}) as (server, owner):
        async with calling(server, metadata={"userId": "u9"}) as caller:
            id = (await owner.until("call.started"))["call_id"]
            await owner.send("session.configure", session_id=id, greeting="Hi Ana.")
            greeting = await owner.until("bot.speaking")
            await caller.hang_up()
    assert greeting["text"] == "Hi Ana."


@holds("flows", "9")
async def test_a_listener_hears_both_sides_to_the_end():
    async with desk(hears_always(""), greeting="one two three four five", media={"live": True}) as (
        server,
        owner,
    ):
        await with_number(owner)
        async with calling(server, to=OURS, from_=THEIRS) as caller:
            id = (await owner.until("call.started"))["call_id"]
            url = f"ws{server.url[4:]}/live/{id}/ws?token=pk_one"
            async with websockets.connect(url) as listener, asyncio.timeout(PATIENCE_S):
                hello = json.loads(await listener.recv())
                sound = [await listener.recv() for _ in range(10)]
                await caller.act("hangup")
                rest = [frame async for frame in listener]
                assert listener.close_code == 1000
    assert hello == {
        "type": "metadata",
        "sampleRate": 8000,
        "channels": 1,
        "bitDepth": 16,
        "sessionId": id,
    }
    assert {len(frame) for frame in sound[1:]} == {800}, "50 ms at 8 kHz"
    assert any(any(frame) for frame in sound)
    assert rest[-1] == b""


@holds("flows", "9")
async def test_a_key_of_somebody_else_hears_nothing():
    async with desk(hears_always("")) as (server, owner), calling(server):
        id = (await owner.until("call.started"))["call_id"]
        for key in ("pk_two", "pk_wrong"):
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with websockets.connect(f"ws{server.url[4:]}/live/{id}/ws?token={key}"):
                    pass
            assert refused.value.response.status_code in (401, 404)
