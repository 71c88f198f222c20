"""Channels, lines, media, and what is inert here: config.md §9, §12 and §13."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import websockets

from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.conformance.told_model import ToldModel, ask, serving
from tests.fakes.engines import Engines
from tests.server.peer import Peer, bearer, connected, embedded, token

SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "You said {text}."}]}
OURS, THEIRS = "+13186330963", "+14155550100"


async def answers(peer: Peer, event: str, **fields: Any) -> list[dict[str, Any]]:
    await peer.send(event, **fields)
    return await peer.settled()


async def numbers(server: Any) -> list[str]:
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        found = (await http.get("/api/sdk/agents")).json()
    return list(found["phone_map"])


# --- phone ----------------------------------------------------------------------------------------


@holds("config", "12", "12.1")
@pytest.mark.parametrize(
    ("ref", "number"),
    [
        (OURS, OURS),
        ("13186330963", OURS),
        ("+1 (318) 633-0963", OURS),
        ("+1234567", "+1234567"),
        ("+123456789012345", "+123456789012345"),
        ("sip:Desk@pbx.example;transport=tls", "sip:Desk@pbx.example;transport=tls"),
    ],
)
async def test_a_number_is_e_164_however_it_is_written_and_a_sip_uri_stays(ref: str, number: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        (added,) = await answers(peer, "channel.add", agent_id="desk", type="phone", ref=ref)
        assert (added["event"], added["type"], added["ref"]) == ("channel.added", "phone", ref)
        assert await numbers(server) == [number]


@holds("config", "12.1")
@pytest.mark.parametrize("ref", ["+123456", "+1234567890123456", "desk", "", "+1 318 CALL"])
async def test_what_is_no_number_is_refused(ref: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        (refused,) = await answers(peer, "channel.add", agent_id="desk", type="phone", ref=ref)
        assert (refused["event"], refused["agent_id"]) == ("error", "desk")
        assert await numbers(server) == []


@holds("config", "12.1")
async def test_a_number_has_one_owner_an_organisation_and_a_line_comes_before_it():
    async with embedded() as server, connected(server) as peer, connected(server) as other:
        await peer.agent("desk", llm=SCRIPT)
        await other.agent("shop", llm=SCRIPT)
        await answers(peer, "channel.add", agent_id="desk", type="phone", ref=OURS)
        (refused,) = await answers(other, "channel.add", agent_id="shop", type="phone", ref=OURS)
        assert (refused["code"], refused["phone"]) == ("PHONE_IN_USE", OURS)
        async with connected(server, "pk_two") as stranger:
            await stranger.agent("theirs", llm=SCRIPT)
            add = {"agent_id": "theirs", "type": "phone", "ref": OURS}
            (added,) = await answers(stranger, "channel.add", **add)
            assert added["event"] == "channel.added"
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await answers(peer, "channel.add", agent_id="desk", type="phone", ref=OURS)
        await answers(peer, "line.create", number=OURS, config={"extension_window_ms": 0})
        async with calling(server, to=OURS, from_=THEIRS) as end:
            assert (await end.until("call.started"))["agent_id"] == f"line:{OURS}"
        await peer.until("call.ended")


@holds("config", "12.1")
async def test_each_number_may_have_a_configuration_of_its_own():
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        await peer.agent("desk", llm="openai/x", raw_prompt=True, preparing=False, language="en")
        for ref, language in ((OURS, "es"), (THEIRS, "pt-BR")):
            add = {"agent_id": "desk", "type": "phone", "ref": ref, "language": language}
            await answers(peer, "channel.add", **add, llm=f"openai/{language}", greeting="Hi")
        for ref, language in ((OURS, "es"), (THEIRS, "pt-BR")):
            async with calling(server, to=ref) as end:
                assert (await end.until("call.started"))["language"] == language
            await peer.until("call.ended")
            assert model.asked_for[-1] == f"openai/{language}"


# --- webrtc and chat ------------------------------------------------------------------------------


@holds("config", "12.3")
async def test_webrtc_and_chat_are_there_without_being_added_and_need_no_ref():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, preparing=False)
        assert await token(server)
        assert await token(server, kind="chat")
        assert await ask(peer, "hello") == "You said hello."
        for kind in ("webrtc", "chat"):
            (added,) = await answers(peer, "channel.add", agent_id="desk", type=kind)
            assert (added["event"], added["type"]) == ("channel.added", kind)


@holds("config", "12.3")
async def test_a_chat_speaks_the_language_that_was_sealed():
    async with embedded() as server, connected(server) as peer:
        greeting = {"en": "Hello!", "es": "¡Hola!"}
        await peer.agent("desk", llm=SCRIPT, greeting=greeting, greetingInChat=True, language="en")
        minted = await token(server, kind="chat", metadata='{"lang":"es"}')
        async with websockets.connect(f"ws{server.url[4:]}/chat/ws?token={minted}") as page:
            assert json.loads(await page.recv())["event"] == "chat.connected"
            assert json.loads(await page.recv())["text"] == "¡Hola!"
        assert (await peer.until("llm.chat.started"))["language"] == "es"


# --- origins --------------------------------------------------------------------------------------


@holds("config", "12.5")
@pytest.mark.parametrize(
    ("pattern", "origin", "status"),
    [
        ("https://site.com", "https://site.com", 200),
        ("https://site.com", "https://SITE.com", 200),
        ("https://site.com", "http://site.com", 403),
        ("https://site.com", "https://site.com:8443", 403),
        ("https://site.com", "https://www.site.com", 403),
        ("https://*.site.com", "https://a.site.com", 200),
        ("https://*.site.com", "https://a.b.site.com", 200),
        ("https://*.site.com", "https://site.com", 403),
        ("https://*.site.com", "https://evilsite.com", 403),
        ("https://*.site.com", "https://a.site.com.evil.io", 403),
        ("http://localhost:*", "http://localhost:5173", 200),
        ("http://localhost:*", "http://localhost", 200),
        ("http://localhost:*", "https://localhost:5173", 403),
        ("http://localhost:*", "http://localhost.evil.io:5173", 403),
        ("https://site.com", "null", 403),
        ("https://site.com", None, 401),
    ],
)
async def test_a_page_gets_a_token_exactly_if_its_origin_matches(
    pattern: str, origin: str | None, status: int
):
    headers = {} if origin is None else {"Origin": origin}
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url, headers=headers) as page,
    ):
        await peer.agent("desk", allowed_origins=["https://other.example", pattern])
        answer = await page.get("/webrtc/token", params={"agent_id": "desk"})
    assert answer.status_code == status
    assert answer.headers.get("access-control-allow-origin") == (origin if status == 200 else None)


@holds("config", "12.5")
@pytest.mark.parametrize("pattern", ["*", "site.com", "https://*", "ftp://a.b", "https://a.b/c"])
async def test_a_pattern_that_is_none_of_the_three_refuses_the_registration(pattern: str):
    async with embedded() as server, connected(server) as peer:
        await peer.send("agent.create", agent_id="desk", allowed_origins=[pattern])
        assert (await peer.settled())[-1]["code"] == "REGISTRATION_ERROR"


# --- lines ----------------------------------------------------------------------------------------


@holds("config", "13")
async def test_a_line_takes_what_a_line_has_and_nothing_of_an_agents():
    async with embedded(engines=Engines()) as server, connected(server) as peer:
        mine = {"stt": "deepgram/nova-3", "voice": "xai/ara", "language": "es"}
        mine |= {"turn_detection": "smart_turn", "extension_window_ms": 2500}
        (created,) = await answers(peer, "line.create", number=OURS, config=mine)
        assert (created["event"], created["number"]) == ("line.created", OURS)
        for key, value in {"llm": SCRIPT, "prompt": "x", "tools": [], "greeting": "Hi"}.items():
            (refused,) = await answers(peer, "line.create", number=THEIRS, config={key: value})
            assert (refused["event"], refused["number"]) == ("line.error", THEIRS), key
            assert refused["code"] == "LINE_CONFIG_ERROR", key
        (refused,) = await answers(peer, "line.create", number=THEIRS, config={"stt": "nobody/x"})
        assert refused["code"] == "LINE_CONFIG_ERROR"


# --- media, knowledge, memory ---------------------------------------------------------------------


@holds("config", "9")
async def test_an_agent_may_forbid_that_its_calls_are_listened_to():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, media={"live": False})
        async with calling(server) as end:
            call = (await end.until("call.started"))["call_id"]
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(f"ws{server.url[4:]}/live/{call}/ws?token=pk_one")
            assert refused.value.response.status_code == 403
        await peer.until("call.ended")


@holds("config", "9")
async def test_a_recording_is_as_long_as_it_may_be_and_the_call_goes_on(tmp_path: Any):
    media = {"recording": True, "maxDurationSeconds": 0.4}
    async with speaking(data=tmp_path) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, media=media, preparing=False)
        async with calling(server) as end:
            call = (await end.until("call.started"))["call_id"]
            await end.reached(lambda: len(end.heard) > 40)
            await end.act("inject_text", text="hello")
            await end.until("bot.finished")
        await peer.until("call.ended")
    sound = (tmp_path / "recordings" / f"{call}.wav").stat().st_size - 44
    assert sound == 2 * 2 * 16_000 * 0.4


@holds("config", "9")
async def test_knowledge_and_memory_that_are_not_here_leave_a_prompt_as_it_is():
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        asked = {"knowledge_base": "kb_nobodys", "memory": {"remember": ["names"]}}
        prompt = {"prompt": "Be kind.{{RAG_CONTEXT}}{{MEMORY}}", "raw_prompt": True}
        await peer.agent("desk", llm="openai/x", preparing=False, **asked, **prompt)
        assert await ask(peer, "hello") == "Fine."
        assert "memory.ops" not in [frame["event"] for frame in peer.seen]
    assert model.prompt == "Be kind."
