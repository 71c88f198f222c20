"""A person answers in the agent's place (protocol: commands.md §10, flows.md §11)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.server.agents.takeover import Takeover, same_contact
from tests.fakes.engines import Engines
from tests.sdk.jumping import BACKEND
from tests.server.dialled import OURS, THEIRS, Office, Peer, said

SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "You said {text}."}]}


@pytest.fixture
def anyio_backend() -> Any:
    return BACKEND


# --- whom a person has taken over ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("+34600123456", "34600123456", True),
        ("+34 600 12-34 56", "34600123456", True),
        ("u_9", "9", False),
        ("u_9", "u_9", True),
        ("", "", False),
        ("webrtc", "", False),
        ("()", "", False),
        ("(+)", "(+)", True),
        ("u" * 200, "u" * 200, True),
        ("u" * 201, "u" * 201, False),
        ("1" * 201 + "x", "1" * 201 + "x", False),
    ],
)
def test_contacts_that_are_numbers_are_compared_by_their_digits(one: str, other: str, same: bool):
    assert same_contact(one, other) is same


def test_each_level_is_taken_and_given_back_on_its_own():
    taken = Takeover()
    taken.pause(session_id="s1")
    assert taken.paused("s1", "")
    assert not taken.paused("s2", "+34600")
    taken.pause(contact="+34 600")
    assert taken.paused("s2", "34600")
    taken.pause()
    assert taken.paused("s3", "anybody")
    taken.resume(session_id="s1")
    assert taken.paused("s1", ""), "everything still is"
    taken.resume()
    assert not any(taken.paused(one, "34600") for one in ("s1", "s2", "s3"))


def test_a_contact_of_too_many_characters_is_nobody_who_could_be_taken_over():
    taken = Takeover()
    taken.pause(contact="u" * 201)
    assert not any(taken.paused("s1", one) for one in ("u" * 201, "v" * 300, "", "anybody"))


def test_a_session_that_is_over_is_forgotten():
    taken = Takeover()
    taken.pause(session_id="s1")
    taken.forget("s1")
    assert not taken.paused("s1", "")


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(["", "a", "b"]), st.sampled_from(["", "7"])))
)
def test_giving_everything_back_leaves_nothing_taken(steps: list[tuple[bool, str, str]]):
    taken = Takeover()
    for pauses, session, contact in steps:
        act = taken.pause if pauses else taken.resume
        act(session_id=session, contact=contact)
    taken.resume()
    assert not any(taken.paused(one, two) for one in ("a", "b", "") for two in ("7", ""))


# --- chats --------------------------------------------------------------------------------------


async def chatting(office: Office, **agent: Any) -> tuple[Peer, Peer]:
    """Return the agent's owner and somebody who has chatted with it once."""
    owner, writer = office.owner("desk", None, llm=SCRIPT, **agent), office.peer()
    write(writer, "one")
    assert (await writer.until("llm.chat.done"))["text"] == "You said one."
    return owner, writer


def write(writer: Peer, text: str) -> None:
    writer.send(
        "llm.chat", agent_id="desk", session_id="chat-1", text=text, metadata={"userId": "u_9"}
    )


@pytest.mark.parametrize(
    "whom", [{"session_id": "chat-1"}, {"contact": "u_9"}, {}], ids=["session", "contact", "all"]
)
async def test_a_paused_chat_is_read_by_the_owner_and_answered_by_a_person(whom: dict[str, str]):
    async with Office() as office:
        owner, writer = await chatting(office)
        owner.send("session.pause", agent_id="desk", **whom)
        paused = await owner.until("session.paused")
        assert whom.items() <= paused.items()
        write(writer, "two")
        await owner.until("chat.message", text="two")
        owner.send("session.send", agent_id="desk", session_id="chat-1", text=" A human here. ")
        sent = await owner.until("session.sent")
        assert (sent["agent_id"], sent["session_id"]) == ("desk", "chat-1")
        await writer.until("llm.chat.done", text="A human here.")
        owner.send("session.send", agent_id="desk", contact="u_9", text="Still here.")
        await writer.until("chat.response", text="Still here.")
        owner.send("session.resume", agent_id="desk", **whom)
        await owner.until("session.resumed")
        write(writer, "three")
        await writer.until("llm.chat.done", text="You said three.")
        owner.send("history.get", call_id="chat-1", request_id="r1")
        history = await owner.until("history.data")
    assert [(m["role"], m["content"]) for m in history["messages"]] == [
        ("user", "one"),
        ("assistant", "You said one."),
        ("user", "two"),
        ("assistant", "A human here."),
        ("assistant", "Still here."),
        ("user", "three"),
        ("assistant", "You said three."),
    ]


