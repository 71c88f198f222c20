from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from pinecall_cli.protocol.frames import Command
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.outlet import Stamps
from pinecall_cli.server.agents.registry import (
    Channel,
    Claim,
    Connection,
    Refused,
    RegisteredAgent,
    Registration,
    Registry,
)

ORG, OTHER = Organisation("org_1", "pk_one"), Organisation("org_2", "pk_two")


class Line:
    """Both ends of a connection: what was sent to it and how it was closed."""

    def __init__(self, org: Organisation = ORG, callers: tuple[str, ...] = ()) -> None:
        self.frames: list[dict[str, Any]] = []
        self.closed: list[tuple[int, str]] = []
        self.connection = Connection(
            id="conn_1",
            org=org,
            client={"name": "test", "pid": 1},
            stamps=Stamps(),
            post=lambda text: self.frames.append(json.loads(text)),
            close=lambda code, reason: self.closed.append((code, reason)),
        )
        self.connection.dev_callers = callers


class Call:
    """A live session that does nothing but be one."""

    def __init__(self, agent: RegisteredAgent, call_id: str = "c1") -> None:
        self.agent, self.call_id = agent, call_id

    def handle(self, command: Command) -> None: ...

    def configure(self, patch: Mapping[str, Any]) -> None: ...

    def payload_changed(self, patch: Mapping[str, Any]) -> None: ...

    def reannounce(self) -> None: ...

    def end(self, reason: str) -> None: ...


def register(registry: Registry, line: Line, name: str = "Front Desk", **payload: Any) -> Claim:
    claim = registry.claim(line.connection, Registration(name, payload, ()))
    assert isinstance(claim, Claim)
    return claim


def test_an_agent_is_found_by_slug_by_id_and_by_compound_id():
    registry, line = Registry(), Line()
    agent = register(registry, line).agent
    for name in ("front-desk", "Front Desk", "org_1:front-desk", "FRONT_desk"):
        assert registry.find(ORG, name) is agent
        assert line.connection.agent(name) is agent
    assert registry.find(OTHER, "front-desk") is None
    assert registry.find(ORG, "") is None


def test_a_held_name_names_its_holder():
    registry, one, two = Registry(), Line(), Line()
    register(registry, one)
    held = registry.claim(two.connection, Registration("front desk", {}, ()))
    assert held is one.connection


def test_a_lost_agent_is_gone_unless_it_is_in_a_call():
    registry, line = Registry(), Line()
    idle, busy = register(registry, line, "idle").agent, register(registry, line, "busy").agent
    call = Call(busy)
    registry.opened(call)
    assert registry.disconnected(line.connection) == (busy,)
    assert not idle.online
    assert registry.find(ORG, "busy") is None
    assert list(registry.online()) == []
    assert registry.session(ORG, "c1") is call
    back = register(registry, Line(), "busy")
    assert back.resumed
    assert back.agent is busy
    assert not register(registry, Line(), "idle").resumed


def test_a_lost_agent_is_forgotten_with_its_last_call():
    registry, line = Registry(limit=1), Line()
    call = Call(register(registry, line).agent)
    registry.opened(call)
    registry.disconnected(line.connection)
    registry.closed(call)
    assert not register(registry, Line(), "another").resumed


def test_a_removed_agent_frees_its_name_and_keeps_its_calls():
    registry, line = Registry(), Line()
    old = register(registry, line).agent
    call = Call(old)
    registry.opened(call)
    registry.remove(old)
    new = register(registry, line)
    assert not new.resumed
    assert new.agent is not old
    assert call.agent.connection is line.connection
    assert registry.disconnected(line.connection) == (old,)
    registry.closed(call)
    assert registry.sessions() == ()


def test_a_displaced_holder_is_told_and_its_calls_go_to_the_next():
    registry, line = Registry(), Line()
    agent = register(registry, line).agent
    other = register(registry, line, "other").agent
    registry.opened(Call(agent))
    registry.displace(agent, "Displaced")
    assert line.frames[-1]["event"] == "agent.displaced"
    assert line.closed == []
    assert register(registry, Line()).resumed
    registry.displace(other, "Displaced")
    assert line.closed == [(4001, "Displaced")]


def test_a_call_id_is_taken_once_in_each_organisation():
    registry = Registry()
    one = register(registry, Line()).agent
    two = register(registry, Line(OTHER)).agent
    registry.opened(Call(one))
    registry.opened(Call(two))
    with pytest.raises(Refused) as taken:
        registry.opened(Call(one))
    assert taken.value.code == "SESSION_IN_USE"


def test_only_so_many_agents_are_taken():
    registry, line = Registry(limit=2), Line()
    register(registry, line, "a")
    register(registry, line, "b")
    register(registry, line, "b")
    with pytest.raises(Refused) as full:
        register(registry, line, "c")
    assert full.value.extra == {"used": 2, "limit": 2}
    registry.disconnected(line.connection)
    register(registry, line, "c")


def test_a_number_leads_to_its_owner_and_a_developers_callers_to_the_developer():
    registry, number = Registry(), "+13186330963"
    production = register(registry, Line(), "desk").agent
    twin = register(registry, Line(callers=("+34600",)), "dev-desk").agent
    for agent in (production, twin):
        agent.channels["phone", number] = Channel("phone", number, {"language": "es"})
    assert registry.owner_of(ORG, number) is production
    assert registry.owner_of(OTHER, number) is None
    assert registry.dev_owner_of(ORG, number, "+34600") is twin
    assert registry.dev_owner_of(ORG, number, "+1") is None
    assert registry.dev_owner_of(ORG, "+2", "+34600") is None


def test_a_channel_says_what_is_different_on_it():
    agent = register(Registry(), Line(), "a", prompt="hi", language="en").agent
    agent.channels["phone", "+1"] = Channel("phone", "+1", {"language": "es"})
    assert agent.config_for("phone", "+1") == {"language": "es", "prompt": "hi"}
    assert agent.config_for("webrtc") == {"language": "en", "prompt": "hi"}


async def test_a_peer_answers_with_any_frame_and_a_lost_one_not_at_all():
    line = Line()
    for event, expected in ((line.connection.heard, True), (line.connection.lost, False)):
        asking = asyncio.ensure_future(line.connection.answers(3600))
        await asyncio.sleep(0)
        assert line.frames[-1]["event"] == "ping"
        event()
        assert await asking is expected
    assert await line.connection.answers(0.001) is False


async def test_whoever_waits_for_a_change_hears_of_every_one():
    registry, line = Registry(), Line()
    call = Call(register(registry, line).agent)
    registry.opened(call)
    waiting = [asyncio.ensure_future(registry.changed()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    registry.closed(call)
    await asyncio.gather(*waiting[1:])
