"""Whatever a server sends, in whatever order: nothing raises, and the books stay in order."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pinecall_cli.agent.define import Agent
from pinecall_cli.protocol.codec import decode_event
from pinecall_cli.sdk.callbook import CallBook
from pinecall_cli.sdk.office import Office
from pinecall_cli.sdk.reception import Reception
from pinecall_cli.sdk.registrar import Registrar
from pinecall_cli.sdk.registration import Registration

CALLS = ["CA1", "chat-1", "wrt_1", "wa-1"]
AGENTS = ["front-desk", "org_1:front-desk", "nobody", ""]
NAMES = [
    "call.started", "call.ended", "call.ringing", "call.updated", "llm.chat.started",
    "llm.chat.ended", "llm.chat.error", "llm.chat.chunk", "chat.message", "chat.response",
    "whatsapp.session_started", "whatsapp.session_ended", "user.message", "user.speaking",
    "turn.end", "turn.continued", "eager.turn", "bot.speaking", "bot.word", "bot.finished",
    "bot.interrupted", "message.confirmed", "reply.rejected", "llm.before", "llm.tool_call",
    "skill.loaded", "skill.unloaded", "session.timeout", "history.updated", "history.data",
    "session.configured", "agent.created", "agent.configured", "agent.displaced", "channel.added",
    "channel.removed", "error", "weather.changed", "llm.mood", "pong", "connected",
]  # fmt: skip
FRAMES = st.fixed_dictionaries(
    {"event": st.sampled_from(NAMES)},
    optional={
        "agent_id": st.sampled_from(AGENTS),
        "call_id": st.sampled_from(CALLS),
        "session_id": st.sampled_from(CALLS),
        "message_id": st.sampled_from(["m1", "m2", ""]),
        "msg_id": st.sampled_from(["r1", "r2"]),
        "text": st.sampled_from(["", "Hello"]),
        "word": st.just("Hello"),
        "word_index": st.just(0),
        "token": st.just("He"),
        "reason": st.sampled_from(["hangup", "busy"]),
        "from": st.just("+1415"),
        "to": st.just("+1318"),
        "contact_phone": st.just("34"),
        "skill": st.just("booking"),
        "language": st.just("es"),
        "type": st.just("phone"),
        "ref": st.just("+1318"),
        "code": st.sampled_from(["PHONE_IN_USE", "REGISTRATION_ERROR", "AGENT_CONFLICT", "X"]),
        "error": st.sampled_from(["", "no"]),
        "messages": st.lists(st.just({"role": "user", "content": "x"}), max_size=2),
        "tool_calls": st.lists(st.just({"id": "t", "name": "x", "arguments": "{}"}), max_size=2),
        "turn": st.integers(0, 3),
    },
)


@given(frames=st.lists(st.one_of(FRAMES, st.dictionaries(st.text(), st.integers())), max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_sequence_of_frames_leaves_the_books_in_order(frames: list[dict[str, Any]]) -> None:
    logger = logging.getLogger("pinecall")
    before = logger.level
    logger.setLevel(logging.CRITICAL)  # most of it is nonsense, and is said to be
    try:
        asyncio.run(receive(frames))
    finally:
        logger.setLevel(before)


async def receive(frames: list[dict[str, Any]]) -> None:
    office = Office(lambda frame: True)
    office.loop = asyncio.get_running_loop()
    open_calls: dict[str, Any] = {}
    ended: list[Any] = []
    reception = Reception(office, Registrar(office), CallBook(office, idle=lambda: None))
    agent = Agent("front-desk", prompt="x")
    agent.on("call.ended", lambda call, reason: ended.append(call))
    agent.on("*", lambda event, call=None: open_calls.update({call.id: call} if call else {}))
    office.agents["front-desk"] = agent
    office.registrations["front-desk"] = Registration(
        agent.config, agent.tools, send=office.send, dropped=lambda n: None
    )
    for fields in frames:
        reception.frame(decode_event(json.dumps(fields)))
        for call_id, call in office.calls.items():
            assert call.id == call_id
            assert call.status == "active"
            assert call.agent_id == "front-desk"
    await office.crew.finish(1)
    reception.down("connection_lost", final=True)
    assert not office.calls
    assert not office.answers.waiting()
    assert all(call.status == "ended" for call in ended)
    assert len({id(call) for call in ended}) == len(ended)