async def test_the_call_log_says_when_a_person_has_a_session():
    async with Office() as office:
        owner, _ = await chatting(office)
        for event in ("session.pause", "session.resume"):
            owner.send(event, agent_id="desk", session_id="chat-1")
        await owner.until("session.resumed")
        types = [entry.type for entry in office.server.journal.entries(call="chat-1")]
    assert types[-2:] == ["handoff.active", "handoff.released"]


@pytest.mark.parametrize(
    ("event", "fields", "code"),
    [
        ("session.pause", {"session_id": "chat-9"}, "CALL_NOT_FOUND"),
        ("session.resume", {"session_id": "chat-9"}, "CALL_NOT_FOUND"),
        ("session.send", {"session_id": "chat-9", "text": "x"}, "CALL_NOT_FOUND"),
        ("session.send", {"text": "x"}, "CALL_NOT_FOUND"),
        ("session.send", {"session_id": "chat-1", "text": " "}, "INVALID_FRAME"),
        ("session.pause", {"agent_id": "other"}, "AGENT_NOT_FOUND"),
        ("session.pause", {"contact": "9" * 201}, "INVALID_FRAME"),
        ("session.resume", {"contact": "9" * 201}, "INVALID_FRAME"),
        ("session.send", {"contact": "9" * 201, "text": "x"}, "CALL_NOT_FOUND"),
    ],
)
async def test_what_cannot_be_taken_over_is_said(event: str, fields: dict[str, str], code: str):
    async with Office() as office:
        owner, _ = await chatting(office)
        owner.send(event, **({"agent_id": "desk"} | fields))
        error = await owner.until("error")
        assert error["code"] == code


async def test_only_the_owner_takes_over():
    async with Office() as office:
        owner, writer = await chatting(office)
        writer.send("session.pause", agent_id="desk")
        assert (await writer.until("error"))["code"] == "AGENT_NOT_FOUND"
        write(writer, "two")
        await writer.until("llm.chat.done", text="You said two.")
        assert not owner.of("session.paused")


# --- voice --------------------------------------------------------------------------------------


async def test_a_person_speaks_in_a_call_with_the_agents_voice():
    engines = Engines()
    engines.recogniser.transcribe = said("hello")  # type: ignore[method-assign]
    async with Office(engines=engines) as office:
        owner = office.owner("desk", OURS, llm=SCRIPT)
        other = office.owner("other", THEIRS, greeting="Hello, other here.", llm=None)
        owner.send("session.pause", agent_id="desk", contact=THEIRS)
        owner.send("call.dial", agent_id="desk", **{"from": OURS, "to": THEIRS})
        call = (await owner.until("call.started"))["call_id"]
        await owner.until("turn.end")
        owner.send("session.send", agent_id="desk", contact=THEIRS, text="A human here.")
        spoken = await owner.until("bot.speaking")
        await owner.until("bot.finished")
        owner.send("call.hangup", call_id=call)
        ended = await owner.ended(call)
        assert other.of("call.started")
    assert spoken["text"] == "A human here."
    assert [m["content"] for m in ended["messages"]] == ["hello", "A human here."]


async def test_nobody_speaks_in_a_call_that_is_not_answered():
    async with Office() as office:
        owner = office.owner("desk", OURS, llm=SCRIPT)
        owner.send("call.dial", agent_id="desk", **{"from": OURS, "to": "+15005550002"})
        call = (await owner.until("call.dialing"))["call_id"]
        owner.send("session.send", agent_id="desk", session_id=call, text="x")
        assert (await owner.until("error"))["code"] == "NOT_ANSWERED"
