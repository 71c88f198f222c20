"""Speech and transcription without a call: rest.md §5, sessions.md §7."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from pinecall_cli import AudioError
from pinecall_cli.audio.pcm import silence
from pinecall_cli.audio.wav import decode_wav, wav_header
from pinecall_cli.errors import (
    InfrastructureError,
    NotAuthorisedError,
    ServerUnreachableError,
    UsageError,
)
from pinecall_cli.sdk.audio import Audio, refused
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.spoken import piece_of, transcript_of, voice_of
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import MS_PER_CHARACTER, Engines, utterance
from tests.sdk.listening import PATIENCE_S
from tests.sdk.web import served

TEXTS = {1: "Hello there.", 2: "Two tickets, please."}
TEXT, SPOKEN_MS = "One two. Three four!", (8 + 11) * MS_PER_CHARACTER + 200
VOICE = "hibari/heart"


def gap(ms: int) -> bytes:
    return silence(ms, 16_000)


SOUND = gap(320) + utterance(1, 1_280) + gap(960) + utterance(2, 1_600) + gap(320)
WAV = wav_header(16_000, len(SOUND)) + SOUND


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    made = EmbeddedServer(engines=Engines(TEXTS), keys=["pk_one"], run_dir=tmp_path)
    async with made:
        yield made


@pytest.fixture
async def audio(server: EmbeddedServer) -> AsyncIterator[Audio]:
    async with Pinecall(server.key, server.url) as client:
        yield client.audio


# --- a text ---


async def test_a_text_becomes_sound(audio: Audio) -> None:
    spoken = await audio.speech(TEXT, voice=VOICE)
    assert (spoken.format, spoken.sample_rate) == ("pcm", 16_000)
    assert len(spoken.data) == 32 * SPOKEN_MS
    assert (spoken.request_id or "").startswith("req_")
    assert spoken.words == ()
    assert "data" not in repr(spoken)
    file = await audio.speech(TEXT, voice=VOICE, response_format="wav", sample_rate=24_000)
    pcm, rate = decode_wav(file.data)
    assert (rate, file.sample_rate) == (24_000, 24_000)
    assert len(pcm) == pytest.approx(48 * SPOKEN_MS, abs=8)


@pytest.mark.parametrize("shape", ["pcm", "wav"])
async def test_words_come_with_their_times_if_asked_for(audio: Audio, shape: Any) -> None:
    spoken = await audio.speech(TEXT, voice=VOICE, response_format=shape, timestamps=True)
    assert [word.text for word in spoken.words] == ["One", "two.", "Three", "four!"]
    times = [time for word in spoken.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(SPOKEN_MS / 1000, abs=0.01)
    assert (spoken.sample_rate, spoken.format) == (16_000, shape)
    header = 44 if shape == "wav" else 0
    assert len(spoken.data) == 32 * SPOKEN_MS + header


async def test_sound_is_streamed_and_may_be_left(audio: Audio) -> None:
    async with aclosing(audio.stream(TEXT, voice=VOICE, speed=1.0, language="en")) as pieces:
        whole = b"".join([piece async for piece in pieces])
    assert len(whole) == 32 * SPOKEN_MS
    async with aclosing(audio.stream(TEXT, voice=VOICE)) as pieces:
        assert await anext(pieces)


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        ("", {}, "bad_request"),
        ("x" * 5001, {}, "input_too_long"),
        ("Hi", {"voice": " "}, "bad_voice"),
        ("Hi", {"model": "nothing"}, "bad_model"),
        ("Hi", {"response_format": "opus"}, "format_unsupported"),
    ],
)
async def test_what_the_server_refuses_has_its_code(
    audio: Audio, text: str, options: Any, code: str
) -> None:
    with pytest.raises(AudioError) as found:
        await audio.speech(text, **({"voice": VOICE} | options))
    assert found.value.code == code
    with pytest.raises(AudioError):
        async with aclosing(audio.stream(text, **({"voice": VOICE} | options))) as pieces:
            await anext(pieces)


async def test_voices_are_listed(audio: Audio) -> None:
    voices = await audio.voices()
    assert [(voice.id, voice.provider) for voice in voices] == [("heart", "hibari")]
    assert voices[0].languages == ("en-US",) or voices[0].languages == ("en",)
    assert (voices[0].preview_url or "").startswith("http")
    assert await audio.voices(provider="elevenlabs") == ()
    assert await audio.voices(provider="hibari", language="en-GB") == voices


async def test_the_key_and_the_server_are_the_clients(server: EmbeddedServer) -> None:
    wrong = await asyncio.to_thread(Pinecall, "pk_wrong", server.url)
    with pytest.raises(NotAuthorisedError) as found:
        await wrong.audio.speech("Hi", voice=VOICE)
    assert found.value.code == "invalid_key"
    with pytest.raises(NotAuthorisedError, match="no API key"):
        await Pinecall("", server.url).audio.voices()
    nobody = await asyncio.to_thread(Pinecall, "pk_x", "http://127.0.0.1:9")
    with pytest.raises(ServerUnreachableError):
        await nobody.audio.transcribe(WAV)
    with pytest.raises(NotAuthorisedError):
        async with wrong.audio.transcription():
            raise AssertionError("it is not open")


# --- a recording ---


async def test_a_recording_becomes_text(audio: Audio, tmp_path: Path) -> None:
    found = await audio.transcribe(WAV, language="en", model="whisper/1")
    assert found.text == "Hello there. Two tickets, please."
    assert (found.language, found.duration) == ("en", 4.48)
    assert [segment.text for segment in found.segments] == ["Hello there.", "Two tickets, please."]
    assert [word.text for word in found.words] == found.text.split()
    file = tmp_path / "question.wav"
    file.write_bytes(WAV)
    assert await audio.transcribe(file) == await audio.transcribe(str(file))
    assert (await audio.transcribe(file)).text == found.text


async def test_a_recording_that_cannot_be_used_is_an_error(audio: Audio, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        await audio.transcribe(tmp_path / "nothing.wav")
    with pytest.raises(AudioError) as found:
        await audio.transcribe(b"ID3 no wav")
    assert found.value.code == "unsupported_media"
    with pytest.raises(AudioError) as found:
        await audio.transcribe(WAV, diarize=True)
    assert found.value.code == "diarize_unsupported"


# --- a stream ---


async def test_speech_is_written_down_while_it_is_spoken(audio: Audio) -> None:
    async with audio.transcription(language="en", model="deepgram/nova-3") as stream:
        async with asyncio.timeout(PATIENCE_S):
            await stream.send(gap(320) + utterance(1, 1_280))
            await stream.finalize()
            first = await anext(piece async for piece in stream if piece.final)
            await stream.send(gap(960) + utterance(2, 1_600))
            await stream.stop()
            rest = [piece async for piece in stream if piece.final]
    assert first.text == "Hello there."
    assert [word.text for word in first.words] == ["Hello", "there."]
    assert [piece.text for piece in rest] == ["Two tickets, please."]
    assert rest[0].start is not None
    assert rest[0].start > (first.end or 0)
    assert stream.audio_seconds == pytest.approx(4.16)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_stream_that_the_server_refuses_says_why(audio: Audio) -> None:
    for options in ({"diarize": True}, {"sample_rate": 11_025}, {"language": "es"}):
        with pytest.raises(AudioError):
            async with audio.transcription(**options):
                raise AssertionError("it is not open")
    unopened = audio.transcription()
    with pytest.raises(RuntimeError, match="async with"):
        await unopened.send(b"")
    await unopened.close()


# --- servers that are not as they should be ---


Answer = Callable[[Request], Awaitable[Response]]


@asynccontextmanager
async def foreign(answer: Answer | None = None, socket: Any = None) -> AsyncIterator[Audio]:
    async def nothing(request: Request) -> Response:
        return PlainTextResponse("?", 404)

    routes: list[Any] = [
        Route("/{path:path}", answer or nothing, methods=["GET", "POST"]),
    ]
    if socket is not None:
        routes.insert(0, WebSocketRoute("/v1/audio/transcriptions/stream", socket))
    async with served(Starlette(routes=routes), ws="websockets-sansio") as url:
        yield Audio(lambda: url, lambda: Secret("pk_x"))


def lines(*events: Any, last: bytes = b"data: [DONE]\n\n") -> Answer:
    async def answer(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            for event in events:
                text = event if isinstance(event, str) else json.dumps(event)
                yield f"data: {text}\n\n".encode()
            yield last

        return StreamingResponse(body(), media_type="text/event-stream")

    return answer


async def test_a_text_that_fails_on_the_way_is_an_error() -> None:
    start = {"type": "start", "request_id": "req_1", "format": "pcm", "sample_rate": 24_000}
    broken = {"type": "error", "code": "UPSTREAM_ERROR", "error": "the voice broke"}
    async with foreign(lines(start, {"type": "news"}, broken)) as audio:
        with pytest.raises(AudioError, match="the voice broke") as found:
            await audio.speech("Hi", voice="x", timestamps=True)
        assert found.value.code == "upstream_error"
    async with foreign(lines(start, {"type": "error"})) as audio:
        with pytest.raises(AudioError, match="was not spoken"):
            await audio.speech("Hi", voice="x", timestamps=True)
    async with foreign(lines(start)) as audio:
        with pytest.raises(ServerUnreachableError, match="not spoken to its end"):
            await audio.speech("Hi", voice="x", timestamps=True)
    async with foreign(lines({"type": "done"})) as audio:
        spoken = await audio.speech("Hi", voice="x", sample_rate=24_000, timestamps=True)
        assert (spoken.data, spoken.sample_rate, spoken.request_id) == (b"", 24_000, None)


@pytest.mark.parametrize(
    "event", ["{no json", "[]", {"type": "audio", "data": "?"}, {"type": "audio"}, "x" * 1_100_000]
)
async def test_nonsense_is_no_sound(event: Any) -> None:
    async with foreign(lines(event)) as audio:
        with pytest.raises(InfrastructureError, match="not answer as a voice server"):
            await audio.speech("Hi", voice="x", timestamps=True)


async def test_answers_of_other_servers_are_told_as_they_are() -> None:
    async def teapot(request: Request) -> Response:
        return PlainTextResponse("short and stout", 418)

    async with foreign(teapot) as audio:
        with pytest.raises(AudioError, match="HTTP 418") as found:
            await audio.voices()
        assert found.value.code == "http_418"

    async def forbidden(request: Request) -> Response:
        return Response(json.dumps({"detail": "not yours"}), 403)

    async with foreign(forbidden) as audio:
        with pytest.raises(NotAuthorisedError, match="not yours"):
            await audio.voices()

    async def odd(request: Request) -> Response:
        return Response(json.dumps({"voices": "all of them"}))

    async with foreign(odd) as audio:
        assert await audio.voices() == ()


async def test_a_stream_that_breaks_off_or_talks_nonsense_is_told() -> None:
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("{no json")
        await websocket.send_text("[]")
        await websocket.send_json({"type": "ready"})
        await websocket.receive()
        await websocket.send_json({"type": "news"})
        await websocket.send_json({"type": "partial", "text": "Hel"})
        await websocket.send_json({"type": "final", "text": "Hello", "speaker": 1})
        await websocket.close(1011, "broken")

    async with foreign(socket=socket) as audio, audio.transcription() as stream:
        await stream.send(b"\0\0")
        partial, final = await anext(stream), await anext(stream)
        assert (partial.text, partial.final) == ("Hel", False)
        assert (final.text, final.final, final.speaker) == ("Hello", True, "1")
        with pytest.raises(ServerUnreachableError, match="connection is lost"):
            await anext(stream)
        with pytest.raises(ServerUnreachableError, match="connection is lost"):
            await stream.stop()

    async def failing(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"type": "ready"})
        await websocket.send_json({"type": "error"})
        await websocket.close(1011)

    async with foreign(socket=failing) as audio, audio.transcription() as stream:
        with pytest.raises(AudioError, match="no reason given"):
            await anext(stream)


def test_what_a_server_leaves_out_is_not_known() -> None:
    assert voice_of({"voice_id": "v1"}).name == "v1"
    named = voice_of({"id": "v1", "languages": [{"code": "es"}, "en", {"name": "?"}, 7]})
    assert named.languages == ("es", "en")
    bare = transcript_of({})
    assert (bare.text, bare.duration, bare.words, bare.segments) == ("", None, (), ())
    odd = transcript_of({"text": 7, "duration": True, "words": ["?", {}], "segments": [{}]})
    assert (odd.text, odd.duration, odd.words[0].text, odd.segments[0].end) == ("", None, "", 0.0)
    assert piece_of({}, final=False).start is None
    assert refused("MISSING_KEY", "no key").exit_code == 4
