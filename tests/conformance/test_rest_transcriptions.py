"""A recording as text: rest.md §5.3 and §10."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest

from pinecall_cli.audio import resample
from pinecall_cli.audio.wav import wav_header
from pinecall_cli.engines.choose import INSTALL
from pinecall_cli.errors import EngineError
from pinecall_cli.server.app import Limits
from pinecall_cli.server.routes.transcriptions import LARGEST_FILE
from tests.conformance.paragraphs import holds
from tests.conformance.recording import PATH, TEXTS, gap, post, wav
from tests.fakes.engines import Engines, Recogniser, utterance
from tests.server.browser import OpusEngines
from tests.server.gate import Gate
from tests.server.peer import bearer, connected, embedded, token
from tests.server.recordings import recorded_hum


class Gated(Recogniser):
    """Who recognises nothing until the gate is open."""

    def __init__(self) -> None:
        super().__init__(TEXTS)
        self.gate = Gate()

    async def transcribe(self, pcm: bytes) -> str:
        await self.gate.passed()
        return await super().transcribe(pcm)


@holds("rest", "5.3")
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


@holds("rest", "5.3")
async def test_a_long_speech_is_cut_and_nothing_of_it_is_lost():
    speech = b"".join(utterance(1, 3_000) for _ in range(10))
    async with embedded(engines=Engines(TEXTS)) as server:
        verbose = (await post(server, wav(speech), response_format="verbose_json")).json()
        assert verbose["text"].count("Hello there.") >= 10
        assert len(verbose["segments"]) >= 4
        assert verbose["segments"][-1]["end"] == pytest.approx(30, abs=0.1)


@holds("rest", "5.3")
async def test_silence_and_an_empty_file_have_no_text():
    async with embedded(engines=Engines(TEXTS)) as server:
        for sound in (b"", gap(3_000)):
            answer = await post(server, wav(sound), response_format="verbose_json")
            assert answer.status_code == 200
            assert (answer.json()["text"], answer.json()["segments"]) == ("", [])


@holds("rest", "5.3")
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


@holds("rest", "5.3")
async def test_a_body_that_is_no_form_or_has_no_file_is_refused():
    async with embedded(engines=Engines()) as server:
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            for headers, body in (
                ({"Content-Type": "application/json"}, b"{}"),
                ({"Content-Type": "multipart/form-data"}, b"x"),
                ({"Content-Type": "multipart/form-data; boundary*=a; boundary*0=b"}, b"--b--"),
                ({"Content-Type": f"multipart/form-data; boundary*{'9' * 5_000}=x"}, b"--x--"),
                (
                    {"Content-Type": "multipart/form-data; boundary=b"},
                    b"--b\r\nContent-Disposition: form-data; name*=a; name*0=b\r\n\r\n1\r\n--b--",
                ),
                ({"Content-Type": "multipart/form-data; boundary=b"}, b"--b\r\n\r\n"),
                (
                    {"Content-Type": "multipart/form-data; boundary=b"},
                    b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--',
                ),
            ):
                answer = await http.post(PATH, content=body, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


@holds("rest", "5.3")
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


@holds("rest", "5.3")
async def test_two_recordings_of_one_organisation_are_written_down_at_once_and_no_third():
    engines = Engines()
    engines.recogniser = gated = Gated()
    async with embedded(engines=engines, limits=Limits(uploads=2)) as server:
        begun = [asyncio.create_task(post(server, wav())) for _ in range(2)]
        await gated.gate.holds(2)
        refused = await post(server, wav())
        assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
        gated.gate.open(server)
        assert [answer.status_code for answer in await asyncio.gather(*begun)] == [200, 200]


@holds("rest", "5.3", "10")
async def test_what_pages_have_written_down_keeps_nobody_waiting_who_holds_the_key():
    engines = Engines()
    engines.recogniser = gated = Gated()
    async with (
        embedded(engines=engines, limits=Limits(uploads=1)) as server,
        connected(server) as owner,
    ):
        await owner.agent("desk")
        path = f"/api/scribe?token={await token(server, kind='chat')}"
        clip = asyncio.create_task(post(server, wav(), path))
        await gated.gate.holds(1)
        path = f"/api/scribe?token={await token(server, kind='chat')}"
        assert (await post(server, wav(), path)).json()["code"] == "RATE_LIMITED"
        call = asyncio.create_task(post(server, wav()))
        await gated.gate.holds(2)
        gated.gate.open(server)
        assert [answer.status_code for answer in await asyncio.gather(clip, call)] == [200, 200]


@holds("rest", "5.3")
async def test_a_recording_at_an_odd_rate_keeps_nobody_waiting_while_its_filter_is_computed(
    monkeypatch: pytest.MonkeyPatch,
):
    threads: list[str] = []
    compute = resample._bank

    def noted(up: int, down: int) -> Any:
        threads.append(threading.current_thread().name)
        return compute(up, down)

    monkeypatch.setattr(resample, "_bank", noted)
    async with embedded(engines=Engines(TEXTS)) as server:
        assert (await post(server, wav(bytes(96_002), 48_001))).status_code == 200
        assert threads == [server.server.audio_worker.name]


@holds("rest", "5.3")
async def test_a_rate_at_which_nothing_is_recorded_is_refused():
    async with embedded(engines=Engines(TEXTS)) as server:
        for rate in (7_999, 383_999):
            answer = await post(server, wav(bytes(2), rate))
            assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA")


@holds("rest", "10")
async def test_a_clip_is_written_down_for_a_chat_token():
    async with embedded(engines=Engines(TEXTS)) as server, connected(server) as owner:
        await owner.agent("desk")
        path = f"/api/scribe?token={await token(server, kind='chat')}"
        clip = await post(server, wav(), path)
        assert clip.json()["text"] == "Hello there. Two tickets, please."
        assert clip.headers["access-control-allow-origin"] == "*"
        again = await post(server, wav(), path)
        assert (again.status_code, again.json()["code"]) == (401, "INVALID_KEY")


@holds("rest", "5.3", "10")
async def test_what_a_browser_records_is_written_down():
    async with embedded(engines=OpusEngines()) as server, connected(server) as owner:
        await owner.agent("desk")
        clip = recorded_hum("webm")
        assert (await post(server, clip)).json()["text"] == "hello there"
        scribed = await post(server, clip, f"/api/scribe?token={await token(server, kind='chat')}")
        assert scribed.json()["text"] == "hello there"
