"""Requests, answers, losses, returns in any order: each request ends, and is sent once at most."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinecall_cli.sdk.answers import Answer
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.dials import bridge, dial
from pinecall_cli.sdk.registration import frame_of
from tests.sdk.scripted import ABOUT, ENDED, NUMBERS, STARTED, World, jumping

OTHER = "+14155550101"
TOLD: dict[str, dict[str, Any]] = {
    "call.started": STARTED,
    "call.ended": ENDED,
    "call.dialing": {**ABOUT, **NUMBERS, "call_id": "d1"},
    "call.error": {**ABOUT, "call_id": "d1", "error": "no line"},
    "call.held": ABOUT,
    "call.unheld": ABOUT,
    "call.muted": ABOUT,
    "call.unmuted": {**ABOUT, "muted_transcript": "Hello?"},
    "call.dtmf_sent": {**ABOUT, "digits": "7"},
    "call.forwarded": {**ABOUT, "to": OTHER},
    "skill.loaded": {**ABOUT, "skill": "booking"},
    "skill.unloaded": {**ABOUT, "skill": "booking"},
    "history.updated": {**ABOUT, "count": 1},
    "history.data": {**ABOUT, "messages": []},
    "session.configured": ABOUT,
    "session.paused": {"agent_id": "desk", "session_id": "c1"},
    "session.resumed": {"agent_id": "desk"},
    "agent.configured": {"agent_id": "desk"},
    "channel.added": {"agent_id": "desk", "type": "phone", "ref": OTHER},
    "channel.removed": {"agent_id": "desk", "ref": OTHER},
    "turn.continued": {**ABOUT, "turn_id": 1},
    "bot.finished": {**ABOUT, "message_id": "", "duration_ms": 1},
    "bot.interrupted": {**ABOUT, "reason": "user_spoke"},
    "reply.rejected": {**ABOUT, "message_id": "", "reason": "stale"},
    "error": {"agent_id": "desk", "error": "no", "code": "X"},
    "error of the call": {**ABOUT, "error": "no", "code": "CALL_NOT_FOUND"},
    "error of nobody": {"error": "no", "code": "X"},
    "agent.displaced": {"agent_id": "desk", "reason": "kicked"},
    "agent.created": {"agent_id": "desk"},
}
IN_CALL: dict[str, Callable[[Call, str], Answer[Any]]] = {
    "say": lambda call, mark: call.say(mark),
    "reply": lambda call, mark: call.reply(mark),
    "hold": lambda call, mark: call.hold(),
    "unhold": lambda call, mark: call.unhold(),
    "mute": lambda call, mark: call.mute(),
    "unmute": lambda call, mark: call.unmute(),
    "dtmf": lambda call, mark: call.send_dtmf("7"),
    "forward": lambda call, mark: call.forward(OTHER, message=mark),
    "skill": lambda call, mark: call.load_skill("booking"),
    "skill off": lambda call, mark: call.unload_skill("booking"),
    "prompt": lambda call, mark: call.set_prompt(mark),
    "history": lambda call, mark: call.get_history(),
    "add": lambda call, mark: call.add_history([{"role": "user", "content": mark}]),
    "update": lambda call, mark: call.update(prompt=mark),
    "hangup": lambda call, mark: call.hangup(),
}
OF_AGENT = ("configure", "channel", "channel off", "dial", "bridge", "create")
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from((*IN_CALL, *OF_AGENT))),
    st.tuples(st.just("tell"), st.sampled_from(sorted(TOLD))),
    st.tuples(st.sampled_from(["lose", "return", "wait", "cancel", "clear"]), st.just("")),
    st.tuples(st.just("tell"), st.sampled_from(["call.started", "agent.created"])),
)


class Asking(World):
    """A world in which things are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, Answer[Any]]] = []
        """What was asked: a word that only its frame holds, and what came of it."""

    def ask(self, what: str) -> None:
        mark, call = f"mark-{len(self.asked)}.", self.call
        if what in IN_CALL and call is None:
            return
        answer = self.of_agent(what, mark) if call is None else self.of_call(call, what, mark)
        self.asked.append((mark, answer))

    def of_call(self, call: Call, what: str, mark: str) -> Answer[Any]:
        return IN_CALL[what](call, mark) if what in IN_CALL else self.of_agent(what, mark)

    def of_agent(self, what: str, mark: str) -> Answer[Any]:
        office, about = self.office, {"agent_id": "desk", "mark": mark}
        match what:
            case "configure":
                frame = frame_of("agent.configure", **about)
                return office.ask_raw("desk", frame, ("agent.configured", "desk"), timeout=10)
            case "channel":
                frame = frame_of("channel.add", type="phone", ref=OTHER, **about)
                key = ("channel.added", "desk", "phone", OTHER)
                return office.ask_raw("desk", frame, key, timeout=10)
            case "channel off":
                frame = frame_of("channel.remove", ref=OTHER, **about)
                return office.ask_raw("desk", frame, ("channel.removed", "desk", OTHER), timeout=10)
            case "dial":
                return dial(office, "desk", NUMBERS["to"], metadata={"mark": mark})
            case "bridge":
                return bridge(office, "desk", "other", metadata={"mark": mark})
        return office.request(
            ("agent.created", "desk"), lambda _: self.registration.create(embedded=True), timeout=10
        )

    async def step(self, kind: str, what: str) -> None:
        match kind:
            case "ask":
                self.ask(what)
            case "tell":
                self.tell(what.partition(" ")[0], **TOLD[what])
            case "cancel" | "clear" if self.call is not None:
                self.call.cancel() if kind == "cancel" else self.call.clear()
            case "lose":
                self.lose()
            case "return":
                self.come_back()
            case "wait":
                await asyncio.sleep(7)
        await asyncio.sleep(0)

    def failed(self) -> set[str]:
        """Return the marks of what has failed so far."""
        over = [(mark, one._future) for mark, one in self.asked if one.done]
        return {mark for mark, future in over if future.exception() is not None}


@pytest.mark.parametrize("what", [*IN_CALL, *OF_AGENT])
@pytest.mark.parametrize("then", ["lose", "wait", "call.ended", "error", "error of the call"])
def test_each_of_these_ends_a_request(what: str, then: str) -> None:
    after = [("tell", then)] if then in TOLD else [(then, "")]
    begun = [("tell", "agent.created"), ("tell", "call.started"), ("ask", what)]
    jumping(lambda: judged([*begun, *after, ("return", ""), ("tell", "agent.created")]))


@given(st.lists(STEPS, min_size=3, max_size=40))
@settings(max_examples=200, deadline=None)
def test_every_request_ends_and_none_is_sent_twice_or_after_it_failed(
    steps: list[tuple[str, str]],
) -> None:
    jumping(lambda: judged(steps))


async def judged(steps: list[tuple[str, str]]) -> None:
    world = Asking()
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
