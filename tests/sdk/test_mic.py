"""The calling side of the microphone socket: what a caller can do, and how a call can fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.audio.pcm import silence
from pinecall_cli.errors import (
    CallFailedError,
    EngineError,
    InfrastructureError,
    NotAuthorisedError,
    ServerUnreachableError,
)
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.mic import MicCall, rate_of
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import Engines, utterance
from tests.sdk.listening import PATIENCE_S, Log
from tests.sdk.talking_server import saying
from tests.sdk.test_voice import registered
from tests.server.calling import Caller

NUMBER = "+13186330963"
STARTED = json.dumps(
    {
        "event": "call.started",
        "call_id": "c1",
        "from": "webrtc",
        "to": "desk",
        "direction": "inbound",
        "transport": "webrtc",
    }
)
ENDED = json.dumps(
    {"event": "call.ended", "call_id": "c1", "direction": "inbound", "reason": "hangup"}
)


async def held(call: MicCall, **options: Any) -> Any:
    """Hold a call with a silent microphone, and return how it ended."""
    caller = Caller(call)
    async with call, asyncio.timeout(PATIENCE_S):
        return await call.hold(
            caller.silence, play=lambda frame: None, hear=lambda received: None, **options
        )


async def dialled(server: EmbeddedServer, **about: Any) -> MicCall:
    async with Rest(server.url, Secret(server.key)) as rest:
        token = await rest.token("webrtc", "front-desk")
    return await MicCall.dial(token.server, token.token, **about)


# --- on our server --------------------------------------------------------------------------------


async def test_a_caller_types_and_presses_keys_on_a_telephone(
    server: EmbeddedServer, client: Pinecall
) -> None:
    agent = await registered(client, phone_number=NUMBER, greeting=None)
    started, heard = Log(), Log()
    agent.on("call.started", started)
    for name in ("user.message", "call.dtmf_received"):
        agent.on(name, lambda event, call, name=name: heard(name, event))
    call = await dialled(server, to=NUMBER, from_="+14155550123", metadata={"order": 7})
    assert call.rate == rate_of(NUMBER) == 8_000
    holding = asyncio.ensure_future(held(call))
    (there,) = await started.until()
    assert (there.from_, there.to, there.transport) == ("+14155550123", NUMBER, "phone")
    await call.press("42#")
    _, pressed = await heard.until(lambda name, _: name == "call.dtmf_received")
    await call.say_typed("Is anybody there?")
    _, said = await heard.until(lambda name, _: name == "user.message")
    assert said.text == "Is anybody there?"
    await call.hangup()
    ended = await holding
    assert (ended.reason, pressed.call_id) == ("hangup", there.id)
    assert call.sent > 0
    await call.say_typed("Nobody hears this.")  # the call is over, and that is no error


async def test_what_a_muted_caller_says_is_no_turn(tmp_path: Path) -> None:
    engines = Engines({0: "Between us", 1: "Good morning"})
    async with EmbeddedServer(engines=engines, run_dir=tmp_path) as server:
        async with Pinecall(server.key, server.url) as client:
            agent = await registered(client)
            heard, over = Log(), asyncio.Event()
            agent.on("user.message", heard)
            call = await dialled(server)

            def spoken(sound: bytes) -> Iterator[bytes]:
                sound += silence(500, 16_000)
                return (sound[at : at + 640] for at in range(0, len(sound) - 639, 640))

            async def microphone() -> AsyncIterator[bytes]:
                for number in (0, 1):
                    await call.mute(number == 0)
                    for frame in spoken(utterance(number, 700)):
                        yield frame
                        await asyncio.sleep(0.02)
                while not over.is_set():
                    yield bytes(640)
                    await asyncio.sleep(0.02)

            async with call, asyncio.timeout(PATIENCE_S):
                nothing = {"play": lambda frame: None, "hear": lambda received: None}
                holding = asyncio.ensure_future(call.hold(microphone, **nothing))
                (said, _) = await heard.until()
                over.set()
                await holding
    assert said.text == "Good morning"
    assert len(heard.entries) == 1


async def test_a_frame_of_the_caller_is_heard_until_the_microphone_is_over(
    server: EmbeddedServer, client: Pinecall
) -> None:
    await registered(client)
    call = await dialled(server)
    assert call.rate == rate_of(None) == 16_000

    async def briefly() -> AsyncIterator[bytes]:
        for _ in range(60):  # longer than a second: the connection is kept open meanwhile
            yield bytes(640)
            await asyncio.sleep(0.02)

    async with call, asyncio.timeout(PATIENCE_S):
        ended = await call.hold(briefly, play=lambda frame: None, hear=lambda received: None)
    assert ended.reason == "hangup"
    assert call.sent == 60


class Broken(Engines):
    """Engines that are not there."""

    async def wait(self) -> Engines:
        raise EngineError("no voice here", fix="install `voice`")


async def test_a_server_without_engines_says_what_to_do(tmp_path: Path) -> None:
    async with EmbeddedServer(engines=Broken(), run_dir=tmp_path) as server:
        async with Pinecall(server.key, server.url) as client:
            await registered(client)
            with pytest.raises(InfrastructureError, match="no voice here") as caught:
                await held(await dialled(server))
    assert (caught.value.code, caught.value.fix) == ("engine", "install `voice`")


# --- on others ------------------------------------------------------------------------------------


async def calling(url: str, **options: Any) -> Any:
    return await held(await MicCall.dial(url, "wrtc_token"), **options)


@pytest.mark.parametrize("code", [1008, 4401])
async def test_a_server_that_refuses_the_call_says_why(code: int) -> None:
    async with saying(close=(code, "used up")) as url:
        with pytest.raises(NotAuthorisedError, match="used up"):
            await calling(url)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"code": "SERVER_AT_CAPACITY", "error": "3 calls are held"}, "server_at_capacity"),
        ({"code": 7, "error": ["odd"], "fix": 8}, "7"),
        ({}, "call_failed"),
    ],
)
async def test_an_error_before_the_start_is_why_there_is_no_call(
    fields: dict[str, Any], code: str
) -> None:
    async with saying(json.dumps({"event": "error", **fields})) as url:
        with pytest.raises(CallFailedError) as caught:
            await calling(url)
    assert (caught.value.code, caught.value.fix) == (code, None)


async def test_an_error_in_a_call_is_heard_and_ends_nothing() -> None:
    error = json.dumps({"event": "error", "code": "X", "error": "no"})
    async with saying(STARTED, error, ENDED, close=(1000, "")) as url:
        assert (await calling(url)).reason == "hangup"


async def test_a_call_that_is_turned_away_says_how() -> None:
    rejected = json.dumps({"event": "call.rejected", "call_id": "c1", "reason": "busy"})
    async with saying(rejected) as url:
        with pytest.raises(CallFailedError, match="turned away: busy"):
            await calling(url)


async def test_nobody_who_answers_is_an_end_too() -> None:
    async with saying() as url:
        with pytest.raises(CallFailedError, match="nobody answered within"):
            await calling(url, answer_within_s=0.05)


@pytest.mark.parametrize("before", [(), (STARTED,), (STARTED, b"\x00" * 640)])
async def test_a_connection_that_breaks_off_in_a_call_is_lost(before: tuple[Any, ...]) -> None:
    async with saying(*before, drop=True) as url:
        with pytest.raises(ServerUnreachableError, match="lost during the call"):
            await calling(url)
