"""How long a server waits for a client's commands (commands.md §8.1, §9.1, §11.1)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conformance.answered import OURS, SCRIPT
from tests.conformance.paragraphs import holds
from tests.sdk.jumping import BACKEND
from tests.server.dialled import Office
from tests.server.incoming import Incoming

LOOKUP = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}


@pytest.fixture
def anyio_backend() -> Any:
    """Jump over the waiting."""
    return BACKEND


@holds("commands", "8.1")
@holds("open-questions", "C")
async def test_a_tool_that_nobody_answers_is_an_error_after_30_seconds_and_the_turn_goes_on():
    async with Office() as office:
        owner = office.owner("desk", None, llm=SCRIPT, tools=[LOOKUP])
        chat = {"agent_id": "desk", "session_id": "chat-1"}
        owner.send("llm.chat", **chat, text="order")
        await owner.until("llm.tool_call")
        await owner.until("llm.chat.tool_result", result='{"error": "timeout"}')
        assert asyncio.get_running_loop().time() == pytest.approx(30, abs=0.1)
        owner.send("llm.chat", **chat, text="still there?")
        await owner.until("llm.chat.done", text="You said still there?.")


@holds("commands", "9.1")
async def test_a_call_that_rings_is_taken_after_five_seconds():
    async with Office() as office:
        owner = office.owner("desk", OURS, ringing=True)
        Incoming(office)
        rung, started = await owner.until("call.ringing"), await owner.until("call.started")
        assert started["call_id"] == rung["call_id"]
        waited = [owner.at[owner.frames.index(frame)] for frame in (rung, started)]
        assert waited[1] - waited[0] == pytest.approx(5, abs=0.1)


@holds("commands", "11.1")
@pytest.mark.parametrize(
    ("config", "after_s"), [({}, 2.5), ({"extension_window_ms": 400}, 0.4)], ids=str
)
async def test_a_line_hears_of_its_call_when_the_window_for_an_extension_closes(
    config: dict[str, int], after_s: float
):
    async with Office() as office:
        line = office.peer()
        line.send("line.create", number=OURS, config=config)
        Incoming(office)
        started = await line.until("call.started")
        assert started["extension"] is None
        assert line.at[line.frames.index(started)] == pytest.approx(after_s, abs=0.05)
