"""events.md §10, §13: text sessions, seen by an agent's owner and by whoever writes."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from tests.conformance.desk import BROKEN, LOOKUP, Frame, desk, names, of, of_call, one
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected

META, ANA, SECRET = "123456789012345", "34600123456", "shh"


async def ask(peer: Peer, text: str, session: str = "chat-1", **fields: Any) -> None:
    """Write to ``desk``."""
    await peer.send("llm.chat", agent_id="desk", session_id=session, text=text, **fields)


@holds("events", "10.1", "10.2")
async def test_owner_and_sender_each_hear_their_own_family():
    async with desk(language="en") as (server, owner), connected(server) as sender:
        await ask(sender, " hello ", metadata={"userId": "u_9"})
        done = await sender.until("llm.chat.done")
        response = await owner.until("chat.response")
    started, *tokens, last = sender.seen[1:]
    assert (started["event"], last) == ("llm.chat.started", done)
    assert started["model"] == done["model"]
    assert done["text"] == "You said hello."
    assert set(names(tokens)) == {"llm.chat.token"}
    assert "".join(token["token"] for token in tokens) == done["text"]
    for before, token in zip([{"text": ""}, *tokens], tokens, strict=False):
        assert token["text"] == before["text"] + token["token"]
    for frame in sender.seen[1:]:
        assert (frame["session_id"], frame["agent_id"]) == ("chat-1", "desk")
    heard = of_call(owner.seen, "chat-1")
    assert names(heard) == ["llm.chat.started", "chat.message", "chat.response"]
    assert heard[0]["metadata"] == {"userId": "u_9"}
    assert heard[0]["language"] == "en"
    assert heard[1]["text"] == "hello"
    assert response["text"] == done["text"]
    assert {frame["agent_id"] for frame in heard} == {"desk"}


@holds("events", "10.1")
async def test_a_session_starts_once_for_the_owner_and_has_one_response_a_message():
    async with desk() as (_, peer):
        for text in ("one", "two"):
            await ask(peer, text)
            await peer.until("llm.chat.done", text=f"You said {text}.")
        heard = names(of_call(peer.seen, "chat-1"))
    assert heard.count("llm.chat.started") == 1
    assert heard.count("chat.message") == heard.count("chat.response") == 2
    assert "llm.chat.chunk" not in heard
    assert "bot.speaking" not in heard


@holds("events", "10.1")
async def test_a_text_session_is_no_call():
    async with desk() as (server, owner):
        async with connected(server) as sender:
            await ask(sender, "hello")
            await sender.until("llm.chat.done")
        ended = await owner.until("llm.chat.ended")
        await owner.settled()
    assert (ended["agent_id"], ended["call_id"]) == ("desk", "chat-1")
    assert ended["duration_seconds"] >= 0
    assert ended["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "You said hello."},
    ]
    assert not {"call.started", "call.ended"} & set(names(owner.seen))


@holds("events", "10.1", "10.2", "9.1")
async def test_tools_of_a_chat_run_with_the_owner_and_the_sender_watches():
    async with desk(tools=[LOOKUP]) as (server, owner), connected(server) as sender:
        await ask(sender, "order")
        call = await owner.until("llm.tool_call")
        assert (call["agent_id"], call["call_id"]) == ("desk", "chat-1")
        (wish,) = call["tool_calls"]
        result = {"tool_call_id": wish["id"], "result": {"status": "shipped"}}
        await owner.send(
            "llm.tool_result", call_id="chat-1", msg_id=call["msg_id"], results=[result]
        )
        watched = await sender.until("llm.chat.tool_call")
        assert watched["tool_calls"] == [wish]
        assert (await sender.until("llm.chat.tool_result"))["result"] == '{"status": "shipped"}'
        assert (await sender.until("llm.chat.done"))["text"] == "It is shipped."
    assert not of(sender.seen, "llm.tool_call")


@holds("events", "10.1", "10.2")
@holds("open-questions", "C")
async def test_a_chat_that_fails_is_an_llm_chat_error_to_both_and_never_a_plain_error():
    async with desk(server=BROKEN) as (server, owner), connected(server) as sender:
        await ask(sender, "hello")
        told = await sender.until("llm.chat.error")
        error = await owner.until("llm.chat.error")
    assert told["error"]
    assert error["error"]
    assert (error["agent_id"], error["call_id"]) == ("desk", "chat-1")
    assert not of(sender.seen, "error")
    assert not of(owner.seen, "error")


@holds("events", "10.2")
async def test_a_message_to_nobody_is_an_llm_chat_error_too():
    async with desk() as (_, peer):
        await peer.send("llm.chat", agent_id="nobody", session_id="test-1", text="hello")
        error = await peer.until("llm.chat.error")
        assert (error["session_id"], error["agent_id"]) == ("test-1", "nobody")
        assert "nobody" in error["error"]
    assert not of(peer.seen, "error")


# -- WhatsApp ----------------------------------------------------------------------------------


def wrote(text: str, id: str, **message: Any) -> Frame:
    """Return a message as Meta tells of it."""
    return {"from": ANA, "id": id, "type": "text", "text": {"body": text}, **message}


async def notify(url: str, *messages: Frame, **value: Any) -> httpx.Response:
    """Post what Meta would."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"phone_number_id": META, "display_phone_number": "51987654321"},
        "contacts": [{"wa_id": ANA, "profile": {"name": "Ana"}}],
        "messages": list(messages),
        **value,
    }
    body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
    signed = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    async with httpx.AsyncClient() as http:
        headers = {"X-Hub-Signature-256": signed}
        return await http.post(f"{url}/whatsapp/webhook", content=body, headers=headers)


