"""Text made audible over HTTP, and the voices: rest.md §5.1, §5.2, §3.5 and §3.6."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from typing import Any

import av
import httpx
import pytest

from pinecall_cli.audio.wav import decode_wav
from pinecall_cli.engines.choose import INSTALL
from pinecall_cli.engines.types import Speech
from pinecall_cli.errors import EngineError
from pinecall_cli.server.app import Limits
from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.paragraphs import holds
from tests.fakes.engines import MS_PER_CHARACTER, Engines, Voice
from tests.server.gate import Gate
from tests.server.peer import PATIENCE_S, bearer, embedded

WISH = {"input": "One two. Three four!", "voice": "hibari/heart"}
SPOKEN_MS = (8 + 11) * MS_PER_CHARACTER + 200
"""Both sentences, and the pause between them."""
PATH = "/v1/audio/speech"


def client(server: EmbeddedServer, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, headers=bearer() | headers, timeout=PATIENCE_S)


def seconds(mp3: bytes) -> float:
    """Return how long a file is."""
    with av.open(io.BytesIO(mp3)) as file:
        assert file.format.name == "mp3"
        return sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))


class Gated(Voice):
    """Speaks one sentence, and the next when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def synthesise(self, text: str, *, speed: float = 1.0) -> Speech:
        if self.said:
            await self.gate.passed()
        return await super().synthesise(text, speed=speed)


class Mute(Engines):
    """A machine without the packages of speech."""

    async def wait(self) -> Engines:
        raise EngineError("speech needs the package `numpy`", fix=INSTALL)


@holds("rest", "5", "5.1")
@pytest.mark.parametrize("rate", [16_000, 24_000])
async def test_pcm_is_streamed_at_the_rate_that_was_asked_for(rate: int):
    async with embedded(engines=Engines()) as server, client(server) as http:
        answer = await http.post(PATH, json=WISH | {"sample_rate": rate})
        assert answer.status_code == 200
        assert len(answer.content) == pytest.approx(2 * rate * SPOKEN_MS / 1000, abs=8)
        assert answer.headers["content-type"] == "audio/pcm"
        assert answer.headers["transfer-encoding"] == "chunked"
        said = {name: answer.headers[f"x-{name}"] for name in ("sample-rate", "channels")}
        assert said == {"sample-rate": str(rate), "channels": "1"}
        assert answer.headers["x-bit-depth"] == "16"
        assert answer.headers["x-pinecall-request-id"].startswith("req_")
        assert answer.headers["x-pinecall-characters"] == "20"


@holds("rest", "5.1")
async def test_wav_is_a_file_whose_header_tells_its_length():
    async with embedded(engines=Engines()) as server, client(server) as http:
        answer = await http.post(PATH, json=WISH | {"response_format": "wav"})
        pcm, rate = decode_wav(answer.content)
        assert (rate, len(answer.content)) == (16_000, len(pcm) + 44)
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["x-pinecall-audio-ms"] == str(SPOKEN_MS)
        assert len(pcm) == 32 * SPOKEN_MS


@holds("rest", "5.1")
@pytest.mark.parametrize("rate", [16_000, 24_000])
async def test_mp3_is_streamed_and_is_as_long_as_what_was_said(rate: int):
    asked = WISH | {"response_format": "mp3", "sample_rate": rate}
    async with embedded(engines=Engines()) as server, client(server) as http:
        answer = await http.post(PATH, json=asked)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "audio/mpeg"
        assert answer.headers["x-sample-rate"] == str(rate)
        # The encoder begins and ends with silence of its own, some 0.1 s.
        assert seconds(answer.content) == pytest.approx(SPOKEN_MS / 1000, abs=0.15)
        told = await http.post(PATH, json=asked | {"timestamps": True})
        events = [json.loads(line[6:]) for line in told.text.split("\n\n")[:-2]]
        assert events[0]["format"] == "mp3"
        pieces = [base64.b64decode(e["data"]) for e in events if e["type"] == "audio"]
        assert b"".join(pieces) == answer.content


@holds("rest", "3.6", "5.1")
async def test_without_an_encoder_mp3_is_a_format_that_is_not_supported(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "av", None)
    async with embedded(engines=Engines()) as server, client(server) as http:
        answer = await http.post(PATH, json=WISH | {"response_format": "mp3"})
        assert (answer.status_code, answer.json()["code"]) == (400, "FORMAT_UNSUPPORTED")
        assert "pip install" in answer.json()["error"]
        preview = await http.get("/api/sdk/voice-preview")
        assert preview.headers["content-type"] == "audio/wav"
        assert decode_wav(preview.content)[1] == 16_000


