"""How long the sessions of a socket that is gone are kept (README §7), on a clock that jumps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conformance.answered import SCRIPT
from tests.conformance.paragraphs import holds
from tests.sdk.jumping import BACKEND
from tests.server.dialled import Office


@pytest.fixture
def anyio_backend() -> Any:
    return BACKEND


@holds("README", "7")
@holds("open-questions", "B")
@pytest.mark.parametrize(("away_s", "kept"), [(44.0, True), (46.0, False)])
async def test_sessions_are_kept_for_45_seconds(away_s: float, kept: bool):
    async with Office() as office:
        owner, sender = office.owner("desk", None, llm=SCRIPT), office.peer()
        sender.send("llm.chat", agent_id="desk", session_id="chat-1", text="hi")
        await sender.until("llm.chat.done")
        owner.leave()
        await asyncio.sleep(away_s)
        back = office.owner("desk", None, llm=SCRIPT)
        assert bool(back.of("agent.resumed")) is kept
        assert bool(back.of("llm.chat.started")) is kept
        back.send("history.get", call_id="chat-1", request_id="r")
        assert len((await back.until("history.data"))["messages"]) == (2 if kept else 0)
