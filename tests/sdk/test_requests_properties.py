"""Requests, answers, losses, returns in any order: each request ends, and is sent once at most."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pinecall_cli.agent.define import Agent
from pinecall_cli.protocol import events
from pinecall_cli.protocol.codec import decode_event
from pinecall_cli.sdk.answers import Answer
from pinecall_cli.sdk.callbook import CallBook
from pinecall_cli.sdk.dials import dial
from pinecall_cli.sdk.office import Office
from pinecall_cli.sdk.reception import Reception
from pinecall_cli.sdk.registrar import Registrar
from pinecall_cli.sdk.registration import Registration, frame_of
from tests.sdk.jumping import JumpingLoop

ABOUT = {"agent_id": "desk", "call_id": "c1"}
NUMBERS = {"from": "+14155550100", "to": "+14155550199"}
TOLD: dict[str, dict[str, Any]] = {
    "call.started": {**ABOUT, **NUMBERS, "direction": "inbound", "transport": "phone"},
    "call.ended": {**ABOUT, **NUMBERS, "direction": "inbound", "reason": "hangup"},
    "call.dialing": {**ABOUT, **NUMBERS, "call_id": "d1"},
    "call.error": {**ABOUT, "call_id": "d1", "error": "no line"},
    "call.held": ABOUT,
    "call.unmuted": ABOUT,
    "history.updated": {**ABOUT, "count": 1},
    "session.configured": ABOUT,
    "agent.configured": {"agent_id": "desk"},
    "channel.added": {"agent_id": "desk", "type": "phone", "ref": "+14155550101"},
    "bot.finished": {**ABOUT, "message_id": "", "duration_ms": 1},
    "error": {"agent_id": "desk", "error": "no", "code": "X"},
    "agent.created": {"agent_id": "desk"},
}
ASKED = ("configure", "channel", "dial", "say", "hold", "unmute", "prompt", "update", "hangup")
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(ASKED)),
    st.tuples(st.just("tell"), st.sampled_from(sorted(TOLD))),
    st.tuples(st.sampled_from(["lose", "return", "wait"]), st.just("")),
)


class World:
    """An office whose server is the list of steps."""

    def __init__(self) -> None:
        self.connected = True
        self.sent: list[dict[str, Any]] = []
        self.office = Office(self.send)
        self.office.loop = asyncio.get_running_loop()
        callbook = CallBook(self.office, idle=lambda: None)
        self.reception = Reception(self.office, Registrar(self.office), callbook)
        agent = Agent("desk", prompt="x", phone_number="+14155550100")
        self.office.agents["desk"] = agent
        self.registration = Registration(
            agent.config, agent.tools, send=self.send, dropped=lambda n: None
        )
        self.office.registrations["desk"] = self.registration
        self.asked: list[tuple[str, Answer[Any]]] = []
        """What was asked: a word that only its frame holds, and what came of it."""

    def send(self, frame: str) -> bool:
        if self.connected:
            self.sent.append(json.loads(frame))
        return self.connected

    def ask(self, what: str) -> None:
        mark, call = f"mark-{len(self.asked)}.", self.office.calls.get("c1")
        answer: Answer[Any]
        if what == "configure":
            frame = frame_of("agent.configure", agent_id="desk", prompt=mark)
            answer = self.office.ask_raw("desk", frame, ("agent.configured", "desk"), timeout=10)
        elif what == "channel":
            ref = "+14155550101"
            frame = frame_of("channel.add", agent_id="desk", type="phone", ref=ref, mark=mark)
            key = ("channel.added", "desk", "phone", ref)
            answer = self.office.ask_raw("desk", frame, key, timeout=10)
        elif what == "dial":
            answer = dial(self.office, "desk", NUMBERS["to"], metadata={"mark": mark})
        elif call is None:
            return
        else:
            answer = {
                "say": lambda: call.say(mark),
                "hold": call.hold,
                "unmute": call.unmute,
                "prompt": lambda: call.set_prompt(mark),
                "update": lambda: call.update(prompt=mark),
                "hangup": call.hangup,
            }[what]()
        self.asked.append((mark, answer))

    async def step(self, kind: str, what: str) -> None:
        match kind:
            case "ask":
                self.ask(what)
            case "tell" if self.connected:
                self.reception.frame(decode_event(json.dumps({"event": what, **TOLD[what]})))
            case "lose" if self.connected:
                self.connected = False
                self.reception.down("connection_lost", final=False)
            case "return" if not self.connected:
                self.connected = True
                self.reception.up(events.Connected())
            case "wait":
                await asyncio.sleep(7)
        await asyncio.sleep(0)

    def failed(self) -> set[str]:
        """Return the marks of what has failed so far."""
        over = [(mark, one._future) for mark, one in self.asked if one.done]
        return {mark for mark, future in over if future.exception() is not None}


@given(st.lists(STEPS, max_size=40))
@settings(max_examples=200, deadline=None)
def test_every_request_ends_and_none_is_sent_twice_or_after_it_failed(
    steps: list[tuple[str, str]],
) -> None:
    logging.disable(logging.CRITICAL)  # failures that nobody awaits are said to be
    try:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(judged(steps))
    finally:
        logging.disable(logging.NOTSET)


async def judged(steps: list[tuple[str, str]]) -> None:
    world = World()
    for kind, what in steps:
        failed, sent = world.failed(), len(world.sent)
        await world.step(kind, what)
        new = json.dumps(world.sent[sent:])
        assert not [mark for mark in failed if mark in new]
    everything = json.dumps(world.sent)
    assert all(everything.count(mark) <= 1 for mark, _ in world.asked)
    await asyncio.sleep(100)
    waits_for_ever = {"spoken"}  # as long as its call lives
    assert {key[0] for key in world.office.answers.waiting()} <= waits_for_ever
    await world.step("lose", "")
    assert world.office.answers.waiting() == []
    assert all(answer.done for _, answer in world.asked)
    for _, answer in world.asked:
        answer._watch.awaited = True  # whoever reads this test knows that they fail
    assert not world.reception._dials._ringing
