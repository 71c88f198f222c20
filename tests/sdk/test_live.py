"""Hearing a running call: what the client makes of our server, and of others."""

from __future__ import annotations

import asyncio
import json

import pytest

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.errors import InfrastructureError, NotFoundError, ServerUnreachableError
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.live import LiveAudio
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.sdk.listening import PATIENCE_S
from tests.sdk.talking_server import saying
from tests.sdk.test_voice import calling, registered

KEY = Secret("pk_one")
CODED = json.dumps({"sampleRate": 16_000})


async def heard(audio: LiveAudio) -> list[bytes]:
    async with asyncio.timeout(PATIENCE_S):
        return [sound async for sound in audio]


async def test_what_an_agent_says_is_heard_until_the_call_ends(
    server: EmbeddedServer, client: Pinecall
) -> None:
    agent = await registered(client)
    async with calling(server, client, agent) as call:
        async with await LiveAudio.open(server.url, Secret(server.key), call.id) as audio:
            listening = asyncio.ensure_future(heard(audio))
            await call.say("One two three four")
            await call.hangup()
            sound = await listening
    assert (audio.rate, audio.ended) == (16_000, True)
    assert max(level_dbfs(piece) for piece in sound) > -40
    with pytest.raises(NotFoundError):
        await LiveAudio.open(server.url, Secret(server.key), call.id)


@pytest.mark.parametrize(
    ("first", "close"),
    [
        ("<html>", None),
        ("[]", None),
        ("{}", None),
        ('{"sampleRate": "fast"}', None),
        ('{"sampleRate": 11025}', None),
        (b"\x00\x00", None),
        (None, (1011, "out of order")),
    ],
)
async def test_who_does_not_say_how_sound_is_coded_is_no_voice_server(
    first: str | bytes | None, close: tuple[int, str] | None
) -> None:
    async with saying(*([] if first is None else [first]), close=close) as url:
        with pytest.raises(InfrastructureError, match="does not say how"):
            await LiveAudio.open(url, KEY, "c1")


async def test_what_is_no_sound_is_passed_over_and_half_a_sample_cut_off() -> None:
    frames = ["text", b"\x00", b"abc", b"abcd", b"abcde"]
    async with saying(CODED, *frames, close=(1000, "call ended")) as url:
        audio = await LiveAudio.open(url, KEY, "c1")
        assert await heard(audio) == [b"abcd", b"abcd"]
    assert audio.ended


async def test_an_empty_frame_is_the_end_however_the_connection_ends() -> None:
    async with saying(CODED, b"", drop=True) as url:
        audio = await LiveAudio.open(url, KEY, "c1")
        assert await heard(audio) == []
    assert audio.ended


@pytest.mark.parametrize(("close", "drop"), [((1011, "broken"), False), (None, True)])
async def test_a_connection_that_breaks_off_is_not_the_end_of_the_call(
    close: tuple[int, str] | None, drop: bool
) -> None:
    async with saying(CODED, b"abcd", close=close, drop=drop) as url:
        audio = await LiveAudio.open(url, KEY, "c1")
        with pytest.raises(ServerUnreachableError, match="lost while listening"):
            await heard(audio)
    assert not audio.ended
