"""Ids, slugs and addresses (README §2, §3)."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
import websockets

from tests.conformance.answered import OURS, SCRIPT, THEIRS
from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.front_door import ask, keyed
from tests.server.peer import bearer, connected, embedded, unauthenticated

MESSAGE = r"msg_[a-z0-9]{12}"
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
RESERVED = ("chat-", "wa-", "line:")

# --- shapes -------------------------------------------------------------------------------------


@holds("README", "2.1")
async def test_messages_that_the_server_makes_have_ids_of_twelve_characters():
    async with speaking({0: "hello"}) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, greeting="Hi", preparing=False)
        async with calling(server) as caller:
            await owner.until("bot.finished")
            caller.say(0)
            await owner.until("message.confirmed", text="You said hello.")
            await caller.hang_up()
        await owner.until("call.ended")
    named = {f["message_id"] for f in owner.seen if "message_id" in f}
    assert len(named) == 3, "the greeting, the user's message and the reply"
    for message in named:
        assert re.fullmatch(MESSAGE, message)


@holds("README", "2.1")
async def test_a_message_of_the_clients_keeps_the_id_that_it_chose():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk")
        await owner.send("llm.chat", agent_id="desk", session_id="chat-1", text="hi")
        turn = await owner.until("turn.end")
        assert re.fullmatch(MESSAGE, turn["message_id"])
        said = {"text": "Hi.", "in_reply_to": turn["message_id"], "call_id": "chat-1"}
        await owner.send("bot.reply", message_id="anything I like", **said)
        assert (await owner.until("bot.finished"))["message_id"] == "anything I like"


@holds("README", "2.1")
async def test_a_phone_call_has_a_carriers_id_and_a_web_call_none_of_another_kind():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk")
        await owner.send("channel.add", agent_id="desk", type="phone", ref=OURS)
        await owner.until("channel.added")
        async with calling(server, to=OURS, from_=THEIRS):
            phone = await owner.until("call.started", transport="phone")
        async with calling(server):
            web = await owner.until("call.started", transport="webrtc")
    assert re.fullmatch(r"CA[0-9a-f]{32}", phone["call_id"])
    assert re.fullmatch(rf"{UUID}|wrt_\w+", web["call_id"])


@holds("README", "2.1")
async def test_a_pages_chat_begins_with_chat_and_another_is_called_as_its_sender_says():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            token = (await http.get("/chat/token?agent_id=desk")).json()["token"]
        async with websockets.connect(f"ws{server.url[4:]}/chat/ws?token={token}") as page:
            await page.send(json.dumps({"action": "message", "text": "hi"}))
            assert (await owner.until("llm.chat.started"))["call_id"].startswith("chat-")
        for session in ("test-mt3janpy-t6jv", "chat-mt3janpy-t6jv"):
            await owner.send("llm.chat", agent_id="desk", session_id=session, text="hi")
            await owner.until("llm.chat.started", call_id=session)


@holds("README", "2.1")
async def test_tokens_say_what_they_are_for():
    shapes = {"webrtc": r"(wrtc|wrt|tok)_\S+", "chat": r"(cht|tok)_\S+"}
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk")
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            for kind, shape in shapes.items():
                token = (await http.get(f"/{kind}/token?agent_id=desk")).json()["token"]
                assert re.fullmatch(shape, token)


@holds("README", "2.1")
async def test_a_whatsapp_session_is_wa_and_twelve_hex_digits():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, preparing=False)
        channel = {"type": "whatsapp", "ref": "1234", "accessToken": "EAA"}
        await owner.send("channel.add", agent_id="desk", **channel)
        await owner.until("channel.added")
        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.post("/whatsapp/webhook", json=written("hi"))).status_code == 200
        started = await owner.until("whatsapp.session_started")
    assert re.fullmatch(r"wa-[0-9a-f]{12}", started["session_id"])


def written(text: str) -> dict[str, Any]:
    """Return what Meta posts when somebody writes."""
    message = {"from": "34600123456", "id": "wamid.1", "type": "text", "text": {"body": text}}
    value = {
        "metadata": {"phone_number_id": "1234"},
        "contacts": [{"wa_id": "34600123456", "profile": {"name": "Ana"}}],
        "messages": [message],
    }
    return {"entry": [{"changes": [{"field": "messages", "value": value}]}]}


@holds("README", "2.1")
async def test_no_id_of_one_kind_looks_like_one_of_another():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", greeting="Hi")
        async with calling(server) as caller:
            await owner.until("bot.finished")
            await caller.hang_up()
        hello = next(iter(owner.seen))
        ids = {hello["connection_id"], hello["org_id"]}
        for frame in owner.seen:
            ids |= {frame[key] for key in ("call_id", "message_id", "agent_id") if key in frame}
    assert len(ids) == 5
    assert not [one for one in ids if one.startswith(RESERVED)]


# --- slugs --------------------------------------------------------------------------------------


@holds("README", "2.2")
@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Agent", "my-agent"),
        ("futbolAgent", "futbolagent"),
        ("  front desk \t", "front-desk"),
        ("a_b__c  d_ e", "a-b-c-d-e"),
        ("Café & Bar!", "caf-bar"),
        ("--x--y--", "x-y"),
        ("Nº 7", "n-7"),
        ("a.b/c", "abc"),
    ],
)
async def test_a_slug_is_made_of_the_name_as_the_page_says(name: str, slug: str):
    async with embedded() as server, connected(server) as peer:
        assert (await peer.agent(name))["agent_id"] == slug
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            listed = (await http.get("/api/sdk/agents")).json()["agents"]
        assert [agent["slug"] for agent in listed] == [slug]


@holds("README", "2.2")
async def test_an_agent_answers_to_its_name_its_slug_and_the_compound_of_organisation_and_slug():
    async with embedded() as server, connected(server) as peer:
        org = peer.seen[0]["org_id"]
        await peer.agent("My Agent", llm=SCRIPT)
        for n, name in enumerate(("My Agent", "my-agent", f"{org}:my-agent", "MY_AGENT")):
            await peer.send("agent.configure", agent_id=name, prompt="x")
            assert (await peer.until("agent.configured"))["agent_id"] == "my-agent"
            await peer.send("llm.chat", agent_id=name, session_id=f"chat-{n}", text="hi")
            await peer.until("llm.chat.done", session_id=f"chat-{n}")
    for frame in peer.seen:
        assert frame.get("agent_id", "my-agent") == "my-agent"


@holds("README", "2.2")
async def test_a_line_is_addressed_by_its_number_in_the_spelling_it_was_created_with():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk")
        await owner.send("line.create", number=OURS, config={"extension_window_ms": 0})
        await owner.until("line.created", number=OURS)
        async with calling(server, to="1 318 633-0963", from_=THEIRS) as caller:
            await owner.until("call.started")
            await caller.hang_up()
        await owner.until("call.ended")
    assert {f["agent_id"] for f in owner.seen if "call_id" in f} == {f"line:{OURS}"}


# --- addresses ----------------------------------------------------------------------------------


@holds("README", "3.1")
async def test_the_agent_socket_is_at_client_and_takes_no_key_in_its_address_or_headers():
    headers = {"additional_headers": bearer()}
    async with embedded() as server, unauthenticated(server, **headers) as peer:
        await peer.send("agent.create", agent_id="a")
        assert (await peer.receive())["code"] == "UNAUTHORIZED"
        await peer.send("connect", api_key="pk_one")
        assert (await peer.receive())["event"] == "connected"


@holds("README", "3.1")
@pytest.mark.parametrize("kind", ["webrtc", "chat"])
async def test_a_base_address_that_ends_in_a_slash_gives_tokens_all_the_same(kind: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a")
        answer = ask(server, "GET", f"//{kind}/token?agent_id=a", keyed())
        assert answer.status == 200
        told = json.loads(answer.body)
        assert told["token"]
        assert told["expires_in"] == 60


@holds("README", "3.1")
@pytest.mark.parametrize(
    "path", ["/client", "//client", "/chat/ws", "/ws/stream", "/mic/ws"], ids=lambda path: path[1:]
)
async def test_every_socket_is_where_the_page_says(path: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a")
        kind = {"/chat/ws": "chat", "/ws/stream": "stream"}.get(path, "webrtc")
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            token = (await http.get(f"/{kind}/token?agent_id=a")).json()["token"]
        async with websockets.connect(f"ws{server.url[4:]}{path}?token={token}&agent=a"):
            pass
