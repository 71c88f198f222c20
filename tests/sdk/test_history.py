"""Conversations that are kept, and contacts who come back: events.md §15 and §4.1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import websockets

from pinecall_cli import Agent, HistoryStore, SqliteHistory
from pinecall_cli.agent.history import ConversationRecord as Record
from pinecall_cli.errors import UsageError
from pinecall_cli.protocol import events
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.keeping import MESSAGES, contact_of, past, without
from pinecall_cli.server.embedded import EmbeddedServer
from tests.sdk.jumping import BACKEND
from tests.sdk.listening import Frames, Log, chat
from tests.sdk.pretended import ABOUT, Office, started
from tests.sdk.records import record, said
from tests.sdk.test_voice import calling


class Shelf:
    """A history store that keeps all that it was ever given."""

    def __init__(self, *records: Record, broken: bool = False) -> None:
        self.records = list(records)
        self.broken = broken
        self.saved = Log()
        self.at: list[float] = []

    async def save(self, record: Record) -> None:
        self.at.append(asyncio.get_running_loop().time())
        if self.broken:
            raise OSError("the disk is full")
        self.saved(record)

    async def get(self, call_id: str) -> Record | None:
        if self.broken:
            raise OSError("the disk is gone")
        return next((one for one in self.records if one.call_id == call_id), None)

    async def recent(self, agent_id: str, contact: str, *, limit: int) -> Sequence[Record]:
        found = [one for one in self.records if one.from_ == contact and one.agent_id == agent_id]
        return found[:limit]

    @property
    def last(self) -> Record:
        record: Record = self.saved.entries[-1][0]
        return record


class Told(SqliteHistory):
    """One that says when it has saved."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.saved = Log()

    async def save(self, record: Record) -> None:
        await super().save(record)
        self.saved(record)


# --- against a real server ----------------------------------------------------------------------


async def test_a_contact_who_comes_back_is_remembered(
    server: EmbeddedServer, client: Pinecall, tmp_path: Path
) -> None:
    async with Told(tmp_path / "history.db") as store:
        frames = Frames(client)
        script = [{"say": "You said: {text}"}]
        local = {"llm": "script", "script": script}
        agent = client.agent("front-desk", llm="script", prompt="x", local=local, history=store)
        await client.registered()
        began = Log()
        agent.on("chat.started", began)
        metadata = {"userId": "ana"}

        async def visit(number: int, text: str) -> tuple[Any, list[Any]]:
            token = await client.create_token("chat", "front-desk", metadata=metadata)
            where = f"{token.server.replace('http', 'ws')}/chat/ws?token={token.token}"
            async with websockets.connect(where, proxy=None) as page:
                await began.until(lambda call: len(began.entries) > number)
                call = began.entries[number][0]
                if number:
                    await frames.frame("history.updated")
                await page.send(json.dumps({"event": "message", "text": text}))
                while json.loads(await page.recv())["event"] != "chat.done":
                    pass
                remembered = await call.get_history()
            (kept,) = await store.saved.until(
                lambda record: record.call_id == call.id and record.status == "ended"
            )
            assert await store.get(call.id) == kept
            return kept, remembered

        first, _ = await visit(0, "I am Ana")
        assert first.from_ == "ana"
        assert first.transcript == said("I am Ana", "You said: I am Ana")
        assert (first.channel, first.reason) == ("chat", "chat_completed")
        second, remembered = await visit(1, "Again")
        assert [m["content"] for m in remembered[:3]] == [
            "I am Ana",
            "You said: I am Ana",
            "Again",
        ]
        assert second.transcript == said("Again", "You said: Again"), "the past is not kept twice"
        assert [one.call_id for one in await store.recent("front-desk", "ana", limit=5)] == [
            second.call_id,
            first.call_id,
        ]


async def test_a_voice_call_is_kept_as_it_goes_on(server: EmbeddedServer, client: Pinecall) -> None:
    shelf = Shelf()
    agent = client.agent("front-desk", llm="script", prompt="x", history=shelf)
    await client.registered()
    async with calling(server, client, agent) as call:
        (begun,) = await shelf.saved.until()
        assert (begun.status, begun.ended_at, begun.messages) == ("active", None, [])
        await call.say("Hi you", add_to_history=True)
        (heard,) = await shelf.saved.until(lambda record: record.transcript)
        assert (heard.status, heard.transcript) == (
            "active",
            [{"role": "assistant", "content": "Hi you"}],
        )
    (ended,) = await shelf.saved.until(lambda record: record.status == "ended")
    assert ended == replace(
        ended,
        call_id=call.id,
        agent_id="front-desk",
        channel="webrtc",
        direction="inbound",
        from_="u1",
        to=call.to,
        started_at=call.started_at,
        ended_at=call.ended_at,
        duration=call.duration,
        reason=call.reason,
        metadata={"userId": "u1"},
    )


