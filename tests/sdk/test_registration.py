"""One agent's registration, without a server: what is sent, in which order, and when again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from pinecall_cli.agent.config import AgentConfig, Local, PhoneNumber
from pinecall_cli.errors import ConflictError, InfrastructureError, ServerUnreachableError
from pinecall_cli.protocol.events import Error
from pinecall_cli.protocol.refusal import Outcome, outcome_of
from pinecall_cli.sdk.registration import (
    MAX_QUEUED,
    CapacityError,
    Registration,
    RegistrationRefusedError,
)
from tests.sdk.jumping import BACKEND


@pytest.fixture
def anyio_backend() -> object:
    return BACKEND


class Wire:
    """What a registration sends, and how often it said that frames were dropped."""

    def __init__(self) -> None:
        self.up = True
        self.sent: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.dropped = 0
        self.more = asyncio.Event()

    def send(self, frame: str) -> bool:
        if self.up:
            self.sent.append(json.loads(frame))
            self.times.append(asyncio.get_running_loop().time())
            self.more.set()
        return self.up

    def drop(self, frames: int) -> None:
        self.dropped += frames

    @property
    def events(self) -> list[str]:
        return [frame["event"] for frame in self.sent]


def registration(wire: Wire, **config: Any) -> Registration:
    return Registration(
        AgentConfig(name="front-desk", **config), {}, send=wire.send, dropped=wire.drop
    )


def refuse(agent: Registration, code: str, **fields: Any) -> Exception:
    error = Error(code=code, error=f"{code}: no", agent_id="front-desk", **fields)
    return agent.refused(outcome_of(error), error)


async def test_the_configuration_goes_out_whole() -> None:
    wire = Wire()
    agent = registration(
        wire, prompt="Hi ü", prompt_vars={"a": "1"}, allowed_origins=("http://a.test",)
    )
    agent.create(embedded=False)
    assert wire.sent == [
        {
            "event": "agent.create",
            "agent_id": "front-desk",
            "prompt": "Hi ü",
            "vars": {"a": "1"},
            "allowed_origins": ["http://a.test"],
        }
    ]


async def test_local_is_for_the_embedded_server_alone() -> None:
    wire = Wire()
    agent = registration(wire, llm="openai/gpt-5", local=Local(llm="script"))
    agent.create(embedded=False)
    agent.create(embedded=True)
    assert [frame["llm"] for frame in wire.sent] == ["openai/gpt-5", "script"]


async def test_channels_come_first_then_dev_config_then_what_waited() -> None:
    wire = Wire()
    agent = registration(wire, phone_numbers=(PhoneNumber("+13186330963", {"voice": "a/b"}),))
    agent.post('{"event":"one"}')
    agent.create(embedded=False)
    agent.post('{"event":"two"}')
    agent.created(['{"event":"dev.config"}'])
    agent.post('{"event":"three"}')
    assert wire.events == ["agent.create", "channel.add", "dev.config", "one", "two", "three"]
    assert wire.sent[1] == {
        "event": "channel.add",
        "agent_id": "front-desk",
        "type": "phone",
        "ref": "+13186330963",
        "voice": "a/b",
    }


async def test_a_second_created_adds_nothing_again() -> None:
    wire = Wire()
    agent = registration(wire, phone_numbers=(PhoneNumber("+13186330963"),))
    agent.created()
    agent.created()
    assert wire.events == ["channel.add"]


async def test_what_is_sent_while_the_connection_is_lost_waits_for_the_next() -> None:
    wire = Wire()
    agent = registration(wire)
    agent.created()
    wire.up = False
    agent.lost()
    agent.post('{"event":"one"}')
    wire.up = True
    agent.created()
    assert wire.events == ["one"]


async def test_a_full_queue_drops_its_oldest_and_says_so() -> None:
    wire = Wire()
    agent = registration(wire)
    for n in range(MAX_QUEUED + 3):
        agent.post(json.dumps({"event": str(n)}))
    agent.created()
    assert wire.dropped == 3
    assert wire.events == [str(n) for n in range(3, MAX_QUEUED + 3)]


async def test_channels_that_change_are_added_again_as_they_are_now() -> None:
    wire = Wire()
    agent = registration(
        wire, phone_numbers=(PhoneNumber("+1 318 633 0963"), PhoneNumber("+14155550100"))
    )
    agent.forget_channel("+13186330963", "phone")
    agent.change_channel("+1 (415) 555-0100", {"language": "es"})
    agent.keep_channel({"type": "whatsapp", "ref": "123", "accessToken": "t"})
    agent.keep_channel({"type": "whatsapp", "ref": "123", "accessToken": "u"})
    agent.created()
    assert [(f["ref"], f.get("language"), f.get("accessToken")) for f in wire.sent] == [
        ("+14155550100", "es", None),
        ("123", None, "u"),
    ]


async def test_registered_waits_and_is_told() -> None:
    agent = registration(Wire())
    waiting = asyncio.ensure_future(agent.registered())
    await asyncio.sleep(0)
    assert not waiting.done()
    agent.created()
    await waiting
    await agent.registered()


@pytest.mark.parametrize(
    ("code", "problem", "exit_code"),
    [
        ("AGENT_CONFLICT_FATAL", ConflictError, 6),
        ("SERVER_AT_CAPACITY", InfrastructureError, 3),
        ("REGISTRATION_ERROR", RegistrationRefusedError, 2),
    ],
)
async def test_a_final_refusal_fails_who_waits_and_who_asks_later(
    code: str, problem: type[Exception], exit_code: int
) -> None:
    agent = registration(Wire())
    waiting = asyncio.ensure_future(agent.registered())
    await asyncio.sleep(0)
    refuse(agent, code)
    with pytest.raises(problem) as caught:
        await waiting
    assert getattr(caught.value, "exit_code", None) == exit_code
    with pytest.raises(problem):
        await agent.registered()
    agent.create(embedded=False)
    agent.created()
    await agent.registered()


async def test_a_live_holder_is_named() -> None:
    agent = registration(Wire())
    problem = refuse(agent, "AGENT_CONFLICT_FATAL", holder={"name": "pinecall-cli", "pid": 4711})
    assert "pinecall-cli, process 4711" in str(problem)


async def test_a_registered_agent_survives_a_refused_change() -> None:
    agent = registration(Wire())
    agent.created()
    refuse(agent, "REGISTRATION_ERROR")
    assert agent.state == "registered"


async def test_a_conflict_is_tried_again_for_ninety_seconds() -> None:
    wire = Wire()
    agent = registration(wire)
    waiting = asyncio.ensure_future(agent.registered())
    loop = asyncio.get_running_loop()
    agent.create(embedded=True)
    while not waiting.done():
        wire.more.clear()
        refuse(agent, "AGENT_CONFLICT")
        again = asyncio.ensure_future(wire.more.wait())
        await asyncio.wait({again, waiting}, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
    with pytest.raises(ConflictError, match="stayed so for 90 s"):
        await waiting
    gaps = [b - a for a, b in zip(wire.times, wire.times[1:], strict=False)]
    for gap, nominal in zip(gaps, (5, 10, 20, 40), strict=False):
        assert gap <= nominal * 1.15 + 0.2
    assert wire.times[-1] == pytest.approx(90, abs=0.5)
    assert loop.time() == pytest.approx(90, abs=0.5)


async def test_the_servers_hint_sets_the_pace() -> None:
    wire = Wire()
    agent = registration(wire)
    agent.create(embedded=True)
    for _ in range(5):
        refuse(agent, "AGENT_CONFLICT", retry_after_s=1, holder_alive=True)
        await asyncio.sleep(1.2)
    assert len(wire.sent) == 6
    agent.created()
    await asyncio.sleep(100)
    assert len(wire.sent) == 6


async def test_a_lost_connection_ends_the_retries() -> None:
    wire = Wire()
    agent = registration(wire)
    agent.create(embedded=True)
    refuse(agent, "AGENT_CONFLICT")
    agent.lost()
    await asyncio.sleep(100)
    assert len(wire.sent) == 1


async def test_a_name_that_was_taken_is_claimed_only_when_asked() -> None:
    agent = registration(Wire())
    agent.created()
    agent.displaced(ConflictError("kicked"))
    with pytest.raises(ConflictError, match="kicked"):
        await agent.registered()
    assert agent.state == "displaced"
    agent.create(embedded=True)
    agent.created()
    await agent.registered()


async def test_half_a_surrogate_pair_and_odd_mappings_travel() -> None:
    wire = Wire()
    agent = registration(wire, prompt="\ud800", media={"live": True})
    agent.create(embedded=True)
    assert wire.sent[0]["prompt"] == "?"


async def test_a_reload_changes_the_channels_of_the_file_and_keeps_those_of_code() -> None:
    agent = registration(Wire(), phone_numbers=(PhoneNumber("+13186330963"),))
    agent.keep_channel({"type": "phone", "ref": "+14155550100", "language": "es"})
    agent.forget_channel("+13186330963", "phone")
    agent.replace(replace(agent.config, prompt="New."), {})
    assert [channel["ref"] for channel in agent.channels] == ["+14155550100"]
    moved = (PhoneNumber("+14155550101"), PhoneNumber("+1 415 555 0102"))
    agent.replace(replace(agent.config, phone_numbers=moved), {})
    assert [channel["ref"] for channel in agent.channels] == [
        "+14155550101",
        "+1 415 555 0102",
        "+14155550100",
    ]


async def test_who_leaves_while_the_name_is_held_asks_for_it_no_more() -> None:
    wire = Wire()
    agent = registration(wire)
    agent.create(embedded=True)
    waiting = asyncio.ensure_future(agent.registered())
    await asyncio.sleep(0)
    refuse(agent, "AGENT_CONFLICT")
    assert agent.leave() is False
    with pytest.raises(ConflictError, match="was removed"):
        await waiting
    await asyncio.sleep(100)
    assert len(wire.sent) == 1


async def test_who_leaves_and_is_refused_then_is_told_so_at_once() -> None:
    wire = Wire()
    agent = registration(wire)
    agent.create(embedded=True)
    assert agent.leave() is True
    waiting = asyncio.ensure_future(agent.registered())
    await asyncio.sleep(0)
    refuse(agent, "AGENT_CONFLICT")
    with pytest.raises(ConflictError):
        await waiting
    assert len(wire.sent) == 1


async def test_who_leaves_is_gone_when_the_connection_is() -> None:
    agent = registration(Wire())
    assert agent.leave() is True
    waiting = asyncio.ensure_future(agent.registered())
    await asyncio.sleep(0)
    agent.lost()
    with pytest.raises(ServerUnreachableError):
        await waiting


async def test_a_full_server_says_how_full() -> None:
    agent = registration(Wire())
    frame = Error(error="SERVER_AT_CAPACITY: full", code="SERVER_AT_CAPACITY", used=5, limit=5)
    problem = agent.refused(Outcome.CAPACITY, frame)
    assert isinstance(problem, CapacityError)
    assert (problem.code, problem.used, problem.limit) == ("server_at_capacity", 5, 5)
