"""``POST /webrtc/offer``: who may call, who may read the answer, and what is no offer."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from typing import Any

import httpx
import pytest

from pinecall_cli.errors import EngineError
from pinecall_cli.protocol.webrtc import LARGEST_OFFER, LONGEST_SDP, OfferRefused, offer_of
from pinecall_cli.server.agents.organisation import Organisations
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.tokens import GIVEN_S, Grant, Tokens
from pinecall_cli.server.webrtc.peer import Peer
from tests.server.browser import HERE, Browser, OpusEngines, browsing, quick, speaking
from tests.server.peer import bearer, connected
from tests.server.test_chat import SCRIPT

pytestmark = pytest.mark.usefixtures("network")

EVIL = "https://evil.example"


async def refused(server: EmbeddedServer, **offer: Any) -> tuple[int, str]:
    """Offer what is no call; return status and detail."""
    page = Browser(server)
    try:
        fields = {"token": await page.token(), "sdp": await page.offer(), **offer}
        answer = await page.post(**fields)
    finally:
        await page.close()
    return answer.status_code, answer.json()["detail"]


# --- who may ---


async def test_a_token_is_good_for_one_call():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        page, again = Browser(server), Browser(server)
        token = await page.token()
        await page.call(token)
        await page.opened()
        answer = await again.post(token, await again.offer())
        assert (answer.status_code, answer.json()["detail"]) == (
            401,
            "the token is unknown, used or expired",
        )
        await page.close()
        await again.close()


async def test_an_offer_that_is_none_uses_its_token_up_as_well():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        page = Browser(server)
        token = await page.token()
        assert (await page.post(token, "nonsense")).status_code == 422
        assert (await page.post(token, await page.offer())).status_code == 401
        await page.close()


@pytest.mark.parametrize("kind", ["chat", "stream"])
async def test_tokens_of_other_kinds_call_nobody(kind: str):
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            minted = await http.get(f"/{kind}/token", params={"agent_id": "desk"})
        assert (await refused(server, token=minted.json()["token"]))[0] == 401


@pytest.mark.parametrize("token", ["", "wrtc_", 7, None, ["x"]])
async def test_what_is_no_token_calls_nobody(token: Any):
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        assert (await refused(server, token=token))[0] in (400, 401)


async def test_a_token_calls_the_agent_it_was_minted_for_and_no_namesake():
    async with speaking() as server, connected(server) as one, connected(server, "pk_two") as two:
        await one.agent("desk", llm=SCRIPT)
        await two.agent("desk", llm=SCRIPT)
        page = Browser(server)
        await page.call(await page.token(key="pk_two"))
        await page.opened()
        await two.until("call.started")
        assert not [f for f in await one.settled() if "call_id" in f]
        await page.close()


async def test_the_agent_of_a_token_may_have_left():
    async with speaking() as server:
        page = Browser(server)
        async with connected(server) as owner:
            await owner.agent("desk", llm=SCRIPT)
            token = await page.token()
            async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
                await http.delete("/api/sdk/agents/desk")
            answer = await page.post(token, await page.offer())
        assert (answer.status_code, answer.json()["detail"]) == (404, "Agent 'desk' is not online")
        await page.close()


async def test_what_the_key_sealed_wins_over_what_the_page_says():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        page = Browser(server)
        token = await page.token(metadata='{"userId":"u_9"}')
        await page.call(token, metadata={"userId": "root", "page": "/lamps"})
        await page.opened()
        started = await owner.until("call.started")
        assert started["metadata"] == {"userId": "u_9", "page": "/lamps"}
        await page.close()


async def test_a_page_is_the_contact_that_the_key_sealed_and_not_whom_it_says_it_is():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        human = {"agent_id": "desk", "contact": "u_9", "text": "A human here."}
        async with browsing(server, metadata={"userId": "u_9"}):
            await owner.until("call.started")
            await owner.send("session.send", **human)
            assert (await owner.until("error"))["code"] == "CALL_NOT_FOUND"
        await owner.until("call.ended")
        page = Browser(server)
        await page.call(await page.token(metadata='{"userId":"u_9"}'), metadata={"userId": "u_1"})
        await page.opened()
        await owner.send("session.send", **human)
        assert (await owner.until("bot.speaking"))["text"] == "A human here."
        await page.close()


async def test_a_page_chooses_its_language_and_greeting_and_no_prompt():
    chosen = {"language": "es", "greeting": "Buenos días", "prompt": "Be rude.", "llm": None}
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, prompt="Be kind.", raw_prompt=True, greeting="Hi")
        async with browsing(server, config=chosen) as page:
            assert (await page.until("message.confirmed"))["text"] == "Buenos días"
            page.send("inject_text", text="prompt")
            assert (await page.until("message.confirmed", text="Be kind."))["text"]
        assert (await owner.until("call.started"))["language"] == "es"
        await owner.until("call.ended")


# --- pages ---


async def cors(server: EmbeddedServer, origin: str, method: str = "OPTIONS") -> str | None:
    """Return which origin may read what an offer is answered."""
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.request(method, "/webrtc/offer", headers=asks, content=b"{}")
    assert answer.status_code in (204, 401)
    assert answer.headers["vary"] == "Origin"
    allowed = answer.headers.get("access-control-allow-origin")
    if method == "OPTIONS":
        assert ("access-control-allow-headers" in answer.headers) is (allowed is not None)
    return str(allowed) if allowed else None


async def test_a_page_that_is_let_in_calls_without_a_key():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, allowed_origins=[HERE])
        assert await cors(server, HERE) == HERE
        page = Browser(server)
        answer = await page.post(await page.token(key=None), await page.offer())
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == HERE
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json().keys() == {"sdp", "type", "session_id"}
        await page.close()


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
@pytest.mark.parametrize(
    "origin",
    [
        EVIL,
        "null",
        "http://shop.example",
        "https://shop.example.evil.example",
        "https://evil-shop.example",
        "https://shop.example:444",
        "https://user@shop.example",
        "https://shop.example.",
    ],
)
async def test_no_other_page_may_ask_or_read_anything(origin: str, method: str):
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, allowed_origins=[HERE])
        assert await cors(server, origin, method) is None


async def test_a_token_that_a_page_got_is_good_for_pages_of_its_origin_alone():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, allowed_origins=[HERE])
        page, thief = Browser(server), Browser(server, origin=EVIL)
        token = await page.token(key=None)
        answer = await thief.post(token, await thief.offer())
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
        await page.close()
        await thief.close()


async def test_a_key_holder_gives_its_tokens_to_pages_of_any_origin():
    """A backend hands them to its own page, which no agent need name (flows.md §8)."""
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        page = Browser(server, origin="http://localhost:5173")
        assert await cors(server, "http://localhost:5173") is None
        token = await page.token()
        assert await cors(server, "http://localhost:5173") == "http://localhost:5173"
        answer = await page.post(token, await page.offer())
        assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
        await page.close()


def test_a_key_holders_token_opens_the_route_to_all_pages_for_ten_minutes():
    now = 0.0
    tokens = Tokens(now=lambda: now)
    org = next(iter(Organisations(["pk_one"])))
    tokens.mint(Grant("webrtc", org, "desk", origin=HERE))
    tokens.mint(Grant("chat", org, "desk"))
    assert not tokens.anywhere("webrtc")
    tokens.mint(Grant("webrtc", org, "desk"))
    now = GIVEN_S - 1
    assert tokens.anywhere("webrtc")
    now = GIVEN_S
    assert not tokens.anywhere("webrtc")


def test_a_server_loads_no_webrtc_before_an_offer_comes():
    code = "import sys, pinecall_cli.server.embedded; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"aiortc", "av"} & set(loaded.stdout.split())


# --- what is no offer ---


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"sdp":', b"null"],
)
async def test_a_body_that_is_no_object_is_a_bad_request(body: bytes):
    async with speaking() as server, httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.post("/webrtc/offer", content=body)
        assert answer.status_code == 400
        assert answer.json()["detail"]


async def test_a_body_that_is_too_large_is_not_read():
    async with speaking() as server, httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.post("/webrtc/offer", content=b" " * (LARGEST_OFFER + 1))
        assert answer.status_code == 413


@pytest.mark.parametrize(
    "fields",
    [
        {"sdp": None},
        {"sdp": 7},
        {"sdp": ""},
        {"sdp": "v=0\r\n"},
        {"sdp": "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n"},
        {"sdp": "v=0" + "x" * LONGEST_SDP},
        {"type": "answer"},
        {"type": "pranswer"},
        {"config": "es"},
        {"config": {"language": 7}},
        {"config": {"voice": ["x"]}},
        {"metadata": ["x"]},
    ],
)
async def test_a_wrong_field_is_named_and_nothing_breaks(fields: dict[str, Any]):
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        status, detail = await refused(server, **fields)
        assert status == 422
        assert next(iter(fields)) in detail or "sdp" in detail


async def test_damaged_offers_are_answered_or_refused_and_never_more():
    """Whatever a stranger writes into an SDP: our answer, or `OfferRefused`."""
    async with speaking() as server:
        page = Browser(server)
        whole = (await page.offer()).split("\r\n")
        await page.close()
    dice, refusals = random.Random(7), 0
    for _ in range(1000):
        lines = list(whole)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(1, len(lines))
            match dice.randrange(4):
                case 0:
                    del lines[at]
                case 1:
                    lines[at] = lines[at][: dice.randrange(len(lines[at]) + 1)]
                case 2:
                    lines.insert(at, dice.choice(whole))
                case _:
                    cut = dice.randrange(len(lines[at]) + 1)
                    lines[at] = lines[at][:cut] + dice.choice("9é\0 :/-=") + lines[at][cut:]
        try:
            sdp = offer_of({"sdp": "\r\n".join(lines), "token": "any"}).sdp
        except OfferRefused:
            refusals += 1
            continue
        peer = Peer()
        try:
            assert (await peer.answer(sdp)).startswith("v=0")
        except OfferRefused:
            refusals += 1
        await peer.close()
    assert 200 < refusals < 1000


# --- what this server cannot ---


async def test_without_the_extra_a_page_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    for module in ("peer", "sound"):
        monkeypatch.delitem(sys.modules, f"pinecall_cli.server.webrtc.{module}")
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        page = Browser(server)
        sdp = await page.offer()
        monkeypatch.setitem(sys.modules, "aiortc", None)
        answer = await page.post(await page.token(), sdp)
        monkeypatch.undo()
        assert answer.status_code == 501
        assert "pip install 'pinecall-cli[webrtc]'" in answer.json()["detail"]
        await page.close()


async def test_a_server_holds_so_many_pages_and_no_more():
    async with speaking(**quick(page_calls=1)) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server):
            status, detail = await refused(server)
            assert (status, detail[:18]) == (503, "SERVER_AT_CAPACITY")
        await owner.until("call.ended")
        async with browsing(server):
            pass
        await owner.until("call.ended")


async def test_offers_that_come_at_once_find_no_more_places_than_one_after_the_other():
    async with speaking(**quick(page_calls=1)) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        pages = [Browser(server) for _ in range(4)]
        asked = [(page, await page.token(), await page.offer()) for page in pages]
        answers = await asyncio.gather(*(page.post(token, sdp) for page, token, sdp in asked))
        assert sorted(answer.status_code for answer in answers) == [200, 503, 503, 503]
        for page in pages:
            await page.close()


async def test_a_page_finds_no_place_among_the_calls_that_a_server_can_hold():
    async with speaking(**quick(voice_calls=1)) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server):
            status, detail = await refused(server)
            assert (status, detail[:18]) == (503, "SERVER_AT_CAPACITY")
        await owner.until("call.ended")


class Mute(OpusEngines):
    """Engines that could not be loaded."""

    async def wait(self) -> Any:
        raise EngineError("no voice here", fix="get one")


async def test_a_server_without_speech_says_so_and_why_in_its_log(caplog: pytest.LogCaptureFixture):
    async with speaking(engines=Mute()) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        status, detail = await refused(server)
        assert (status, detail[:17]) == (503, "speech is missing")
    assert "no voice here" not in detail
    assert "no voice here" in caplog.text