async def test_leaving_saves_what_is_under_way(server: EmbeddedServer) -> None:
    shelf = Shelf()
    async with Pinecall(server.key, server.url) as client:
        client.agent("front-desk", llm="script", prompt="x", history=shelf)
        await client.registered()
        await chat(client, "front-desk", "Hello")
    assert (shelf.last.status, shelf.last.reason) == ("ended", "client_disconnect")
    assert shelf.last.transcript[0] == {"role": "user", "content": "Hello"}


# --- what is saved when -------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", [BACKEND])
async def test_it_saves_at_the_start_then_after_a_pause_and_at_the_end() -> None:
    loop, shelf = asyncio.get_running_loop(), Shelf()
    office = Office(Agent("front-desk", history=shelf))
    begun = loop.time()
    office.happen(started())
    await asyncio.sleep(1)
    for number in range(10):
        message = events.UserMessage(message_id=f"m{number}", text="Hi", **ABOUT)
        office.happen(message)
        await asyncio.sleep(0.06)
    await asyncio.sleep(1)
    office.happen(events.UserMessage(message_id="last", text="Bye", **ABOUT))
    office.happen(events.CallEnded(reason="hangup", duration_seconds=2.5, **ABOUT))
    await asyncio.sleep(0)
    await asyncio.sleep(1)
    offsets = [round(at - begun, 2) for at in shelf.at]
    assert offsets == [0, 1.2, 1.44, 1.68, 2.6]
    counts = [len(record.messages) for (record,) in shelf.saved.entries]
    assert counts == [0, 4, 8, 10, 11]
    assert (shelf.last.status, shelf.last.duration) == ("ended", 2.5)
    assert shelf.last.ended_at is not None
    await asyncio.sleep(1)
    assert len(shelf.at) == 5


async def test_a_store_that_fails_is_told_of_and_ends_no_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = Shelf(broken=True)
    office, problems = Office(Agent("front-desk", history=shelf)), Log()
    office.client.on("error", problems)
    office.happen(started())
    await problems.until(lambda problem: "disk is gone" in str(problem))
    await problems.until(lambda problem: "disk is full" in str(problem))
    shelf.broken = False
    office.happen(events.UserMessage(message_id="m1", text="Hi", **ABOUT))
    await shelf.saved.until(lambda record: record.messages)
    assert "the history store of front-desk" in caplog.text


async def test_an_agent_without_a_history_keeps_nothing() -> None:
    office = Office(Agent("front-desk"))
    office.happen(started())
    (call,) = office.client.calls()
    assert call.take_handlers("user.message") == ()


async def test_tools_are_in_the_messages_and_not_in_the_transcript() -> None:
    shelf = Shelf()
    office = Office(Agent("front-desk", history=shelf))
    office.happen(started())
    (call,) = office.client.calls()
    call.messages += [*said("Where is it?"), {"role": "assistant", "tool_calls": [{"id": "t1"}]}]
    call.messages += [{"role": "tool", "tool_call_id": "t1", "content": "{}"}]
    office.happen(events.MessageConfirmed(message_id="m1", text="There.", **ABOUT))
    (kept,) = await shelf.saved.until(lambda record: len(record.messages) == 4)
    assert kept.transcript == said("Where is it?", "There.")


async def test_a_whatsapp_session_is_kept_while_it_lasts() -> None:
    shelf, about = Shelf(), {"agent_id": "front-desk", "session_id": "wa-1"}
    office = Office(Agent("front-desk", history=shelf))
    office.happen(
        events.WhatsappSessionStarted(contact_phone="51999", **about),
        events.WhatsappMessage(from_="51999", text="Hola", **about),
        events.WhatsappMessage(from_="51999", text="", type="image", **about),
        events.WhatsappResponse(to="51999", text="Hello", **about),
    )
    (kept,) = await shelf.saved.until(lambda record: record.transcript)
    assert (kept.from_, kept.channel, kept.transcript) == (
        "51999",
        "whatsapp",
        said("Hola", "Hello"),
    )


# --- what comes back ----------------------------------------------------------------------------


def requests(office: Office) -> list[dict[str, Any]]:
    """Return the frames that wait to be sent for the agent."""
    (registration,) = office.client._office.registrations.values()
    return [json.loads(frame) for frame, _ in registration._queue]


async def restored(*records: Record, call: Any = None, shelf: Shelf | None = None) -> Any:
    """Return the frames that are sent when a contact calls again."""
    office = Office(Agent("front-desk", history=shelf or Shelf(*records)))
    office.client._office.loop = asyncio.get_running_loop()
    office.happen(call or started())
    for _ in range(20):
        await asyncio.sleep(0)
    return requests(office)


async def test_what_was_said_before_is_set_once() -> None:
    newer = record("c9", "Second", "Two", started_at=300.0)
    older = record("c8", "First", "One", started_at=200.0)
    (frame,) = await restored(newer, older, record("c7", "Other", agent_id="sales"))
    assert frame["event"] == "history.set"
    assert frame["call_id"] == "c1"
    assert frame["messages"] == said("First", "One", "Second", "Two")
    assert await restored() == []


