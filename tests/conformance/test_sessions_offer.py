"""A page's token, its offer and the answer; a listener's key: sessions.md §1.1, §2 and §4."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.server.app import Limits
from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.browser import Browser
from tests.server.browser import speaking as with_opus
from tests.server.peer import bearer, connected, embedded, token

SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "You said {text}."}]}


async def status(server: Any, path: str) -> int:
    """Return how the upgrade to a socket is answered."""
    try:
        async with websockets.connect(f"ws{server.url[4:]}{path}"):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


@holds("sessions", "1.1")
@holds("rest", "2.2", "2.3")
async def test_a_chats_token_can_stand_in_an_address_as_it_is_and_is_good_once():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        minted = await token(server, kind="chat")
        assert re.fullmatch(r"cht_[A-Za-z0-9_-]+", minted)
        assert await status(server, f"/chat/ws?token={minted}") == 101
        for bad in (minted, "", "cht_x", await token(server), await token(server, kind="stream")):
            assert await status(server, f"/chat/ws?token={bad}") == 401, bad
        # A handshake that failed has used the token up.
        minted = await token(server, kind="chat")
        assert await status(server, f"/mic/ws?token={minted}") == 401
        assert await status(server, f"/chat/ws?token={minted}") == 401


@holds("rest", "2.2", "2.3")
@pytest.mark.parametrize("kind", ["webrtc", "chat", "stream"])
async def test_a_tokens_answer_says_what_a_browser_needs(kind: str):
    prefixes = {"webrtc": ("wrtc_", "wrt_"), "chat": ("cht_",), "stream": ("",)}
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url, headers=bearer()) as http,
    ):
        missing = await http.get(f"/{kind}/token", params={"agent_id": "desk"})
        assert missing.status_code == 404
        assert missing.json() == {"detail": "Agent 'desk' is not online"}
        assert (await http.get(f"/{kind}/token")).status_code == 422
        await peer.agent("desk", llm=SCRIPT)
        body = (await http.get(f"/{kind}/token", params={"agent_id": "desk"})).json()
        assert body.keys() == {"token", "server", "expires_in"}
        assert body["token"].startswith(prefixes[kind])
        assert body["server"] == server.url.rstrip("/")
        assert (body["expires_in"], isinstance(body["expires_in"], int)) == (60, True)
        await peer.send("agent.remove", agent_id="desk")
        await peer.settled()
        assert (await http.get(f"/{kind}/token?agent_id=desk")).status_code == 404


@holds("README", "10")
@holds("rest", "2.2")
@pytest.mark.parametrize("kind", ["webrtc", "chat", "stream"])
async def test_tokens_are_refused_for_want_of_room_until_the_agent_has_found_some(kind: str):
    async with (
        embedded(limits=Limits(agents=1)) as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url, headers=bearer()) as http,
    ):

        async def asked() -> tuple[int, str]:
            answer = await http.get(f"/{kind}/token", params={"agent_id": "shop"})
            return answer.status_code, answer.json().get("detail", "")[:18]

        await peer.agent("desk", llm=SCRIPT)
        assert (await asked())[0] == 404
        async with connected(server) as late:
            assert (await late.agent("shop", llm=SCRIPT))["code"] == "SERVER_AT_CAPACITY"
            assert await asked() == (503, "SERVER_AT_CAPACITY")
            await peer.send("agent.remove", agent_id="desk")
            await peer.settled()
            assert (await late.agent("shop", llm=SCRIPT))["event"] == "agent.created"
            assert (await asked())[0] == 200
            assert (await peer.agent("desk", llm=SCRIPT))["code"] == "SERVER_AT_CAPACITY"
        await peer.settled()


@holds("sessions", "2")
@pytest.mark.usefixtures("network")
async def test_an_offer_is_answered_whole_with_one_section_of_audio_both_ways():
    async with with_opus() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        page = Browser(server)
        answer = await page.post(await page.token(), await page.offer())
        await page.close()
        assert answer.status_code == 200
        body = answer.json()
        await peer.until("call.started")
    assert body["type"] == "answer"
    sections = re.split(r"^(?=m=)", body["sdp"], flags=re.MULTILINE)[1:]
    (audio,) = [section for section in sections if section.startswith("m=audio")]
    assert "a=sendrecv" in audio
    assert "a=candidate:" in audio
    assert re.search(r"a=rtpmap:\d+ opus/48000/2", audio, re.IGNORECASE)
    assert len(sections) == 2


@holds("sessions", "2", "3.2")
@holds("config", "12.4", "12.3")
@pytest.mark.usefixtures("network")
async def test_an_offer_chooses_what_a_page_may_and_says_of_itself_what_is_not_sealed():
    chosen = {"language": "es", "greeting": "¡Hola!", "voice": "polly/lucia", "flash": True}
    refused = {"prompt": "Be rude.", "llm": "openai/x", "tools": [], "raw_prompt": False}
    async with with_opus() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, greeting="Hello!", prompt="Be kind.")
        page = Browser(server)
        minted = await page.token(metadata='{"plan":"free"}')
        mine = {"plan": "gold", "page": "/lamps"}
        await page.call(minted, config=chosen | refused, metadata=mine)
        started = await peer.until("call.started")
        assert (started["language"], started["transport"]) == ("es", "webrtc")
        assert started["metadata"] == {"plan": "free", "page": "/lamps"}
        assert (await page.until("bot.speaking"))["text"] == "¡Hola!"
        await page.close()
        await peer.until("call.ended")


@holds("sessions", "4")
async def test_whoever_may_not_listen_is_turned_away_at_the_upgrade():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        async with calling(server) as end:
            call = (await end.until("call.started"))["call_id"]
            for query, wanted in (
                (f"{call}/ws?token=pk_one", 101),
                (f"{call}/ws?token=pk_two", 404),
                (f"{call}/ws?token=pk_no", 401),
                (f"{call}/ws", 401),
                ("none/ws?token=pk_one", 404),
            ):
                assert await status(server, f"/live/{query}") == wanted, query
        await peer.until("call.ended")


@holds("sessions", "4")
@holds("config", "9")
@pytest.mark.parametrize(("media", "wanted"), [({}, 403), ({"live": True}, 101)], ids=str)
async def test_where_calls_are_not_the_developers_own_an_agent_must_allow_it(
    media: dict[str, Any], wanted: int
):
    async with speaking() as server, connected(server) as peer:
        server.server.own_calls = False  # as on another interface than the loopback
        await peer.agent("desk", llm=SCRIPT, media=media)
        async with calling(server) as end:
            call = (await end.until("call.started"))["call_id"]
            assert await status(server, f"/live/{call}/ws?token=pk_one") == wanted
        await peer.until("call.ended")
