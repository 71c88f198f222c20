"""The connection, in memory and without waiting: greeting, pings, loss, return, refusal."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pinecall_cli import __version__
from pinecall_cli.errors import (
    InfrastructureError,
    NotAuthorisedError,
    PinecallError,
    ServerUnreachableError,
)
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.sdk.link import MAX_OUTGOING, STALE_KEYS, Link
from pinecall_cli.sdk.socket import Socket, SocketClosedError
from pinecall_cli.settings import Secret
from tests.sdk.jumping import BACKEND


@pytest.fixture
def anyio_backend() -> object:
    return BACKEND


class Line(Socket):
    """Both ends of a socket in memory; the test holds the server's."""

    def __init__(self) -> None:
        self.to_client: asyncio.Queue[str | SocketClosedError] = asyncio.Queue()
        self.to_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed: tuple[int, str] | None = None
        self.stuck = False

    async def send(self, message: str | bytes) -> None:
        if self.closed is not None:
            raise SocketClosedError(*self.closed)
        if self.stuck:
            await asyncio.sleep(1e9)
        self.to_server.put_nowait(json.loads(message))

    async def receive_bytes(self) -> bytes:
        frame = await self.to_client.get()
        if isinstance(frame, SocketClosedError):
            self.closed = (frame.code, frame.reason)
            raise frame
        return frame.encode()

    async def close(self, code: int = 1000, reason: str = "client_disconnect") -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self.to_client.put_nowait(SocketClosedError(code, reason))

    # --- the server's side ---

    def say(self, event: str, **fields: Any) -> None:
        self.to_client.put_nowait(json.dumps({"event": event, **fields}))

    def hang_up(self, code: int = 1006, reason: str = "connection_lost") -> None:
        self.to_client.put_nowait(SocketClosedError(code, reason))

    async def hear(self) -> dict[str, Any]:
        return await self.to_server.get()


class World:
    """A link, the lines it opened, and everything its ears were told, with the time."""

    def __init__(self, key: Any = None, **options: Any) -> None:
        self.lines: asyncio.Queue[Line] = asyncio.Queue()
        self.told: list[tuple[Any, ...]] = []
        self.frames: list[Received] = []
        self.unreachable = 0
        self.accepted = asyncio.Event()
        self.stumble = False
        self.opened_at: list[float] = []
        self.link = Link(
            "ws://voice.test",
            key or Secret("pk_1"),
            self,
            chance=lambda: 0.0,
            open_socket=self.open,
            **options,
        )

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def open(self, url: str) -> Line:
        assert url == "ws://voice.test/client"
        self.opened_at.append(self.now)
        if self.unreachable:
            self.unreachable -= 1
            raise ServerUnreachableError("nobody there")
        line = Line()
        self.lines.put_nowait(line)
        return line

    async def connected(self) -> Line:
        line = await self.lines.get()
        await line.hear()
        self.accepted.clear()
        line.say("connected", embedded=True)
        await self.accepted.wait()
        return line

    # --- Ears ---

    def attempted(self, problem: PinecallError | None) -> None:
        self.told.append(("attempted", problem))

    def up(self, connected: events.Connected) -> None:
        self.told.append(("up", connected))
        self.accepted.set()

    def frame(self, received: Received) -> None:
        self.frames.append(received)
        if self.stumble:
            raise ValueError("a fault of ours")

    def down(self, reason: str, *, final: bool) -> None:
        self.told.append(("down", reason, final))

    def reconnecting(self, attempt: int, delay: float) -> None:
        self.told.append(("reconnecting", attempt, delay))

    def gave_up(self, problem: PinecallError) -> None:
        self.told.append(("gave_up", problem))

    def dropped(self, frames: int) -> None:
        self.told.append(("dropped", frames))


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    made = World(**options)
    made.link.start()
    try:
        yield made
    finally:
        await made.link.stop()


async def pause() -> None:
    """Let everything run that can."""
    await asyncio.sleep(0.01)


