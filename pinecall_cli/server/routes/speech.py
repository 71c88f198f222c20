"""``/v1/audio/speech`` and the voices there are: text made audible over HTTP (rest.md §5.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pinecall_cli.audio.wav import wav_header
from pinecall_cli.engines.choose import substitutes
from pinecall_cli.engines.voices import OfflineVoice, installed_voices
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.speech import aloud
from pinecall_cli.server.speech.aloud import SpeechRequest
from pinecall_cli.server.speech.audio_api import (
    READABLE,
    Admission,
    ApiError,
    answering,
    organisation_of,
    read_body,
    request_id,
    unless_gone,
)
from pinecall_cli.server.speech.encoding import Encoding, encoding_of
from pinecall_cli.server.speech.sending import Sending

LARGEST_BODY = 128 * 1024
"""Bytes: 5,000 characters are 60 KB where each is written as two escapes."""
SAMPLE = "Hello! This is how I sound on a call. How can I help you today?"
DEFAULT_PROVIDER = "elevenlabs"
"""Whose voices a client asks for that was told of no other: here, those there are."""
OFFLINE = frozenset({"", "offline", "local"})
"""Providers by which all voices here are meant."""


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the routes of speech and voices. Which voices there are is nobody's secret."""
    admission = Admission(server.limits.spoken_texts)
    previews = Previews(server)

    async def speak(request: Request) -> Response:
        leave = admission.enter(organisation_of(server, request))
        try:
            too_long = ApiError(413, "INPUT_TOO_LONG", "the body is larger than any text may be")
            wish = aloud.read_request(await read_body(request, LARGEST_BODY, too_long))
            return await spoken(server, request, wish, leave)
        except BaseException:
            leave()
            raise

    async def listed(request: Request) -> Response:
        organisation_of(server, request)
        return listing(request, request.query_params.get("provider", ""))

    async def listed_for_all(request: Request) -> Response:
        provider = request.query_params.get("provider", DEFAULT_PROVIDER)
        return listing(request, "" if provider == DEFAULT_PROVIDER else provider)

    async def preview(request: Request) -> Response:
        for voice in matching(request.query_params.get("provider", "")):
            if request.query_params.get("voice", voice.alias) == voice.alias:
                sound, media_type = await previews.of(voice)
                return Response(sound, media_type=media_type, headers=READABLE)
        raise ApiError(404, "BAD_VOICE", "this server has no such voice")

    return [
        Route("/v1/audio/speech", answering(speak), methods=["POST", "OPTIONS"]),
        Route("/v1/audio/voices", answering(listed), methods=["GET", "OPTIONS"]),
        Route("/api/sdk/voices", answering(listed_for_all), methods=["GET", "OPTIONS"]),
        Route("/api/sdk/voice-preview", answering(preview), methods=["GET", "OPTIONS"]),
    ]


# --- a text ---


async def spoken(
    server: VoiceServer, request: Request, wish: SpeechRequest, over: Callable[[], None]
) -> Response:
    """Return the answer to a request; ``over`` is called when nothing more is being made.

    Raises:
        ApiError: If the server is stopping, or has no encoder.
        EngineError: If there is no voice here.
        Gone: If whoever asked has left.
    """
    if server.draining:
        raise ApiError(503, "UPSTREAM_ERROR", "the server is stopping")
    for sentence in substitutes({"voice": wish.voice}):
        server.notice(sentence)
    number = request_id()
    headers = READABLE | {
        "X-Sample-Rate": str(wish.rate),
        "X-Channels": "1",
        "X-Bit-Depth": "16",
        "X-Pinecall-Request-Id": number,
        "X-Pinecall-Characters": str(len(wish.input)),
        "Cache-Control": "no-store",
    }
    encoding = await server.audio_worker.run(encoding_of, wish.format, wish.rate)
    if wish.format == "wav" and not wish.timestamps:
        sound = await unless_gone(request, file_of(server, wish, encoding))
        length = aloud.audio_ms(len(sound) - len(wav_header(wish.rate, 0)), wish.rate)
        over()
        headers |= {"X-Pinecall-Audio-Ms": str(length)}
        return Response(sound, media_type="audio/wav", headers=headers)
    voice = (await server.engines.wait()).synthesiser
    if wish.timestamps:
        chunks = aloud.told(wish, encoding, number, voice, server.audio_worker)
        media_type = "text/event-stream"
    else:
        chunks = aloud.sound(wish, encoding, voice, server.audio_worker)
        media_type = aloud.FORMATS[wish.format]
    return Sending(server, chunks, media_type=media_type, headers=headers, over=over)


async def file_of(server: VoiceServer, wish: SpeechRequest, encoding: Encoding) -> bytes:
    """Return a text as a file: MP3 if that is wished, else WAV, whose header says how long it is.

    Raises:
        EngineError: If there is no voice here, or it breaks.
    """
    voice = (await server.engines.wait()).synthesiser
    chunks = aloud.sound(wish, encoding, voice, server.audio_worker)
    sound = b"".join([chunk async for chunk in chunks])
    return sound if wish.format == "mp3" else wav_header(wish.rate, len(sound)) + sound


# --- the voices ---


class Previews:
    """How each voice sounds; spoken once, however many ask."""

    def __init__(self, server: VoiceServer) -> None:
        self._server = server
        self._made: dict[OfflineVoice, tuple[bytes, str]] = {}
        self._making = asyncio.Lock()

    async def of(self, voice: OfflineVoice) -> tuple[bytes, str]:
        """Return a file and its media type, WAV's without an encoder; raises as `file_of` does."""
        async with self._making:
            if voice not in self._made:
                try:
                    self._made[voice] = await self._make(voice, "mp3")
                except ApiError:
                    self._made[voice] = await self._make(voice, "wav")
        return self._made[voice]

    async def _make(self, voice: OfflineVoice, format: str) -> tuple[bytes, str]:
        wish = SpeechRequest(SAMPLE, voice.alias, response_format=format)
        encoding = await self._server.audio_worker.run(encoding_of, format, wish.rate)
        return await file_of(self._server, wish, encoding), aloud.FORMATS[format]


def matching(provider: str, language: str = "") -> list[OfflineVoice]:
    """Return the voices of a provider, or all, that speak a language."""
    return [
        voice
        for voice in installed_voices()
        if (provider in OFFLINE or provider == voice.provider)
        and voice.language.startswith(language.lower().partition("-")[0])
    ]


def listing(request: Request, provider: str) -> Response:
    """Answer with the voices of this server (rest.md §3.5): those of a provider, or all."""
    found = matching(provider, request.query_params.get("language", ""))
    rows = [row(request, voice) for voice in found]
    return JSONResponse({"success": True, "voices": rows, "total": len(rows)}, headers=READABLE)


def row(request: Request, voice: OfflineVoice) -> dict[str, Any]:
    """Return a voice as it is listed."""
    base = f"{request.url.scheme}://{request.headers['host']}/api/sdk/voice-preview"
    return {
        "id": voice.alias,
        "name": voice.name,
        "alias": voice.alias,
        "provider": voice.provider,
        "gender": voice.gender,
        "languages": [{"code": voice.language, "name": voice.language_name}],
        "preview_url": f"{base}?provider={voice.provider}&voice={voice.alias}",
    }
