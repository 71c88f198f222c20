"""Speech as text over HTTP and sockets: rest.md §5.3, sessions.md §7 and §7.1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.audio import mulaw
from pinecall_cli.audio.pcm import silence
from pinecall_cli.audio.resample import resample
from pinecall_cli.audio.wav import wav_header
from pinecall_cli.engines.choose import INSTALL
from pinecall_cli.errors import EngineError
from pinecall_cli.server.app import Limits
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.routes.transcriptions import LARGEST_FILE
from tests.fakes.engines import Engines, Recogniser, utterance
from tests.server.gate import Gate
from tests.server.peer import PATIENCE_S, bearer, connected, embedded

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


async def test_a_recording_is_written_down_in_three_forms():
    async with embedded(engines=Engines(TEXTS)) as server:
        plain = await post(server, wav())
        assert plain.json() == {
            "text": "Hello there. Two tickets, please.",
            "language": "en",
            "duration": 4.48,
        }
        assert plain.headers["x-pinecall-request-id"].startswith("req_")
        text = await post(server, wav(), response_format="text", model="whisper/1", language="en")
        assert text.text == "Hello there. Two tickets, please."
        assert text.headers["content-type"].startswith("text/plain")
        verbose = (await post(server, wav(), response_format="verbose_json")).json()
        assert verbose.keys() == {"text", "language", "duration", "model", "words", "segments"}
        first, second = verbose["segments"]
        assert (first["id"], first["text"]) == (0, "Hello there.")
        assert (second["id"], second["text"]) == (1, "Two tickets, please.")
        assert first["start"] == pytest.approx(0.32, abs=0.04)
        assert first["end"] == pytest.approx(1.6, abs=0.04)
        assert second["start"] == pytest.approx(2.56, abs=0.04)
        words = verbose["words"]
        said = [word["word"] for word in words]
        assert said == ["Hello", "there.", "Two", "tickets,", "please."]
        assert words[0]["start"] == first["start"]
        assert words[1]["end"] == first["end"]
        times = [time for word in words for time in (word["start"], word["end"])]
        assert times == sorted(times)


async def test_a_long_speech_is_cut_and_nothing_of_it_is_lost():
    speech = b"".join(utterance(1, 3_000) for _ in range(10))
    async with embedded(engines=Engines(TEXTS)) as server:
        verbose = (await post(server, wav(speech), response_format="verbose_json")).json()
        assert verbose["text"].count("Hello there.") >= 10
        assert len(verbose["segments"]) >= 4
        assert verbose["segments"][-1]["end"] == pytest.approx(30, abs=0.1)


async def test_silence_and_an_empty_file_have_no_text():
    async with embedded(engines=Engines(TEXTS)) as server:
        for sound in (b"", gap(3_000)):
            answer = await post(server, wav(sound), response_format="verbose_json")
            assert answer.status_code == 200
            assert (answer.json()["text"], answer.json()["segments"]) == ("", [])


@pytest.mark.parametrize(
    ("file", "fields", "status", "code"),
    [
        (b"ID3\x04mp3", {}, 415, "UNSUPPORTED_MEDIA"),
        (b"", {}, 415, "UNSUPPORTED_MEDIA"),
        (wav()[:30], {}, 415, "UNSUPPORTED_MEDIA"),
        (wav(), {"diarize": "true"}, 400, "DIARIZE_UNSUPPORTED"),
        (wav(), {"response_format": "srt"}, 400, "FORMAT_UNSUPPORTED"),
        (wav(), {"model": "whisper"}, 400, "BAD_MODEL"),
        (wav(), {"language": "de"}, 400, "BAD_REQUEST"),
        (bytes(LARGEST_FILE + 1), {}, 413, "FILE_TOO_LARGE"),
        (bytes(LARGEST_FILE + 1_000_000), {}, 413, "FILE_TOO_LARGE"),
        (wav_header(1_000, None) + bytes(16_000_000), {}, 413, "FILE_TOO_LARGE"),
    ],
    ids=[*("mp3", "empty", "cut", "diarize", "srt", "model", "language"), "25", "26", "hours"],
)
async def test_what_cannot_be_written_down_is_refused_with_a_code(
    file: bytes, fields: dict[str, str], status: int, code: str
):
    async with embedded(engines=Engines(TEXTS)) as server:
        answer = await post(server, file, **fields)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_body_that_is_no_form_or_has_no_file_is_refused():
    async with embedded(engines=Engines()) as server:
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            for headers, body in (
                ({"Content-Type": "application/json"}, b"{}"),
                ({"Content-Type": "multipart/form-data"}, b"x"),
                ({"Content-Type": "multipart/form-data; boundary=b"}, b"--b\r\n\r\n"),
                (
                    {"Content-Type": "multipart/form-data; boundary=b"},
                    b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--',
                ),
            ):
                answer = await http.post(PATH, content=body, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


async def test_a_recording_needs_a_key_and_the_engines():
    class Deaf(Engines):
        async def wait(self) -> Engines:
            raise EngineError("speech needs the package `numpy`", fix=INSTALL)

    async with embedded(engines=Deaf()) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.post(PATH, content=b"x")).json()["code"] == "MISSING_KEY"
        answer = await post(server, wav())
        assert (answer.status_code, answer.json()["code"]) == (502, "UPSTREAM_ERROR")
        assert "pip install" in answer.json()["error"]


async def test_two_recordings_of_one_organisation_are_written_down_at_once_and_no_third():
    class Gated(Recogniser):
        def __init__(self) -> None:
            super().__init__(TEXTS)
            self.gate = Gate()

        async def transcribe(self, pcm: bytes) -> str:
            await self.gate.passed()
            return await super().transcribe(pcm)

    engines = Engines()
    engines.recogniser = gated = Gated()
    async with embedded(engines=engines, limits=Limits(uploads=2)) as server:
        begun = [asyncio.create_task(post(server, wav())) for _ in range(2)]
        await gated.gate.holds(2)
        refused = await post(server, wav())
        assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
        gated.gate.open(server)
        assert [answer.status_code for answer in await asyncio.gather(*begun)] == [200, 200]


# --- the stream -----------------------------------------------------------------------------------


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


# --- a page's dictation ---------------------------------------------------------------------------


async def chat_token(server: EmbeddedServer) -> str:
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        return str((await http.get("/chat/token?agent_id=desk")).json()["token"])


async def test_a_page_dictates_with_a_chat_token_that_is_good_once():
    async with embedded(engines=Engines(TEXTS)) as server, connected(server) as owner:
        await owner.agent("desk")
        token = await chat_token(server)
        page = {"Origin": "https://anywhere.example"}
        query = f"token={token}&lang=en-US"
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


async def test_a_page_that_dictates_in_another_language_is_told_why_not():
    async with embedded(engines=Engines(TEXTS)) as server, connected(server) as owner:
        await owner.agent("desk")
        query = f"token={await chat_token(server)}&lang=es"
        async with stream(server, query, "/api/scribe/ws") as said:
            refusal = await said.receive()
            assert refusal.keys() == {"event", "error"}
            assert refusal["event"] == "error"
            assert await said.closed() == 1008


async def test_a_clip_is_written_down_for_a_chat_token():
    async with embedded(engines=Engines(TEXTS)) as server, connected(server) as owner:
        await owner.agent("desk")
        path = f"/api/scribe?token={await chat_token(server)}"
        clip = await post(server, wav(), path)
        assert clip.json()["text"] == "Hello there. Two tickets, please."
        assert clip.headers["access-control-allow-origin"] == "*"
        again = await post(server, wav(), path)
        assert (again.status_code, again.json()["code"]) == (401, "INVALID_KEY")