async def test_what_is_said_meanwhile_is_not_lost_by_it() -> None:
    office = Office(Agent("front-desk", history=Shelf(record("c9", "Before", "Yes"))))
    office.client._office.loop = asyncio.get_running_loop()
    office.happen(started(), events.UserMessage(message_id="m1", text="Hello?", **ABOUT))
    for _ in range(20):
        await asyncio.sleep(0)
    (frame,) = requests(office)
    assert frame["messages"] == said("Before", "Yes", "Hello?")


async def test_a_call_that_went_on_without_us_goes_on_in_its_record() -> None:
    known = record("c1", "Hello?", "Yes?", status="ended", started_at=400.0)
    shelf = Shelf(known, record("c9", "Before", "Yes", started_at=300.0))
    assert await restored(shelf=shelf) == [], "its model has not forgotten"
    office = Office(Agent("front-desk", history=shelf))
    office.happen(started(), events.UserMessage(message_id="m1", text="Still there?", **ABOUT))
    (kept,) = await shelf.saved.until(lambda record: len(record.messages) == 3)
    assert kept.transcript == said("Hello?", "Yes?", "Still there?")
    assert (kept.status, kept.started_at) == ("active", 400.0)
    everything = said("Before", "Yes", "Hello?", "Yes?", "Still there?", "Yes.")
    office.happen(events.CallEnded(reason="hangup", messages=everything, **ABOUT))
    (ended,) = await shelf.saved.until(lambda record: record.status == "ended")
    assert ended.messages == everything[2:], "neither the past nor the beginning twice"


async def test_a_call_that_is_over_at_once_has_no_past(caplog: pytest.LogCaptureFixture) -> None:
    office = Office(Agent("front-desk", history=(shelf := Shelf(record("c9", "Before", "Yes")))))
    office.client._office.loop = asyncio.get_running_loop()
    office.happen(started())
    for _ in range(20):
        await asyncio.sleep(0)
    assert requests(office)
    office.happen(events.CallEnded(reason="hangup", **ABOUT))
    await shelf.saved.until(lambda record: record.status == "ended")
    assert caplog.text == ""


async def test_a_server_that_refuses_the_past_is_told_of() -> None:
    office, problems = Office(Agent("front-desk", history=Shelf(record("c9", "A", "B")))), Log()
    office.client._office.loop = asyncio.get_running_loop()
    office.client.on("error", problems)
    office.happen(started())
    for _ in range(20):
        await asyncio.sleep(0)
    (frame,) = requests(office)
    about = {"call_id": "c1", "agent_id": "front-desk", "request_id": frame["request_id"]}
    office.happen(events.HistoryUpdated(error="too long", **about))
    await problems.until(lambda problem: "too long" in str(problem))


def test_the_latest_messages_of_the_latest_conversations_come_back() -> None:
    many = [record(f"c{n}", *"abcdef", started_at=float(100 - n)) for n in range(9)]
    kept = past(many, "now", 1e9)
    assert len(kept) == MESSAGES
    assert kept == said(*"abcdef" * 5)[-MESSAGES:]
    tools = [{"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "{}"}]
    assert past([record("c1", messages=[*tools, *said("a")])], "now", 1e9) == said("a")
    assert past([record("c1", "a")], "now", 99.0) == [], "it began after"
    assert past([record("c1", "a")], "c1", 1e9) == [], "it is this one"
    assert without(said("a"), said("b")) == said("b")


@pytest.mark.parametrize(
    ("about", "contact"),
    [
        ({"from_": "+1415", "transport": "phone"}, "+1415"),
        ({"from_": "51999", "transport": "whatsapp"}, "51999"),
        ({"from_": "chat", "transport": "chat", "metadata": {"userId": "ana"}}, "ana"),
        ({"from_": "chat", "transport": "chat", "metadata": {"userId": 7}}, None),
        ({"from_": "chat", "transport": "chat"}, None),
        ({"from_": "webrtc", "transport": "webrtc"}, None),
        ({"from_": "webrtc", "transport": "webrtc", "metadata": {"userId": "ana"}}, None),
        ({"from_": "anonymous", "transport": "phone"}, None),
    ],
)
async def test_only_those_who_cannot_be_somebody_else_have_a_past(
    about: dict[str, Any], contact: str | None
) -> None:
    line: Any = None
    assert contact_of(Call(line, id="c", agent_id="a", to="b", **about)) == contact


# --- agents -------------------------------------------------------------------------------------


def test_a_history_is_an_object_of_this_process() -> None:
    shelf = Shelf()
    agent = Agent("front-desk", history=shelf)
    assert agent.history is shelf
    assert isinstance(shelf, HistoryStore)
    assert not any("history" in key for key in agent.config.__slots__)
    other = Shelf()
    agent.update(history=other)
    assert agent.history is other
    agent.update(prompt="x")
    assert agent.history is other
    agent.adopt(Agent("front-desk"))
    assert agent.history is None
    with pytest.raises(UsageError, match="no history store"):
        Agent("front-desk", history="history.db")  # type: ignore[arg-type]