@holds("rest", "5.1")
@pytest.mark.parametrize("shape", ["pcm", "wav"])
async def test_timestamps_come_as_events_with_each_words_time_in_the_whole(shape: str):
    async with embedded(engines=Engines()) as server, client(server) as http:
        answer = await http.post(PATH, json=WISH | {"timestamps": True, "response_format": shape})
        assert answer.headers["content-type"].startswith("text/event-stream")
        *lines, last, empty = answer.text.split("\n\n")
        assert (last, empty) == ("data: [DONE]", "")
        events: list[dict[str, Any]] = [json.loads(line.removeprefix("data: ")) for line in lines]
        assert events[0]["type"] == "start"
        assert events[0]["request_id"] == answer.headers["x-pinecall-request-id"]
        assert (events[0]["format"], events[0]["sample_rate"]) == (shape, 16_000)
        sound = b"".join(base64.b64decode(e["data"]) for e in events if e["type"] == "audio")
        pcm = decode_wav(sound)[0] if shape == "wav" else sound
        assert len(pcm) == 32 * SPOKEN_MS
        words = [(e["word"], e["start"], e["end"]) for e in events if e["type"] == "word"]
        assert words == [
            ("One", 0.0, 0.18),
            ("two.", 0.24, 0.48),
            ("Three", 0.68, 0.98),
            ("four!", 1.04, 1.34),
        ]
        assert events[-1] == {"type": "done", "characters": 20, "audio_ms": SPOKEN_MS}


@holds("rest", "5.1")
async def test_the_speed_reaches_the_voice():
    engines = Engines()
    async with embedded(engines=engines) as server, client(server) as http:
        for speed in (0.5, 2, None):
            assert (await http.post(PATH, json=WISH | {"speed": speed})).status_code == 200
    assert engines.synthesiser.speeds == [0.5, 0.5, 2, 2, 1.0, 1.0]


