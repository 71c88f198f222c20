"""A recording of two sentences, for the routes that write down what is said."""

from __future__ import annotations

import httpx

from pinecall_cli.audio.pcm import silence
from pinecall_cli.audio.wav import wav_header
from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import utterance
from tests.server.peer import PATIENCE_S, bearer

TEXTS = {1: "Hello there.", 2: "Two tickets, please."}
PATH = "/v1/audio/transcriptions"


def gap(ms: int) -> bytes:
    return silence(ms, 16_000)


SOUND = gap(320) + utterance(1, 1_280) + gap(960) + utterance(2, 1_600) + gap(320)
"""The first words from 0.32 to 1.6 s, the others from 2.56 to 4.16 s."""


def wav(pcm: bytes = SOUND, rate: int = 16_000) -> bytes:
    return wav_header(rate, len(pcm)) + pcm


async def post(
    server: EmbeddedServer, file: bytes, path: str = PATH, **fields: str
) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_S) as http:
        files = {"file": ("call.wav", file, "audio/wav")}
        return await http.post(path, files=files, data=fields, headers=bearer())
