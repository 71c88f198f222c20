"""Replies that are written while everything else happens, in any order: none outlives its turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinecall_cli.sdk.reply_stream import ReplyStream
from tests.sdk.scripted import ABOUT, ENDED, STARTED, Model, World, jumping

WHICH = st.integers(0, 3)
STEPS = st.one_of(
    st.tuples(st.just("open"), st.sampled_from(["by hand", "piped"])),
    st.tuples(st.sampled_from(["write", "end", "token"]), WHICH),
    st.tuples(st.sampled_from(["interrupted", "rejected", "aborted", "cancel", "speaking"]), WHICH),
    st.tuples(
        st.sampled_from(["continued", "interrupted all", "clear", "hangup", "started", "ended"]),
        st.just(0),
    ),
    st.tuples(st.sampled_from(["turn", "lose", "return", "registered", "wait"]), st.just(0)),
)
REASONS = {
    "continued": "turn_continued",
    "interrupted": "interrupted",
    "interrupted all": "interrupted",
    "rejected": "obsolete",
    "aborted": "obsolete",
    "cancel": "cancelled",
    "clear": "cancelled",
    "ended": "call_ended",
    "started": "call_ended",  # one of the same id begins anew
    "lose": "connection_lost",
}
ONE = {"interrupted", "rejected", "aborted", "cancel"}
"""Steps about one message alone."""


class Writing:
    """One reply under way, and what the test knows of it."""

    def __init__(self, stream: ReplyStream, mark: str, *, piped: bool) -> None:
        self.stream, self.mark = stream, mark
        self.model = Model(mark)
        self.written = 0
        self.whole: bool | None = None
        self.author = asyncio.ensure_future(self._pipe() if piped else self._write())
        self._over = asyncio.Event()
        self.piped = piped

    async def _pipe(self) -> None:
        async with self.stream:
            self.whole = await self.stream.pipe(self.model.tokens())

    async def _write(self) -> None:
        async with self.stream:
            await self._over.wait()

    def write(self) -> None:
        self.written += 1
        self.stream.write(f"{self.mark}.{self.written} ")

    def end(self) -> None:
        self._over.set()
        self.stream.end()


@pytest.mark.parametrize("written", ["by hand", "piped"])
@pytest.mark.parametrize("step", REASONS)
def test_each_of_these_ends_a_reply_that_is_being_written(step: str, written: str) -> None:
    other = [("open", "by hand"), ("open", written), ("write", 1), ("token", 1)]
    jumping(lambda: judged([*other, (step, 1), ("write", 1), ("token", 1), ("return", 0)]))


@given(st.lists(STEPS, min_size=4, max_size=60))
@settings(max_examples=120, deadline=None)
def test_a_reply_is_a_stream_to_its_end_and_nothing_of_it_is_sent_once_nobody_hears_it(
    steps: list[tuple[str, Any]],
) -> None:
    jumping(lambda: judged(steps))


async def judged(steps: list[tuple[str, Any]]) -> None:
    world = World()
    world.come_back()
    world.tell("agent.created", agent_id="desk")
    world.tell("call.started", **STARTED)
    replies: list[Writing] = []
    turn = 0
    for what, detail in steps:
        over = {one.mark for one in replies if one.stream.ended}
        before, sent = [one.stream.reason for one in replies], len(world.sent)
        live = [one for one in replies if not one.stream.ended]
        which = replies[detail % len(replies)] if replies and isinstance(detail, int) else None
        reaches = world.connected and world.call is not None
        if what == "turn":
            turn += 1
        if what == "open" and world.call is not None:
            stream = world.call.reply_stream(f"msg_{turn}")
            replies.append(Writing(stream, f"r{len(replies)}", piped=detail == "piped"))
        else:
            step(world, what, which, turn)
        await settle()
        new = world.sent[sent:]
        # Nothing that was over is heard of again.
        assert not [one for one in of_streams(new) if mark_of(one, replies) in over]
        # Whatever ended one by itself has said so, and has taken its author along.
        for one, reason in zip(replies, before, strict=False):
            if one.stream.reason is not None and reason is None:
                assert one.stream.reason == REASONS[what]
                assert what not in ONE or one is which
            if one.stream.ended and one.piped:
                assert one.author.done()
                assert one.model.closed or one.model.given == 0
        if what in REASONS and reaches:
            concerned = [one for one in live if what not in ONE or one is which]
            assert not [one for one in concerned if not one.stream.ended], "it was told, or did so"
    for one in replies:
        one.end()
        await asyncio.wait_for(one.author, 1)
        check(one, world)
    assert world.call is None or all(one.ended for one in world.call.streams.values())


def step(world: World, what: str, which: Writing | None, turn: int) -> None:
    """Do one thing; one about a reply does nothing while there is none."""
    call, message = world.call, which.stream.message_id if which is not None else "msg_other"
    match what:
        case "write" if which is not None and not which.piped:
            which.write()
        case "end" if which is not None and not which.piped:
            which.end()
        case "token" if which is not None:
            which.model.go_on()
        case "speaking":
            world.tell("bot.speaking", **ABOUT, message_id=message, text="")
        case "interrupted":
            world.tell("bot.interrupted", **ABOUT, message_id=message, reason="user_spoke")
        case "interrupted all":
            world.tell("bot.interrupted", **ABOUT, reason="user_spoke")
        case "rejected":
            world.tell("reply.rejected", **ABOUT, message_id=message, reason="stale")
        case "aborted":
            world.tell("message.aborted", **ABOUT, message_id=message, reason="stale")
        case "continued":
            world.tell("turn.continued", **ABOUT, turn_id=turn)
        case "turn":
            about = {"message_id": f"msg_{turn}", "text": "Hello", "turn_id": turn}
            world.tell("user.message", **ABOUT, **about)
        case "cancel" if call is not None:
            call.cancel(message)
        case "clear" if call is not None:
            call.clear()
        case "hangup" if call is not None:
            call.hangup()._watch.awaited = True
        case "started":
            world.tell("call.started", **STARTED)
        case "ended":
            world.tell("call.ended", **ENDED)
        case "registered":
            world.tell("agent.created", agent_id="desk")
        case "lose":
            world.lose()
        case "return":
            world.come_back()


async def settle() -> None:
    """Let everybody do what there is to do now; nothing here waits for time."""
    for _ in range(8):
        await asyncio.sleep(0)


def of_streams(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in frames if one["event"] == "bot.reply.stream"]


def mark_of(frame: dict[str, Any], replies: list[Writing]) -> str:
    return next(one.mark for one in replies if one.stream.message_id == frame["message_id"])


def check(one: Writing, world: World) -> None:
    """Judge a reply by all that was sent of it."""
    frames = [f for f in of_streams(world.sent) if f["message_id"] == one.stream.message_id]
    actions = [frame["action"] for frame in frames]
    tokens = [frame["token"] for frame in frames if frame["action"] == "chunk"]
    assert actions[:1] in ([], ["start"])
    assert actions.count("start") <= 1
    assert actions.count("end") <= 1
    assert "end" not in actions[:-1]
    assert tokens == [f"{one.mark}.{n} " for n in range(1, len(tokens) + 1)]
    if one.stream.reason != "connection_lost" and actions:
        assert actions[-1] == "end"
    if one.stream.reason is None:
        assert actions, "one that was ended is opened, if only to be closed"
    if not one.piped:
        assert len(tokens) + one.stream.ignored == one.written
    else:
        assert one.whole is not True or one.stream.reason is None
        assert one.model.given - len(tokens) <= 1