async def test_the_first_frame_is_connect_with_the_key_and_who_we_are() -> None:
    async with world() as w:
        line = await w.lines.get()
        assert await line.hear() == {
            "event": "connect",
            "api_key": "pk_1",
            "client": {"name": "pinecall-cli", "version": __version__, "pid": os.getpid()},
        }
        assert not w.link.is_up
        assert not w.link.post("{}")
        line.say("connected", embedded=True)
        await pause()
        assert w.link.is_up
        assert [entry[0] for entry in w.told] == ["attempted", "up"]
        assert isinstance(w.frames[0].frame, events.Connected)


async def test_frames_leave_in_order_and_arrive_in_order() -> None:
    async with world() as w:
        line = await w.connected()
        for n in range(5):
            assert w.link.post(json.dumps({"event": "x", "n": n}))
            line.say("custom", n=n)
        assert [(await line.hear())["n"] for _ in range(5)] == list(range(5))
        await pause()
        assert [f.fields()["n"] for f in w.frames[1:]] == list(range(5))


async def test_a_ping_goes_out_every_thirty_seconds() -> None:
    async with world() as w:
        line = await w.connected()
        start = w.now
        for n in (1, 2, 3):
            assert await line.hear() == {"event": "ping"}
            assert w.now - start == pytest.approx(30 * n, abs=0.1)


async def test_a_servers_ping_is_answered_even_before_it_has_accepted_the_key() -> None:
    async with world() as w:
        line = await w.lines.get()
        await line.hear()
        line.say("ping")
        assert await line.hear() == {"event": "pong"}
        line.say("connected")
        line.say("ping")
        assert await line.hear() == {"event": "pong"}


async def test_attempts_come_after_1_2_4_up_to_30_seconds_and_anew_after_success() -> None:
    async with world() as w:
        w.unreachable = 7
        line = await w.connected()
        delays = [entry[2] for entry in w.told if entry[0] == "reconnecting"]
        assert delays == [1, 2, 4, 8, 16, 30, 30]
        attempts = [entry[1] for entry in w.told if entry[0] == "reconnecting"]
        assert attempts == [1, 2, 3, 4, 5, 6, 7]
        w.told.clear()
        line.hang_up()
        await w.connected()
        assert [e for e in w.told if e[0] in ("down", "reconnecting")] == [
            ("down", "connection_lost", False),
            ("reconnecting", 1, 1.0),
        ]


@pytest.mark.parametrize("with_error", [True, False])
async def test_a_refused_key_is_final(with_error: bool) -> None:
    async with world() as w:
        line = await w.lines.get()
        await line.hear()
        if with_error:
            line.say("error", code="INVALID_KEY", error="Invalid API key")
        line.hang_up(4401, "invalid_key")
        await pause()
        (_, attempted), (_, gave_up) = w.told
        assert attempted is gave_up
        assert isinstance(gave_up, NotAuthorisedError)
        assert "pk_1" not in str(gave_up.as_json())
        await asyncio.sleep(100)
        assert len(w.opened_at) == 1


async def test_a_key_that_can_change_is_asked_for_at_every_connection() -> None:
    keys = iter(["pk_1", "pk_1", "pk_2"])
    async with world(key=lambda: Secret(next(keys))) as w:
        line = await w.connected()
        line.hang_up()
        stale = await w.lines.get()
        assert (await stale.hear())["api_key"] == "pk_1"
        stale.say("error", code="INVALID_KEY", error="Invalid API key")
        fresh = await w.lines.get()
        assert (await fresh.hear())["api_key"] == "pk_2"
        fresh.say("connected")
        await pause()
        assert w.link.is_up


async def test_a_key_that_can_change_and_stays_wrong_is_refused_in_the_end() -> None:
    async with world(key=lambda: Secret("pk_1")) as w:
        line = await w.connected()
        line.hang_up()
        while not any(entry[0] == "gave_up" for entry in w.told):
            line = await w.lines.get()
            line.say("error", code="INVALID_KEY", error="Invalid API key")
            await pause()
        assert len(w.opened_at) == STALE_KEYS + 2
        assert w.now < 40


