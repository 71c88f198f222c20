"""When an agent begins: once it can be heard; with metadata, once the call may be set up."""

from __future__ import annotations

from typing import Any

from pinecall_cli.protocol import events
from tests.server.fast_call import Call

SEALED = {"userId": "u_9"}


def begins(call: Call) -> int:
    """Return when the agent's first word began, on the call's clock."""
    told = zip(call.events, call.at, strict=True)
    return next(at for event, at in told if isinstance(event, events.BotSpeaking))


def when(call: Call, at: int, act: Any) -> Call:
    """Let ``act`` happen at a time of the call."""
    pace = call.pace

    async def paced(position: int) -> None:
        if position == at:
            act(call.session)
        await pace(position)

    call.pace = paced  # type: ignore[method-assign]
    return call


async def test_without_metadata_the_greeting_comes_at_once():
    assert begins(await Call(greeting="Hello", until=1500).hold()) <= 40


async def test_with_metadata_it_waits_600_ms_for_the_application():
    call = await Call(greeting="Hello", metadata=SEALED, until=2000).hold()
    assert 600 <= begins(call) <= 640


async def test_a_call_that_has_been_set_up_waits_no_longer():
    call = Call(greeting="Hello", metadata=SEALED, until=2000)
    patch = {"greeting": "Hello Ana"}
    await when(call, 200, lambda session: session.configure(patch)).hold()
    assert 200 <= begins(call) <= 240
    assert call.of(events.BotSpeaking)[0].text == "Hello Ana"


async def test_nothing_is_said_to_somebody_who_cannot_hear_yet():
    call = Call(greeting="Hello there", until=2500)
    call.session.audible = False
    await when(call, 1000, lambda session: setattr(session, "audible", True)).hold()
    assert begins(call) == 1000
    assert bytes(call.heard[: 1000 * 32]) == bytes(1000 * 32)
    (finished,) = call.of(events.BotFinished)
    assert finished.duration_ms == 60 * len("Hello there")
