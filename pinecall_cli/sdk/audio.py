"""`Audio`: text as sound and sound as text, without a call (protocol: rest.md §5, sessions.md §7).

A server's refusal is an `AudioError` with its code, such as ``bad_voice`` or ``rate_limited``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from pinecall_cli.engines.sse import EventStream, EventTooLongError
from pinecall_cli.engines.worker import Worker
from pinecall_cli.errors import (
    InfrastructureError,
    NotAuthorisedError,
    PinecallError,
    ServerUnreachableError,
    UsageError,
)
from pinecall_cli.protocol.urls import ws_base
from pinecall_cli.sdk.rest import Exchange, Rest
from pinecall_cli.sdk.socket import Socket
from pinecall_cli.sdk.spoken import (
    SpeechAudio,
    Transcript,
    Voice,
    Word,
    number_of,
    text_of,
    transcript_of,
    voice_of,
    word_of,
)
from pinecall_cli.sdk.transcription import Transcription
from pinecall_cli.settings import Secret

SPEECH, VOICES = "/v1/audio/speech", "/v1/audio/voices"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
PATIENCE_S = 60.0
"""Between two pieces of an answer; the first sentence of a long text may wait for calls."""
TRANSCRIBING_S = 600.0
"""For a whole recording: two hours of it take minutes."""

Format = Literal["pcm", "wav", "mp3"]


class AudioError(PinecallError):
    """The server refused text or sound; ``code`` is its own, in lower case."""

    code = "audio"


class Audio:
    """Speech and transcription at the client's server; see `Pinecall.audio`."""

    def __init__(self, url: Callable[[], str], key: Callable[[], Secret]) -> None:
        self._url, self._key = url, key

    async def speech(
        self,
        text: str,
        *,
        voice: str,
        model: str | None = None,
        language: str | None = None,
        response_format: Format = "pcm",
        sample_rate: int | None = None,
        speed: float | None = None,
        timestamps: bool = False,
    ) -> SpeechAudio:
        """Speak a text, and return the whole sound.

        Args:
            text: Up to 5,000 characters.
            voice: ``provider/alias``; `voices` lists them.
            model: ``provider/model``.
            language: BCP-47.
            response_format: ``pcm`` is int16 mono.
            sample_rate: Hz: 16000, if left out, or 24000.
            speed: 1 is the voice's own.
            timestamps: Whether to return when each word is said.

        Raises:
            AudioError: If the server refuses the request, or fails at it.
            NotAuthorisedError: If there is no key, or it is refused.
            ServerUnreachableError: If there is no answer, or it breaks off.
        """
        wish = speech_request(
            text, voice, model, language, response_format, sample_rate, speed, timestamps
        )
        async with self._speech(wish) as answer:
            if timestamps:
                return await timed(answer, response_format, sample_rate or 16_000)
            return SpeechAudio(
                data=await answer.read(),
                format=response_format,
                sample_rate=int(answer.headers.get("x-sample-rate", sample_rate or 16_000)),
                request_id=answer.headers.get("x-pinecall-request-id"),
            )

    async def stream(
        self,
        text: str,
        *,
        voice: str,
        model: str | None = None,
        language: str | None = None,
        response_format: Format = "pcm",
        sample_rate: int | None = None,
        speed: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Speak a text, and yield the sound as it is made; closing the iterator ends the work.

        Arguments and errors are those of `speech`.
        """
        wish = speech_request(
            text, voice, model, language, response_format, sample_rate, speed, False
        )
        async with self._speech(wish) as answer:
            async for piece in answer.pieces():
                yield piece

    async def voices(
        self, *, provider: str | None = None, language: str | None = None
    ) -> tuple[Voice, ...]:
        """Return the voices there are: of a provider, for a language, or all.

        Raises:
            AudioError: If the server refuses to say.
            NotAuthorisedError: If there is no key, or it is refused.
            ServerUnreachableError: If there is no answer.
        """
        asked = {"provider": provider, "language": language}
        query = {name: value for name, value in asked.items() if value is not None}
        async with self._exchange("GET", VOICES, params=query) as answer:
            listed = object_in(await answer.read()).get("voices")
        return tuple(
            voice_of(one)
            for one in (listed if isinstance(listed, list) else ())
            if isinstance(one, Mapping)
        )

    async def transcribe(
        self,
        recording: bytes | str | Path,
        *,
        model: str | None = None,
        language: str | None = None,
        diarize: bool = False,
    ) -> Transcript:
        """Write down what is said in a recording, with the time of each word where it is known.

        Args:
            recording: A file, or its bytes; up to 25 MB. WAV is read everywhere.
            model: ``provider/model``.
            language: BCP-47; found out, if left out.
            diarize: Whether to tell speakers apart.

        Raises:
            AudioError: If the server refuses the recording, or fails at it.
            NotAuthorisedError: If there is no key, or it is refused.
            ServerUnreachableError: If there is no answer.
            UsageError: If the file cannot be read.
        """
        name, data = await read(recording)
        asked = {"model": model, "language": language, "diarize": "true" if diarize else None}
        fields = {key: value for key, value in asked.items() if value is not None}
        fields["response_format"] = "verbose_json"
        async with self._exchange(
            "POST", TRANSCRIPTIONS, TRANSCRIBING_S, data=fields, files={"file": (name, data)}
        ) as answer:
            return transcript_of(object_in(await answer.read()))

    def transcription(
        self,
        *,
        model: str | None = None,
        language: str | None = None,
        sample_rate: int = 16_000,
        encoding: Literal["linear16", "mulaw"] = "linear16",
        diarize: bool = False,
    ) -> Transcription:
        """Write down speech while it is spoken; use it with ``async with``.

        Args:
            model: ``provider/model``.
            language: BCP-47.
            sample_rate: Hz, of what is sent: 8000, 16000, 24000 or 48000.
            encoding: Of what is sent, mono.
            diarize: Whether to tell speakers apart.

        Example:
            ``async with pc.audio.transcription() as stream: await stream.send(pcm)``, then
            ``await stream.stop()`` and ``async for piece in stream: print(piece.text)``
        """
        asked: dict[str, Any] = {"sample_rate": sample_rate, "encoding": encoding}
        asked |= {"model": model} if model is not None else {}
        asked |= {"language": language} if language is not None else {}
        asked |= {"diarize": "true"} if diarize else {}

        async def connect() -> Socket:
            where = f"{ws_base(self._url())}{TRANSCRIPTIONS}/stream?{urlencode(asked)}"
            headers = {"Authorization": f"Bearer {self._key().reveal()}"}
            return await Socket.open(where, headers=headers)

        return Transcription(connect, refused)

    def _speech(self, wish: dict[str, Any]) -> contextlib.AbstractAsyncContextManager[Exchange]:
        accept = "text/event-stream" if wish.get("timestamps") else "audio/*"
        return self._exchange("POST", SPEECH, json=wish, headers={"Accept": accept})

    @contextlib.asynccontextmanager
    async def _exchange(
        self, method: str, path: str, timeout: float = PATIENCE_S, **request: Any
    ) -> AsyncIterator[Exchange]:
        """Send a request; yield the answer, if it is a good one."""
        async with (
            Rest(self._url(), self._key()) as rest,
            rest.exchange(method, path, timeout=timeout, **request) as answer,
        ):
            if answer.status >= 300:
                said = object_in(await answer.read(), strict=False)
                code = text_of(said.get("code")) or f"HTTP_{answer.status}"
                message = text_of(said.get("error")) or text_of(said.get("detail"))
                raise refused(code, message or f"{rest.url} answers HTTP {answer.status}")
            yield answer


def speech_request(
    text: str,
    voice: str,
    model: str | None,
    language: str | None,
    response_format: str,
    sample_rate: int | None,
    speed: float | None,
    timestamps: bool,
) -> dict[str, Any]:
    """Return the body of a request; what is not asked for is left out."""
    wish = {
        "input": text,
        "voice": voice,
        "model": model,
        "language": language,
        "response_format": response_format,
        "sample_rate": sample_rate,
        "speed": speed,
        "timestamps": timestamps or None,
    }
    return {name: value for name, value in wish.items() if value is not None}


async def timed(answer: Exchange, format: str, rate: int) -> SpeechAudio:
    """Return sound and words out of an answer with timestamps.

    Raises:
        AudioError: If the server failed on the way.
        ServerUnreachableError: If the answer ends before its end.
    """
    sound, words, about = bytearray(), list[Word](), dict[str, Any]()
    async with aclosing(events_of(answer)) as told:
        async for event in told:
            match event.get("type"):
                case "start":
                    about = event
                case "audio":
                    sound += decoded(event.get("data"))
                case "word":
                    words.append(word_of(event))
                case "error":
                    code = text_of(event.get("code")) or "UPSTREAM_ERROR"
                    raise refused(code, text_of(event.get("error")) or "the text was not spoken")
                case "done":
                    return SpeechAudio(
                        data=bytes(sound),
                        format=format,
                        sample_rate=int(number_of(about.get("sample_rate")) or rate),
                        request_id=text_of(about.get("request_id")),
                        words=tuple(words),
                    )
    raise ServerUnreachableError("the connection is lost: the text was not spoken to its end")


async def events_of(answer: Exchange) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the events of an answer that is a stream of them."""
    reader = EventStream()
    try:
        async for piece in answer.pieces():
            for data in reader.feed(piece):
                if data != "[DONE]":
                    yield object_in(data.encode())
    except EventTooLongError:
        raise nonsense() from None


def refused(code: str, message: str) -> PinecallError:
    """Return a server's refusal as one of our errors."""
    if code in ("MISSING_KEY", "INVALID_KEY", "HTTP_401", "HTTP_403"):
        return NotAuthorisedError(
            message, code=code.lower(), fix="check the key, and that it belongs to this server"
        )
    return AudioError(message, code=code.lower())


def object_in(data: bytes, *, strict: bool = True) -> dict[str, Any]:
    """Return the JSON object of an answer.

    Raises:
        InfrastructureError: If there is none, unless that is not ``strict``: then it is empty.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        return body
    if strict:
        raise nonsense()
    return {}


def decoded(data: Any) -> bytes:
    """Return the sound of an event.

    Raises:
        InfrastructureError: If there is none in it.
    """
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise nonsense() from None


def nonsense() -> InfrastructureError:
    """Return the error for an answer that no voice server gives."""
    return InfrastructureError(
        "the server does not answer as a voice server", fix="check its address", code="server_error"
    )


async def read(recording: bytes | str | Path) -> tuple[str, bytes]:
    """Return a recording's name and bytes; a file is read on a thread of its own.

    Raises:
        UsageError: If it cannot be read.
    """
    if isinstance(recording, bytes):
        return "recording.wav", recording
    path, worker = Path(recording), Worker("pinecall-recording")
    try:
        return path.name, await worker.run(path.read_bytes)
    except OSError as problem:
        raise UsageError(f"cannot read `{path}`: {problem.strerror or problem}") from None
    finally:
        worker.close()
