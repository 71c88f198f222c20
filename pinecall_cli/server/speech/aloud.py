"""A text on its way to sound, sentence by sentence, for whoever asks over HTTP (rest.md §5.1)."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pinecall_cli.audio.wav import wav_header
from pinecall_cli.engines.types import Synthesiser, TimedWord
from pinecall_cli.engines.worker import Worker, unhurried
from pinecall_cli.errors import EngineError
from pinecall_cli.protocol.codec import REMOTE_FAULTS
from pinecall_cli.server.speech.audio_api import ApiError
from pinecall_cli.server.speech.encoding import Encoding
from pinecall_cli.server.voice.sentences import Sentences
from pinecall_cli.server.voice.speaking import SENTENCE_GAP_MS

Chunks = AsyncGenerator[bytes, None]

LONGEST_TEXT: Final = 5_000
"""Characters."""
FORMATS: Final = {"pcm": "audio/pcm", "wav": "audio/wav", "mp3": "audio/mpeg"}
RATES: Final = (16_000, 24_000)
SLOWEST, FASTEST = 0.5, 2.0
"""What the offline voice can be asked for; beyond it nobody understands it."""


class SpeechRequest(msgspec.Struct, frozen=True):
    """The body of a request."""

    input: str
    voice: str
    model: str | None = None
    language: str | None = None
    response_format: str | None = None
    sample_rate: int | None = None
    speed: float | None = None
    timestamps: bool | None = None

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.sample_rate or RATES[0]

    @property
    def format(self) -> str:
        """A key of `FORMATS`."""
        return self.response_format or "pcm"


REQUESTS: msgspec.json.Decoder[SpeechRequest] = msgspec.json.Decoder(SpeechRequest)


def read_request(body: bytes) -> SpeechRequest:
    """Return what is asked for.

    Raises:
        ApiError: If we cannot do it, or it is no request.
    """
    try:
        wish = REQUESTS.decode(body)
    except REMOTE_FAULTS as fault:
        raise ApiError(400, "BAD_REQUEST", f"the body is no request: {fault}") from None
    if not wish.input.strip():
        raise ApiError(400, "BAD_REQUEST", "`input` is empty")
    if len(wish.input) > LONGEST_TEXT:
        message = f"`input` has {len(wish.input)} characters; {LONGEST_TEXT} are the limit"
        raise ApiError(413, "INPUT_TOO_LONG", message)
    if not wish.voice.strip() or len(wish.voice) > 200 or not wish.voice.isprintable():
        raise ApiError(400, "BAD_VOICE", "`voice` is a `provider/alias`, such as hibari/heart")
    check_model(wish.model)
    check_language(wish.language)
    if wish.format not in FORMATS:
        message = f"`response_format` is none of {', '.join(FORMATS)}"
        raise ApiError(400, "FORMAT_UNSUPPORTED", message)
    if wish.rate not in RATES:
        raise ApiError(400, "BAD_REQUEST", f"`sample_rate` is none of {RATES[0]}, {RATES[1]}")
    if wish.speed is not None and not SLOWEST <= wish.speed <= FASTEST:
        raise ApiError(400, "BAD_REQUEST", f"`speed` goes from {SLOWEST:g} to {FASTEST:g}")
    return wish


def check_model(model: str | None) -> None:
    """Refuse what is no ``provider/model``; whichever it is, an offline engine stands in for it.

    Raises:
        ApiError: If it is none.
    """
    if model is None:
        return
    provider, _, name = model.replace(":", "/", 1).partition("/")
    if not provider.strip() or not name.strip() or len(model) > 200:
        raise ApiError(400, "BAD_MODEL", "`model` is written as provider/model")


def check_language(language: str | None) -> None:
    """Refuse a language that the offline engines do not know: what they made of it is no result.

    Raises:
        ApiError: If it is one.
    """
    wanted = (language or "en").strip().replace("_", "-").lower().partition("-")[0]
    if wanted not in ("en", "multi"):
        message = "offline speech is English only: leave `language` out, or ask another server"
        raise ApiError(400, "BAD_REQUEST", message)


@dataclass(frozen=True, slots=True)
class Piece:
    """A sentence that was spoken; its words are timed from the start of the whole text."""

    pcm: bytes
    words: tuple[TimedWord, ...]


async def pieces(
    wish: SpeechRequest, synthesiser: Synthesiser, worker: Worker
) -> AsyncGenerator[Piece, None]:
    """Yield the text as sound, int16 mono at the wished rate, as soon as each sentence is there.

    Calls come first: between two sentences theirs are spoken. Closing the iterator ends the work.

    Raises:
        EngineError: If the voice breaks.
    """
    sentences = Sentences()
    made = 0
    gap = bytes(2 * (wish.rate * SENTENCE_GAP_MS // 1000))
    for sentence in [*sentences.push(wish.input), *sentences.flush()]:
        with unhurried():
            speech = await synthesiser.synthesise(sentence, speed=wish.speed or 1.0)
        pcm = await worker.run(resampled, speech.pcm, speech.rate, wish.rate)
        made += len(gap) if made and pcm else 0
        words = tuple(shifted(word, made / (2 * wish.rate)) for word in speech.words)
        yield Piece((gap if made and pcm else b"") + pcm, words)
        made += len(pcm)


def shifted(word: TimedWord, seconds: float) -> TimedWord:
    """Return a word that much later."""
    return TimedWord(word.text, round(word.start + seconds, 3), round(word.end + seconds, 3))


def resampled(pcm: bytes, rate_in: int, rate_out: int) -> bytes:
    """Return a whole sound at another rate."""
    if rate_in == rate_out:
        return pcm
    # numpy, which only a server that speaks has
    from pinecall_cli.audio.resample import resample  # noqa: PLC0415

    return resample(pcm, rate_in, rate_out)


# --- the answer: sound, or server-sent events with sound in them ---


async def sound(
    wish: SpeechRequest, encoding: Encoding, synthesiser: Synthesiser, worker: Worker
) -> Chunks:
    """Yield the text as sound, without a WAV file's header; raises as `pieces` does."""
    async with aclosing(pieces(wish, synthesiser, worker)) as spoken:
        async for piece in spoken:
            yield await worker.run(encoding.encode, piece.pcm)
    yield encoding.end()