async def test_a_server_that_says_nothing_is_given_up_after_ten_seconds_and_tried_again() -> None:
    async with world() as w:
        line = await w.lines.get()
        await w.connected()
        assert w.opened_at[1] == pytest.approx(11, abs=0.1)
        problem = next(e[1] for e in w.told if e[0] == "attempted")
        assert problem.code == "connection_timeout"
        assert line.closed is not None


@pytest.mark.parametrize(
    "say",
    [
        lambda line: line.say("error", code="AUTH_TIMEOUT", error="too slow"),
        lambda line: line.hang_up(1011, "oops"),
    ],
    ids=["error", "close"],
)
async def test_any_other_refusal_is_tried_again(say: Callable[[Line], None]) -> None:
    async with world() as w:
        line = await w.lines.get()
        await line.hear()
        say(line)
        await w.connected()
        problem = next(e[1] for e in w.told if e[0] == "attempted")
        assert isinstance(problem, InfrastructureError)


@pytest.mark.parametrize("reason", ["Displaced by API", "agent displaced"])
async def test_who_is_displaced_does_not_come_back(reason: str) -> None:
    async with world() as w:
        line = await w.connected()
        line.hang_up(4001, reason)
        await asyncio.sleep(100)
        assert w.told[-1] == ("down", reason, True)
        assert len(w.opened_at) == 1
        w.link.start()  # unless asked
        await w.lines.get()


async def test_without_reconnection_the_first_loss_is_the_last() -> None:
    async with world(auto_reconnect=False) as w:
        line = await w.connected()
        line.hang_up(1006, "gone")
        await asyncio.sleep(100)
        assert w.told[-1] == ("down", "gone", True)
        assert len(w.opened_at) == 1


async def test_without_reconnection_one_failure_is_the_end() -> None:
    async with world(auto_reconnect=False) as w:
        w.unreachable = 1
        await asyncio.sleep(100)
        assert [entry[0] for entry in w.told] == ["attempted", "gave_up"]


async def test_a_frame_we_stumble_over_costs_nothing_but_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world() as w:
        line = await w.connected()
        w.stumble = True
        line.say("custom")
        await pause()
        w.stumble = False
        line.to_client.put_nowait("not json")
        line.say("custom")
        await pause()
        assert len(w.frames) == 4
        assert "could not be handled" in caplog.text


async def test_stop_sends_what_waits_and_closes() -> None:
    async with world() as w:
        line = await w.connected()
        for n in range(20):
            w.link.post(json.dumps({"event": "x", "n": n}))
        await w.link.stop()
        assert line.to_server.qsize() == 20
        assert line.closed == (1000, "client_disconnect")
        assert not w.link.is_up
        assert not any(entry[0] == "down" for entry in w.told)


async def test_stop_does_not_wait_for_a_network_that_is_stuck() -> None:
    async with world() as w:
        line = await w.connected()
        line.stuck = True
        w.link.post("{}")
        before = w.now
        await w.link.stop()
        assert w.now - before <= 1.1


async def test_stop_ends_the_waiting_between_two_attempts() -> None:
    async with world() as w:
        w.unreachable = 1
        await asyncio.sleep(0.5)
        await w.link.stop()
        await asyncio.sleep(100)
        assert len(w.opened_at) == 1


async def test_a_stuck_network_drops_the_oldest_frames_loudly() -> None:
    async with world() as w:
        line = await w.connected()
        line.stuck = True
        w.link.post("{}")
        await pause()
        for _ in range(MAX_OUTGOING + 2):
            assert w.link.post("{}")
        assert [entry for entry in w.told if entry[0] == "dropped"] == [("dropped", 1)] * 2


async def test_reopen_comes_back_at_once() -> None:
    async with world() as w:
        line = await w.connected()
        at = w.now
        w.link.reopen()
        await w.lines.get()
        assert w.now - at < 0.1
        assert line.closed == (1000, "client_reopen")


async def test_a_fault_of_ours_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    made = World()

    async def broken(url: str) -> Line:
        raise ZeroDivisionError

    made.link._open = broken
    made.link.start()
    await pause()
    assert made.told[-1][0] == "gave_up"
    assert "the connection broke" in caplog.text
    await made.link.stop()
