"""What is left of calls once they are over: nothing, but for what is kept on purpose."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

import httpx
import pytest
import websockets

from pinecall_cli.sdk.live import LiveAudio
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.bench.day import Day
from tests.bench.held import grown, held
from tests.fakes.engines import tone
from tests.sdk.jumping import JumpingLoop
from tests.server.browser import browsing, speaking
from tests.server.calling import calling
from tests.server.chat_page import page
from tests.server.peer import PATIENCE_S, Peer, bearer, connected, token

CALLS = 25
ROUND_TRIPS = 20
"""In which what closes has closed: most of it in one."""
SCRIPT = {"provider": "script", "rules": [{"say": "You said {text}."}]}
KEPT = {
    "objects server.text.messages.Outgoing",  # the newest 1,000
    "table whatsapp._remembered[].outbox",
    "table whatsapp._remembered[].seen",  # the newest 10,000
}


def test_calls_of_every_kind_leave_no_object_no_task_and_no_entry_of_a_table_behind():
    async def day() -> tuple[Counter[str], Counter[str]]:
        async with Day() as day:
            for _ in range(day.kinds):
                await day.round()
            before = held(day.server)
            for _ in range(CALLS):
                await day.round()
            return before, held(day.server)

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        before, after = runner.run(day())
    more = grown(before, after, 1)
    assert before["tasks"] > 0
    assert before["table registry._agents"] == 3
    assert set(more) <= KEPT, more


async def at(server: EmbeddedServer) -> Counter[str]:
    """Return what a server holds, as its own thread sees it between two things it does."""
    found: Future[Counter[str]] = Future()
    await asyncio.wrap_future(server.server.journal.ask(lambda database: None))
    server.call_soon(lambda: found.set_result(held(server.server)))
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.wrap_future(found)


async def left(before: Counter[str], server: EmbeddedServer, owner: Peer) -> dict[str, int]:
    """Return what there is more of than before, once all that is on its way out has gone."""
    more = grown(before, await at(server), 1)
    for _ in range(ROUND_TRIPS):
        if not more:
            break
        await owner.settled()
        more = grown(before, await at(server), 1)
    return more


async def speak_and_listen(server: EmbeddedServer, owner: Peer) -> None:
    """Call over the microphone socket, with a listener and a reader of the log."""
    async with calling(server) as (caller, call_id):
        audio = await LiveAudio.open(server.url, Secret(server.key), call_id)
        url = f"ws{server.url[4:]}/v1/attach?call={call_id}"
        async with websockets.connect(url, additional_headers=bearer(server.key)) as log:
            await owner.until("bot.speaking")
            await caller.call.hangup()
            await owner.until("call.ended")
            async for _ in audio:
                pass
            types = [json.loads(entry)["type"] async for entry in log]
    assert types[-1] in ("call.summary", "log.caught_up")


async def write(server: EmbeddedServer, owner: Peer) -> None:
    """Write from a page."""
    async with page(server, await token(server, kind="chat")) as browser:
        await browser.send("message", text="hello")
        await browser.until("chat.done")
    await owner.until("llm.chat.ended")


async def call_from_a_page(server: EmbeddedServer, owner: Peer) -> None:
    """Call from a browser, and be answered."""
    async with browsing(server) as browser:
        browser.say(tone(800))
        await browser.until("user.message")
    await owner.until("call.ended")


async def ask(server: EmbeddedServer, owner: Peer) -> None:
    """Ask over HTTP, also for what there is not."""
    async with httpx.AsyncClient(base_url=server.url, headers=bearer(server.key)) as http:
        for path in ("/v1/calls", "/api/sdk/agents", "/v1/calls/none/events", "/nowhere"):
            await http.get(path)
        body = {"input": "Hello.", "model": "hibari", "voice": "heart"}
        await http.post("/v1/audio/speech", json=body)


@pytest.mark.parametrize("visit", [speak_and_listen, write, call_from_a_page, ask])
async def test_sockets_and_requests_leave_nothing_behind(
    visit: Callable[[EmbeddedServer, Peer], Awaitable[None]], network: None
):
    async with speaking() as server, connected(server, server.key) as owner:
        await owner.agent("desk", llm=SCRIPT, greeting="Desk here.", preparing=False)
        for _ in range(2):
            await visit(server, owner)
        before = await at(server)
        for _ in range(3):
            await visit(server, owner)
            owner.seen.clear()
        assert await left(before, server, owner) == {}