async def told(
    wish: SpeechRequest,
    encoding: Encoding,
    request_id: str,
    synthesiser: Synthesiser,
    worker: Worker,
) -> Chunks:
    """Yield the lines of an answer with timestamps: audio in chunks of a second, then its words."""
    start = {"type": "start", "request_id": request_id}
    yield line(start | {"format": wish.format, "sample_rate": wish.rate})
    if wish.format == "wav":
        yield audio_line(wav_header(wish.rate, None))
    total = 0
    second = 2 * wish.rate
    try:
        async with aclosing(pieces(wish, synthesiser, worker)) as spoken:
            async for piece in spoken:
                total += len(piece.pcm)
                for at in range(0, len(piece.pcm), second):
                    made = await worker.run(encoding.encode, piece.pcm[at : at + second])
                    yield audio_line(made)
                for word in piece.words:
                    yield line(
                        {"type": "word", "word": word.text, "start": word.start, "end": word.end}
                    )
    except EngineError as problem:
        yield line({"type": "error", "code": "UPSTREAM_ERROR", "error": problem.message})
    else:
        if rest := encoding.end():
            yield audio_line(rest)
        done = {"type": "done", "characters": len(wish.input)}
        yield line(done | {"audio_ms": audio_ms(total, wish.rate)})
    yield b"data: [DONE]\n\n"


def audio_line(data: bytes) -> bytes:
    """Return an event with sound in it."""
    return line({"type": "audio", "data": base64.b64encode(data).decode("ascii")})


def line(event: dict[str, Any]) -> bytes:
    """Return one event."""
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


def audio_ms(size: int, rate: int) -> int:
    """Return how long so many bytes of sound last."""
    return size * 1000 // (2 * rate)
