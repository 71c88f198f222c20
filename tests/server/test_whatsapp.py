"""WhatsApp: sessions, the 24-hour window and the outbox (protocol: sessions.md §8)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from pinecall_cli.server.agents.registry import Channel, Refused
from pinecall_cli.server.routes.whatsapp import notified, signed
from pinecall_cli.server.text.messages import KEPT, Incoming
from pinecall_cli.server.text.whatsapp import IDLE_S, LONGEST_TEXT, WINDOW_S
from tests.sdk.jumping import BACKEND, JumpingLoop
from tests.server.dialled import Office, Peer
from tests.server.meta import ANA, CHANNEL, NUMBER, SCRIPT, SECRET, notification, signature, wrote


class Days:
    """An office whose wall clock goes with its loop, and Ana who writes."""

    def __init__(
        self,
        office: Office,
        *,
        org: int = 0,
        number: str = NUMBER,
        llm: Mapping[str, Any] | None = SCRIPT,
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        self.office, self._number = office, number
        office.server.wall = loop.time
        self.owner: Peer = office.owner("desk", None, org=org, **({"llm": llm} if llm else {}))
        self.owner.send("channel.add", agent_id="desk", **(CHANNEL | {"ref": number}))
        agent = office.server.registry.find(office.orgs[org], "desk")
        assert agent is not None
        self.agent = agent
        self._count = 0

    def ana(self, text: str, contact: str = ANA) -> None:
        self._count += 1
        channel = self.agent.channel("whatsapp", self._number)
        assert isinstance(channel, Channel)
        incoming = Incoming(f"wamid.{self._count}", contact, "Ana", "text", text)
        self.office.server.whatsapp.receive(self.agent, channel, incoming)

    async def ended(self, after_s: float = 0) -> dict[str, Any]:
        await asyncio.sleep(after_s)
        return await self.owner.until("whatsapp.session_ended")


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    jumps = "office" in request.function.__code__.co_varnames
    return BACKEND if jumps else "asyncio"


async def test_a_session_rests_for_two_hours_and_ends():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        ended = await days.ended(IDLE_S)
        types = [entry.type for entry in office.server.journal.entries(call=ended["session_id"])]
    assert asyncio.get_running_loop().time() == pytest.approx(IDLE_S, abs=1)
    assert (ended["reason"], ended["contact_phone"]) == ("idle_timeout", ANA)
    assert ended["message_count"] == 2
    assert [m["content"] for m in ended["transcript"]] == ["hello", "You said hello."]
    assert ended["messages"] == ended["transcript"]
    assert types[0] == "call.started"
    assert types[-2:] == ["call.ended", "call.summary"]


async def test_a_person_who_goes_on_writing_keeps_it_open_until_the_window_closes():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        await days.owner.until("whatsapp.response")
        while not days.owner.of("whatsapp.session_ended"):
            days.owner.send("session.send", agent_id="desk", contact=f"+{ANA}", text="Still here.")
            await asyncio.sleep(3600)
        ended = await days.ended()
    assert ended["reason"] == "window_expired"
    assert asyncio.get_running_loop().time() == pytest.approx(WINDOW_S, abs=3601)
    assert {f["source"] for f in days.owner.of("whatsapp.response") if "source" in f} == {"human"}


async def test_a_person_can_write_after_the_session_and_not_after_the_window():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        first = await days.ended(IDLE_S)
        days.owner.send("session.send", agent_id="desk", contact=ANA, text="One more thing.")
        await days.owner.until("whatsapp.response", text="One more thing.", source="human")
        again = days.owner.of("whatsapp.session_started")[-1]
        assert again["session_id"] != first["session_id"]
        await asyncio.sleep(WINDOW_S)
        days.owner.send("session.send", agent_id="desk", contact=ANA, text="Too late.")
        assert (await days.owner.until("error"))["code"] == "WINDOW_EXPIRED"


async def test_a_paused_contact_is_read_and_answered_by_a_person():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        await days.owner.until("whatsapp.response")
        days.owner.send("session.pause", agent_id="desk", contact=f"+{ANA}")
        days.ana("a person, please")
        message = await days.owner.until("whatsapp.message", text="a person, please")
        assert message["paused"] is True
        days.owner.send(
            "session.send", agent_id="desk", session_id=message["session_id"], text="Hi"
        )
        await days.owner.until("whatsapp.response", source="human")
        days.owner.send("session.resume", agent_id="desk")
        days.ana("thanks")
        await days.owner.until("whatsapp.response", text="You said thanks.")
        days.owner.send("call.hangup", call_id=message["session_id"])
        ended = await days.ended()
    assert [m["content"] for m in ended["messages"]][2:4] == ["a person, please", "Hi"]
    assert ended["reason"] == "hangup"


async def test_a_long_answer_goes_out_in_pieces_whatsapp_takes():
    async with Office() as office:
        days = Days(office)
        days.ana("long")
        await days.owner.until("whatsapp.response")
        sizes = [len(one.text) for one in office.server.whatsapp.outbox(office.orgs[0])]
    assert sizes == [LONGEST_TEXT, 5_000 - LONGEST_TEXT]


async def test_an_agent_that_comes_back_is_told_of_its_sessions_again():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        await days.owner.until("whatsapp.response")
        days.owner.leave()
        back = office.owner("desk", None, llm=SCRIPT)
        await back.until("whatsapp.session_started", contact_phone=ANA)


async def test_the_session_that_rested_longest_ends_for_the_next_but_none_that_a_person_has():
    async with Office(whatsapp_sessions=2) as office:
        days = Days(office)
        days.owner.send("session.pause", agent_id="desk", contact="491")
        for contact in ("491", "492"):
            days.ana("hello", contact)
            await asyncio.sleep(60)
        await days.owner.until("whatsapp.response", to="492")
        days.ana("hello", "493")
        ended = await days.ended()
        await days.owner.until("whatsapp.response", to="493")
        assert (ended["contact_phone"], ended["reason"]) == ("492", "idle_timeout")
        assert [one.contact for one in days.agent.sessions.values()] == ["491", "493"]
        days.ana("me again", "492")
        await days.owner.until("whatsapp.response", to="492", text="You said me again.")
        assert [one.contact for one in days.agent.sessions.values()] == ["491", "492"]


async def test_no_session_is_opened_while_all_that_may_be_open_are_being_answered():
    async with Office(whatsapp_sessions=2) as office:
        days = Days(office)
        days.ana("hello", "491")
        days.ana("hello", "492")
        with pytest.raises(Refused) as refused:
            days.ana("hello", "493")
        assert refused.value.code == "TOO_MANY_SESSIONS"
        for contact in ("491", "492"):
            await days.owner.until("whatsapp.response", to=contact)
        assert not days.owner.of("whatsapp.session_ended")


async def test_what_is_written_to_a_session_that_ends_opens_the_next():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        first = await days.owner.until("whatsapp.session_started")
        await days.owner.until("whatsapp.response")
        days.owner.send("call.hangup", call_id=first["session_id"])
        days.ana("are you there")
        answered = await days.owner.until("whatsapp.response", text="You said are you there.")
    assert answered["session_id"] != first["session_id"]


async def test_a_contact_that_a_person_names_differently_has_no_second_session():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        await days.owner.until("whatsapp.response")
        days.owner.send("session.send", agent_id="desk", contact=f"Ana, {ANA}", text="Hi")
        await days.owner.until("whatsapp.response", source="human")
        assert len(days.owner.of("whatsapp.session_started")) == 1


async def test_what_one_organisation_does_makes_the_server_forget_nothing_of_another():
    async with Office(whatsapp_sessions=1) as office:
        days, others = Days(office), Days(office, org=1, number="999", llm=None)
        days.ana("hello")
        first = await days.owner.until("whatsapp.session_started")
        await days.owner.until("whatsapp.response")
        days.owner.send("call.hangup", call_id=first["session_id"])
        await days.ended()
        for contact in range(KEPT + 2):
            others.ana("hello", f"49{contact}")
            others.owner.send("session.send", agent_id="desk", contact=f"49{contact}", text="Hi")
        server = office.server
        assert len(server.whatsapp.outbox(office.orgs[1])) == KEPT
        assert [one.text for one in server.whatsapp.outbox(office.orgs[0])] == ["You said hello."]
        days.owner.send("session.send", agent_id="desk", contact=ANA, text="One more thing.")
        await days.owner.until("whatsapp.response", text="One more thing.")


async def test_others_have_their_turn_between_the_messages_of_one_notification():
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with Office() as office:
        Days(office)
        messages = [wrote("hello", f"wamid.{n}", f"49{n}") for n in range(20)]
        task = asyncio.create_task(others())
        answer = await notified(office.server, notification(*messages), "")
        task.cancel()
    assert answer.status_code == 200
    assert turns >= len(messages)


def test_a_signature_is_compared_without_its_secret_being_seen():
    channel = Channel("whatsapp", NUMBER, {}, app_secret=SECRET)
    assert SECRET not in repr(channel)
    assert signed(channel, b"x", signature(b"x"))
