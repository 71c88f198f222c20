"""A person in the agent's place: `session.pause`, `.resume`, `.send` (commands.md §10)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.answered import SCRIPT, answered
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected, embedded

CONTACT = "34600123456"


@asynccontextmanager
async def whatsapp() -> AsyncIterator[tuple[EmbeddedServer, Peer, str]]:
    """Let somebody write to `desk` and be answered; yields server, owner and session."""
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, preparing=False)
        channel = {"type": "whatsapp", "ref": "1234", "accessToken": "EAA"}
        await owner.send("channel.add", agent_id="desk", **channel)
        await owner.until("channel.added")
        await write(server, "one", 1)
        session = (await owner.until("whatsapp.response"))["session_id"]
        yield server, owner, session


async def write(server: EmbeddedServer, text: str, number: int) -> None:
    """Write over WhatsApp, as Meta passes it on."""
    message = {"from": CONTACT, "id": f"wamid.{number}", "type": "text", "text": {"body": text}}
    value = {
        "metadata": {"phone_number_id": "1234"},
        "contacts": [{"wa_id": CONTACT, "profile": {"name": "Ana"}}],
        "messages": [message],
    }
    body = {"entry": [{"changes": [{"field": "messages", "value": value}]}]}
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.post("/whatsapp/webhook", json=body)).status_code == 200


def whom(level: str, session: str) -> dict[str, str]:
    """Return the fields that name one session, one contact, or the whole agent."""
    return {
        "session": {"session_id": session},
        "contact": {"contact": f"+{CONTACT}"},
        "agent": {},
    }[level]


@holds("commands", "10")
@pytest.mark.parametrize("level", ["session", "contact", "agent"])
async def test_what_is_paused_is_delivered_and_not_answered_until_it_is_resumed(level: str):
    async with whatsapp() as (server, owner, session):
        about = whom(level, session)
        await owner.send("session.pause", agent_id="desk", **about)
        paused = await owner.until("session.paused")
        assert paused["agent_id"] == "desk"
        assert about.items() <= paused.items()
        await write(server, "two", 2)
        message = await owner.until("whatsapp.message", text="two")
        assert (message["session_id"], message["paused"]) == (session, True)
        await owner.send("session.resume", agent_id="desk", **about)
        resumed = await owner.until("session.resumed")
        assert resumed["agent_id"] == "desk"
        assert about.items() <= resumed.items()
        await write(server, "three", 3)
        assert (await owner.until("whatsapp.message", text="three"))["paused"] is False
        await owner.until("whatsapp.response", text="You said three.")
    told = [f["text"] for f in owner.seen if f["event"] == "whatsapp.response"]
    assert told == ["You said one.", "You said three."]


@holds("commands", "10")
async def test_resuming_without_naming_anybody_ends_every_pause():
    async with whatsapp() as (server, owner, session):
        for level in ("session", "contact", "agent"):
            await owner.send("session.pause", agent_id="desk", **whom(level, session))
        await owner.send("session.resume", agent_id="desk")
        await owner.until("session.resumed")
        await write(server, "two", 2)
        await owner.until("whatsapp.response", text="You said two.")


@holds("commands", "10")
async def test_resuming_one_level_leaves_the_others_paused():
    async with whatsapp() as (server, owner, session):
        for level in ("session", "agent"):
            await owner.send("session.pause", agent_id="desk", **whom(level, session))
        await owner.send("session.resume", agent_id="desk", session_id=session)
        await owner.until("session.resumed")
        await write(server, "two", 2)
        assert (await owner.until("whatsapp.message", text="two"))["paused"] is True


@holds("commands", "10")
@pytest.mark.parametrize("by", ["session", "contact", "both"])
async def test_what_a_person_sends_goes_out_is_acknowledged_and_enters_the_history(by: str):
    async with whatsapp() as (_, owner, session):
        await owner.send("session.pause", agent_id="desk", session_id=session)
        about = {"session_id": session, "contact": f"+{CONTACT}"}
        about = about if by == "both" else whom(by, session)
        await owner.send("session.send", agent_id="desk", text="A human here.", **about)
        response = await owner.until("whatsapp.response", text="A human here.")
        assert (response["source"], response["to"]) == ("human", CONTACT)
        assert response["session_id"] == session
        await owner.settled()
        sent = next(frame for frame in owner.seen if frame["event"] == "session.sent")
        assert (sent["agent_id"], sent["session_id"]) == ("desk", session)
        await owner.send("history.get", call_id=session, request_id="r")
        messages = (await owner.until("history.data"))["messages"]
    assert messages[-1] == {"role": "assistant", "content": "A human here."}


@holds("commands", "10")
async def test_the_contact_stands_in_for_a_session_that_is_gone():
    async with whatsapp() as (_, owner, _session):
        about = {"session_id": "wa-000000000000", "contact": f"+{CONTACT}"}
        await owner.send("session.send", agent_id="desk", text="Still here.", **about)
        response = await owner.until("whatsapp.response", text="Still here.")
        assert response["source"] == "human"


@holds("commands", "10")
@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("session.pause", {"agent_id": "other"}),
        ("session.resume", {"agent_id": "other"}),
        ("session.send", {"agent_id": "other", "text": "x"}),
        ("session.send", {"agent_id": "desk", "text": "x"}),
        ("session.send", {"agent_id": "desk", "text": "x", "session_id": "wa-000000000000"}),
        ("session.send", {"agent_id": "desk", "session_id": "wa-000000000000"}),
    ],
)
async def test_what_cannot_be_taken_over_is_told(event: str, fields: dict[str, Any]):
    async with whatsapp() as (_, owner, _session):
        await owner.send(event, **fields)
        told = [f for f in await owner.settled() if f["event"] != "whatsapp.status"]
        assert [frame["event"] for frame in told] == ["error"]
        assert told[0]["error"]


@holds("commands", "10")
async def test_nobody_takes_over_the_agent_of_somebody_else():
    async with whatsapp() as (server, owner, session), connected(server) as other:
        await other.send("session.pause", agent_id="desk", session_id=session)
        assert (await other.receive())["code"] == "AGENT_NOT_FOUND"
        await write(server, "two", 2)
        await owner.until("whatsapp.response", text="You said two.")


@holds("commands", "10")
async def test_a_chat_is_taken_over_as_well():
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk", llm=SCRIPT)
        chat = {"agent_id": "desk", "session_id": "chat-1"}
        await sender.send("llm.chat", **chat, text="one")
        await sender.until("llm.chat.done")
        await owner.send("session.pause", **chat)
        await owner.until("session.paused", session_id="chat-1")
        await sender.send("llm.chat", **chat, text="two")
        await owner.until("chat.message", text="two")
        await owner.send("session.send", **chat, text="A human here.")
        await owner.until("session.sent", session_id="chat-1")
        assert (await sender.until("llm.chat.done"))["text"] == "A human here."


@holds("commands", "10")
async def test_a_call_is_taken_over_as_well():
    async with answered({0: "hello"}, llm=SCRIPT, preparing=False) as (owner, caller):
        call = {"agent_id": "desk", "session_id": caller.call_id}
        await owner.send("session.pause", **call)
        await owner.until("session.paused")
        caller.say(0)
        await owner.until("turn.end")
        await owner.send("session.send", **call, text="A human")
        spoken = await owner.until("bot.speaking")
        assert spoken["text"] == "A human"
        await owner.until("message.confirmed", text="A human")
