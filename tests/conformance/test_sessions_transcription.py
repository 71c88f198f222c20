"""Speech as text while it goes on: sessions.md §7 and §7.1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets

from pinecall_cli.audio import mulaw
from pinecall_cli.audio.resample import resample
from pinecall_cli.errors import EngineError
from pinecall_cli.server.app import Limits
from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.paragraphs import holds
from tests.conformance.recording import PATH, SOUND, TEXTS, gap
from tests.fakes.engines import Engines, Recogniser, utterance
from tests.server.peer import PATIENCE_S, bearer, connected, embedded, token


class Stream:
    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            message: dict[str, Any] = json.loads(await self.socket.recv())
        return message

    async def until(self, name: str) -> dict[str, Any]:
        while True:
            message = await self.receive()
            if name in (message.get("type"), message.get("event")):
                return message

    async def closed(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            await self.socket.wait_closed()
        return self.socket.close_code or 0


@asynccontextmanager
async def stream(
    server: EmbeddedServer, query: str = "", path: str = PATH + "/stream", **headers: str
) -> AsyncIterator[Stream]:
    url = f"ws{server.url[4:]}{path}?{query}"
    async with websockets.connect(url, additional_headers=headers or bearer()) as socket:
        yield Stream(socket)


@holds("sessions", "7")
@holds("rest", "5.4")
async def test_a_stream_is_written_down_while_it_goes_on():
    async with embedded(engines=Engines(TEXTS)) as server:
        async with stream(server, "model=deepgram/nova-3") as said:
            ready = await said.receive()
            number = ready.pop("request_id")
            assert ready == {
                "type": "ready",
                "model": "deepgram/nova-3",
                "sample_rate": 16_000,
                "encoding": "linear16",
                "diarize": False,
            }
            for at in range(0, len(SOUND), 999):  # in odd pieces, too
                await said.socket.send(SOUND[at : at + 999])
            first = await said.until("final")
            await said.socket.send(json.dumps({"type": "stop"}))
            second = await said.until("final")
            assert [first["text"], second["text"]] == list(TEXTS.values())
            assert first["start"] == pytest.approx(0.32, abs=0.04)
            assert second["end"] == pytest.approx(4.16, abs=0.04)
            assert [word["word"] for word in first["words"]] == ["Hello", "there."]
            assert await said.receive() == {
                "type": "done",
                "request_id": number,
                "audio_seconds": 4.48,
                "billed_minutes": 0,
            }
            assert await said.closed() == 1000


class Loud(Recogniser):
    """Says how long the speech is that it hears, whatever became of the marks in it."""

    async def transcribe(self, pcm: bytes) -> str:
        return f"{len(pcm) // 32} ms"


@holds("sessions", "7")
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("encoding", ["linear16", "mulaw"])
async def test_every_rate_and_encoding_is_understood(rate: int, encoding: str):
    sound = SOUND if rate == 16_000 else resample(SOUND, 16_000, rate)
    if encoding == "mulaw":
        sound = mulaw.encode(sound)
    engines = Engines()
    engines.recogniser = Loud({})
    async with embedded(engines=engines) as server:
        async with stream(server, f"sample_rate={rate}&encoding={encoding}") as said:
            await said.until("ready")
            await said.socket.send(sound)
            await said.socket.send(json.dumps({"type": "stop"}))
            first, second = await said.until("final"), await said.until("final")
            assert first["start"] == pytest.approx(0.32, abs=0.05)
            assert second["end"] == pytest.approx(4.16, abs=0.1)
            assert (await said.until("done"))["audio_seconds"] == 4.48


@holds("sessions", "7")
async def test_what_is_being_said_is_shown_before_it_is_over():
    async with embedded(engines=Engines(TEXTS)) as server:
        async with stream(server) as said:
            await said.until("ready")
            await said.socket.send(utterance(1, 900))
            assert await said.until("partial") == {"type": "partial", "text": "Hello there."}
            await said.socket.send(json.dumps({"type": "finalize"}))
            assert (await said.until("final"))["text"] == "Hello there."
            await said.socket.send(utterance(2, 900) + gap(800))
            assert (await said.until("final"))["text"] == "Two tickets, please."


@holds("sessions", "7")
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("sample_rate=44100", "BAD_REQUEST"),
        ("sample_rate=x", "BAD_REQUEST"),
        ("encoding=opus", "BAD_REQUEST"),
        ("language=fr", "BAD_REQUEST"),
        ("model=nova", "BAD_MODEL"),
        ("diarize=true", "DIARIZE_UNSUPPORTED"),
    ],
)
async def test_a_stream_of_what_we_cannot_do_is_closed_with_1008(query: str, code: str):
    async with embedded(engines=Engines(TEXTS)) as server:
        async with stream(server, query) as said:
            refusal = await said.receive()
            assert (refusal["type"], refusal["code"]) == ("error", code)
            assert await said.closed() == 1008


@holds("sessions", "7")
async def test_a_stream_needs_a_key_in_its_header_or_its_address():
    async with embedded(engines=Engines(TEXTS)) as server:
        for query, headers, code in (
            ("", {"X": "y"}, "MISSING_KEY"),
            ("api_key=pk_no", {"X": "y"}, "INVALID_KEY"),
            ("api_key=pk_one", bearer("pk_no"), "INVALID_KEY"),
        ):
            async with stream(server, query, **headers) as said:
                assert (await said.receive())["code"] == code
                assert await said.closed() == 1008
        async with stream(server, "api_key=pk_one", X="y") as said:
            assert (await said.receive())["type"] == "ready"


@holds("sessions", "7")
async def test_an_engine_that_breaks_ends_the_stream_with_1011():
    class Broken(Recogniser):
        async def transcribe(self, pcm: bytes) -> str:
            raise EngineError("the recogniser broke")

    engines = Engines()
    engines.recogniser = Broken({})
    async with embedded(engines=engines) as server:
        async with stream(server) as said:
            await said.until("ready")
            await said.socket.send(SOUND)
            refusal = await said.until("error")
            assert (refusal["code"], refusal["error"]) == ("UPSTREAM_ERROR", "the recogniser broke")
            assert await said.closed() == 1011


@holds("sessions", "7")
async def test_streams_of_one_organisation_are_counted_and_one_that_is_left_is_not():
    async with embedded(engines=Engines(TEXTS), limits=Limits(dictations=1)) as server:
        async with stream(server) as said:
            await said.until("ready")
            async with stream(server) as second:
                assert (await second.receive())["code"] == "RATE_LIMITED"
            async with stream(server, **bearer("pk_two")) as other:
                assert (await other.receive())["type"] == "ready"
        async with asyncio.timeout(PATIENCE_S):
            while True:
                async with stream(server) as again:
                    if (await again.receive())["type"] == "ready":
                        break


@holds("sessions", "7")
async def test_a_server_that_stops_says_what_was_said_and_closes():
    server = embedded(engines=Engines(TEXTS)).start()
    try:
        async with stream(server) as said:
            await said.until("ready")
            await said.socket.send(SOUND)
            await said.until("final")
            await asyncio.to_thread(server.stop)
            assert (await said.until("done"))["audio_seconds"] == 4.48
            assert await said.closed() == 1000
    finally:
        server.stop()


@holds("sessions", "7.1")
async def test_a_page_dictates_with_a_chat_token_that_is_good_once():
    async with embedded(engines=Engines(TEXTS)) as server, connected(server) as owner:
        await owner.agent("desk")
        minted = await token(server, kind="chat")
        page = {"Origin": "https://anywhere.example"}
        query = f"token={minted}&lang=en-US"
        async with stream(server, query, "/api/scribe/ws", **page) as said:
            assert await said.receive() == {"event": "ready"}
            for at in range(0, len(SOUND), 3_200):
                await said.socket.send(SOUND[at : at + 3_200])
            await said.socket.send(json.dumps({"event": "stop"}))
            for text in TEXTS.values():
                assert await said.until("final") == {"event": "final", "text": text}
            assert await said.receive() == {"event": "done"}
            assert await said.closed() == 1000
        with pytest.raises(websockets.InvalidStatus) as again:
            async with stream(server, query, "/api/scribe/ws"):
                pass
        assert again.value.response.status_code == 401


@holds("sessions", "7", "7.1")
async def test_pages_that_dictate_keep_nobody_waiting_who_holds_the_key():
    limits = Limits(dictations=1)
    async with (
        embedded(engines=Engines(TEXTS), limits=limits) as server,
        connected(server) as owner,
    ):
        await owner.agent("desk")
        queries = [f"token={await token(server, kind='chat')}" for _ in range(2)]
        async with stream(server, queries[0], "/api/scribe/ws", X="y") as page:
            assert await page.receive() == {"event": "ready"}
            async with stream(server, queries[1], "/api/scribe/ws", X="y") as second:
                assert (await second.receive())["event"] == "error"
            async with stream(server) as said:
                assert (await said.receive())["type"] == "ready"


@holds("sessions", "7.1")
async def test_a_page_that_dictates_in_another_language_is_told_why_not():
    async with embedded(engines=Engines(TEXTS)) as server, connected(server) as owner:
        await owner.agent("desk")
        query = f"token={await token(server, kind='chat')}&lang=es"
        async with stream(server, query, "/api/scribe/ws") as said:
            refusal = await said.receive()
            assert refusal.keys() == {"event", "error"}
            assert refusal["event"] == "error"
            assert await said.closed() == 1008


@holds("sessions", "7")
async def test_what_a_stream_does_not_say_is_the_default():
    async with embedded(engines=Engines(TEXTS)) as server, stream(server) as said:
        ready = await said.receive()
        assert (ready["model"], ready["sample_rate"]) == ("deepgram/nova-3", 16_000)
        assert (ready["encoding"], ready["diarize"]) == ("linear16", False)


@holds("sessions", "7.1")
async def test_what_is_dictated_is_shown_before_it_is_over():
    async with embedded(engines=Engines(TEXTS)) as server, connected(server) as owner:
        await owner.agent("desk")
        query = f"token={await token(server, kind='chat')}"
        async with stream(server, query, "/api/scribe/ws", X="y") as said:
            await said.until("ready")
            await said.socket.send(utterance(1, 900))
            assert await said.until("partial") == {"event": "partial", "text": "Hello there."}