async def with_whatsapp(owner: Peer) -> None:
    """Give ``desk`` a WhatsApp number."""
    await owner.send(
        "channel.add",
        **{"agent_id": "desk", "type": "whatsapp", "ref": META},
        **{"accessToken": "EAA", "appSecret": SECRET},
    )
    await owner.until("channel.added", type="whatsapp", ref=META)


@holds("events", "13")
async def test_a_first_message_opens_a_session_before_it_is_told_and_answered():
    async with desk() as (server, owner):
        await with_whatsapp(owner)
        assert (await notify(server.url, wrote("hello", "wamid.1"))).status_code == 200
        response = await owner.until("whatsapp.response")
        status = await owner.until("whatsapp.status")
        await notify(server.url, wrote("again", "wamid.2"))
        await owner.until("whatsapp.response", text="You said again.")
    about = [f for f in owner.seen if f["event"].startswith("whatsapp.")]
    started, message = about[:2]
    assert names(about[:3]) == [
        "whatsapp.session_started",
        "whatsapp.message",
        "whatsapp.response",
    ]
    assert len(of(about, "whatsapp.session_started")) == 1
    assert len(started["session_id"]) == len("wa-") + 12
    assert started["session_id"].startswith("wa-")
    assert (started["contact_phone"], started["contact_name"]) == (ANA, "Ana")
    assert {frame["session_id"] for frame in about} == {started["session_id"]}
    assert {frame["agent_id"] for frame in about} == {"desk"}
    expected = {"from": ANA, "name": "Ana", "type": "text", "text": "hello"}
    assert (expected | {"message_id": "wamid.1", "paused": False}).items() <= message.items()
    assert (response["to"], response["text"]) == (ANA, "You said hello.")
    assert "source" not in response
    assert (status["status"], status["recipient"]) == ("sent", ANA)
    assert status["message_id"]


@holds("events", "9.2")
async def test_whatsapp_is_held_once_a_session_although_nobody_asked():
    async with desk(preparing=None) as (server, owner):
        await with_whatsapp(owner)
        for text in ("hello", "again"):
            await notify(server.url, wrote(text, f"wamid.{text}"))
            await owner.until("whatsapp.response", text=f"You said {text}.")
    before = one(owner.seen, "llm.before")
    assert before["agent_id"] == "desk"
    assert before["call_id"] == one(owner.seen, "whatsapp.session_started")["session_id"]


@holds("events", "13")
@pytest.mark.parametrize("became", ["delivered", "read"])
async def test_what_became_of_a_message_is_told_with_its_id(became: str):
    async with desk() as (server, owner):
        await with_whatsapp(owner)
        await notify(server.url, wrote("hello", "wamid.1"))
        sent = await owner.until("whatsapp.status", status="sent")
        news = {"id": sent["message_id"], "status": became, "recipient_id": ANA}
        await notify(server.url, messages=[], statuses=[news])
        status = await owner.until("whatsapp.status", status=became)
    assert (status["recipient"], status["message_id"]) == (ANA, sent["message_id"])


@holds("events", "13")
@pytest.mark.parametrize("kind", ["audio", "image", "video", "document"])
async def test_what_is_no_text_is_told_with_its_kind(kind: str):
    async with desk() as (server, owner):
        await with_whatsapp(owner)
        await notify(
            server.url, {"from": ANA, "id": "wamid.1", "type": kind, kind: {"caption": "look"}}
        )
        message = await owner.until("whatsapp.message")
    assert message["type"] == kind
    assert isinstance(message["text"], str)


@holds("events", "13")
async def test_the_end_of_a_session_has_the_whole_record_and_is_no_call_ended():
    async with desk() as (server, owner):
        await with_whatsapp(owner)
        await notify(server.url, wrote("hello", "wamid.1"))
        await owner.until("whatsapp.response")
        id = one(owner.seen, "whatsapp.session_started")["session_id"]
        await owner.send("call.hangup", call_id=id)
        ended = await owner.until("whatsapp.session_ended")
        await owner.settled()
    assert (ended["agent_id"], ended["session_id"]) == ("desk", id)
    assert (ended["contact_phone"], ended["contact_name"]) == (ANA, "Ana")
    said = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "You said hello."},
    ]
    assert ended["messages"] == ended["transcript"] == said
    assert ended["message_count"] == 2
    assert ended["ended_at"] >= ended["started_at"] > 1_700_000_000
    assert ended["duration"] == pytest.approx(ended["ended_at"] - ended["started_at"], abs=1)
    assert ended["reason"]
    assert not of(owner.seen, "call.ended")