@holds("rest", "5.1")
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"input": ""}, 400, "BAD_REQUEST"),
        ({"input": " \n"}, 400, "BAD_REQUEST"),
        ({"input": 5}, 400, "BAD_REQUEST"),
        ({"input": "x" * 5_001}, 413, "INPUT_TOO_LONG"),
        ({"input": "x" * 200_000}, 413, "INPUT_TOO_LONG"),
        ({"voice": ""}, 400, "BAD_VOICE"),
        ({"voice": "a\x1b[2J/b"}, 400, "BAD_VOICE"),
        ({"voice": None}, 400, "BAD_REQUEST"),
        ({"model": "tts-1"}, 400, "BAD_MODEL"),
        ({"response_format": "opus"}, 400, "FORMAT_UNSUPPORTED"),
        ({"response_format": "../../x"}, 400, "FORMAT_UNSUPPORTED"),
        ({"sample_rate": 44_100}, 400, "BAD_REQUEST"),
        ({"speed": 0}, 400, "BAD_REQUEST"),
        ({"speed": 3}, 400, "BAD_REQUEST"),
        ({"language": "es"}, 400, "BAD_REQUEST"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_a_code(
    change: dict[str, Any], status: int, code: str
):
    async with embedded(engines=Engines()) as server, client(server) as http:
        answer = await http.post(PATH, json=WISH | change)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["error"]


@holds("rest", "5.1")
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"input":"\\ud800"}']
)
async def test_a_body_that_is_no_request_is_refused(body: bytes):
    async with embedded(engines=Engines()) as server, client(server) as http:
        answer = await http.post(PATH, content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


@holds("rest", "5.1")
async def test_five_thousand_characters_are_spoken():
    async with embedded(engines=Engines()) as server, client(server) as http:
        answer = await http.post(PATH, json=WISH | {"input": "é" * 5_000})
        assert answer.status_code == 200


@holds("rest", "5.1", "5.2")
async def test_a_key_is_needed_and_the_body_of_whoever_has_none_is_not_read():
    async with embedded(engines=Engines()) as server:
        for path, method in ((PATH, "POST"), ("/v1/audio/voices", "GET")):
            for header, code in (("", "MISSING_KEY"), ("Bearer pk_no", "INVALID_KEY")):
                headers = {"Authorization": header} if header else {}
                async with httpx.AsyncClient(base_url=server.url, headers=headers) as stranger:
                    answer = await stranger.request(method, path, content=b"x" * 1000)
                    assert (answer.status_code, answer.json()["code"]) == (401, code)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n")
        writer.write(b"Content-Length: 1000000\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        writer.close()


@holds("rest", "5.1")
async def test_without_the_engines_the_answer_says_how_to_get_them():
    async with embedded(engines=Mute()) as server, client(server) as http:
        for change in ({}, {"response_format": "wav"}, {"timestamps": True}):
            answer = await http.post(PATH, json=WISH | change)
            assert (answer.status_code, answer.json()["code"]) == (502, "UPSTREAM_ERROR")
            assert "pip install" in answer.json()["error"]


@holds("rest", "5.1")
async def test_a_voice_that_breaks_is_an_error_before_the_sound_and_an_event_in_it():
    class Broken(Voice):
        async def synthesise(self, text: str, *, speed: float = 1.0) -> Speech:
            raise EngineError("the voice broke")

    engines = Engines()
    engines.synthesiser = Broken()
    async with embedded(engines=engines) as server, client(server) as http:
        answer = await http.post(PATH, json=WISH)
        assert (answer.status_code, answer.json()["code"]) == (502, "UPSTREAM_ERROR")
        lines = (await http.post(PATH, json=WISH | {"timestamps": True})).text.split("\n\n")
        assert json.loads(lines[1].removeprefix("data: ")) == {
            "type": "error",
            "code": "UPSTREAM_ERROR",
            "error": "the voice broke",
        }
        assert lines[2] == "data: [DONE]"


@holds("rest", "5.1")
async def test_one_organisation_may_have_so_many_at_once_and_another_as_many():
    engines = Engines()
    engines.synthesiser = gated = Gated()
    gated.said.append("so that the very first waits, too")
    limits = Limits(spoken_texts=2)
    async with embedded(engines=engines, limits=limits) as server, client(server) as http:
        begun = [asyncio.create_task(http.post(PATH, json=WISH)) for _ in range(2)]
        await gated.gate.holds(2)
        refused = await http.post(PATH, json=WISH)
        assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
        assert refused.headers["retry-after"] == "1"
        async with client(server, **bearer("pk_two")) as other:
            theirs = asyncio.create_task(other.post(PATH, json=WISH))
            await gated.gate.holds(3)
            gated.gate.open(server)
            assert (await theirs).status_code == 200
        assert [answer.status_code for answer in await asyncio.gather(*begun)] == [200, 200]
        assert (await http.post(PATH, json=WISH)).status_code == 200


@holds("rest", "5.1")
async def test_closing_the_request_ends_the_work_and_frees_its_place():
    engines = Engines()
    engines.synthesiser = gated = Gated()
    async with embedded(engines=engines, limits=Limits(spoken_texts=1)) as server:
        for change in ({}, {"timestamps": True}, {"response_format": "wav"}):
            async with client(server) as http:
                leaving = asyncio.create_task(http.post(PATH, json=WISH | change))
                await gated.gate.holds(1)
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
            await gated.gate.holds(0)
        gated.gate.open(server)
        async with client(server) as http, asyncio.timeout(PATIENCE_S):
            while (await http.post(PATH, json=WISH)).status_code == 429:
                pass  # the last one's place is given back a moment after it has stopped


@holds("rest", "3.5", "3.6", "5.2")
async def test_voices_are_listed_filtered_and_can_be_heard():
    async with embedded(engines=Engines()) as server, client(server) as http:
        everything = (await http.get("/v1/audio/voices")).json()
        assert (everything["success"], everything["total"]) == (True, 1)
        (heart,) = everything["voices"]
        assert (heart["id"], heart["provider"]) == ("heart", "hibari")
        # A client that filters by language reads the codes of objects, and of nothing else.
        assert heart["languages"] == [{"code": "en", "name": "English"}]
        for query, total in (
            ({"provider": "hibari"}, 1),
            ({"provider": "elevenlabs"}, 0),
            ({"language": "en-GB"}, 1),
            ({"language": "es"}, 0),
        ):
            found = (await http.get("/v1/audio/voices", params=query)).json()
            assert (found["success"], found["total"]) == (True, total), query
        async with httpx.AsyncClient() as nobody:
            voices = f"{server.url}/api/sdk/voices"
            public = await nobody.get(f"{voices}?language=en")
            assert public.json() == everything
            # It is the default, which clients send: they are to see the voices that there are.
            assert (await nobody.get(f"{voices}?provider=elevenlabs")).json() == everything
            assert (await nobody.get(f"{voices}?provider=cartesia")).json()["total"] == 0
            heard = [await nobody.get(heart["preview_url"]) for _ in range(2)]
            assert [h.headers["content-type"] for h in heard] == ["audio/mpeg"] * 2
            assert seconds(heard[0].content) > 3
            assert (
                await nobody.get(f"{server.url}/api/sdk/voice-preview?voice=x")
            ).status_code == 404
    assert len(server.engines.synthesiser.said) == 3  # one sample of three sentences, once
