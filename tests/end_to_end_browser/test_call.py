"""A plain page in Chromium calls an agent over WebRTC, and is understood, answered and shown it."""

from __future__ import annotations

import base64
import functools
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import av
import httpx
import pytest

from pinecall_cli.audio.mix import downmix
from pinecall_cli.audio.resample import resample
from pinecall_cli.audio.wav import read_wav, wav_header
from pinecall_cli.engines.moonshine import Moonshine
from pinecall_cli.server.embedded import EmbeddedServer
from tests.audio_clips.wer import FOLDER, word_error_rate
from tests.end_to_end_browser.chromium import Tab, chromium, needs_a_browser
from tests.server.peer import Peer, bearer, connected, embedded

HERE = Path(__file__).parent
GREETING = "Front desk, good day."
ANSWER = "On Saturday we close early in the afternoon."
SCRIPT: dict[str, Any] = {
    "provider": "script",
    "rules": [{"on": "saturday", "say": ANSWER}, {"say": "You said: {text}"}],
}
RECORD = """(() => {
    const pieces = []
    const recorder = new MediaRecorder(document.querySelector("audio").srcObject)
    recorder.ondataavailable = ({ data }) => pieces.push(data)
    recorder.start()
    window.recorded = () => new Promise((done) => {
        recorder.onstop = () => {
            const reader = new FileReader()
            reader.onload = () => done(reader.result.split(",")[1])
            reader.readAsDataURL(new Blob(pieces))
        }
        recorder.stop()
    })
})()"""


STATS = """(async () => [...(await peer.getStats()).values()]
    .find((one) => one.type === "inbound-rtp" && one.kind === "audio"))()"""


PLAYED_OUT = f"""(async () => {{
    const sent = (await {STATS}).jitterBufferEmittedCount
    while ((await {STATS}).jitterBufferEmittedCount < sent + 48000)
        await new Promise((later) => setTimeout(later, 50))
}})()"""
"""Returns when a second more of sound has been played than when it was called."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and keeps no log."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def site() -> Iterator[int]:
    """Serve this folder's page on a port of the loopback, under both of its names."""
    handler = functools.partial(Quiet, directory=str(HERE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        serving = threading.Thread(target=http.serve_forever, name="site")
        serving.start()
        try:
            yield http.server_port
        finally:
            http.shutdown()
            serving.join()


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    """Ask what time it closes on Saturday, every 20 s, the first time after the greeting."""
    pcm, rate = read_wav(FOLDER / "caller_03.wav")
    second = bytes(2 * rate)
    pcm = (second * 6 + pcm + second * 20)[: len(second) * 20]
    path = tmp_path / "microphone.wav"
    path.write_bytes(wav_header(rate, len(pcm)) + pcm)
    return path


async def open_page(tab: Tab, host: str, port: int, server: EmbeddedServer) -> None:
    query = urlencode({"server": server.url, "agent": "front-desk"})
    await tab.open(f"http://{host}:{port}/page.html?{query}")
    await tab.run('document.getElementById("call").click()')


async def front_desk(owner: Peer) -> None:
    await owner.agent(
        "front-desk", llm=SCRIPT, greeting=GREETING, allowed_origins=["http://localhost:*"]
    )


def heard(webm: str) -> bytes:
    """Return what a page recorded, as int16 mono at 16 kHz."""
    pcm, rate = b"", 48_000
    with av.open(io.BytesIO(base64.b64decode(webm))) as container:
        to_s16 = av.AudioResampler(format="s16")
        for frame in container.decode(audio=0):
            for plain in to_s16.resample(frame):
                rate, channels = plain.sample_rate, plain.layout.nb_channels
                pcm += downmix(bytes(plain.planes[0])[: plain.samples * channels * 2], channels)
    return resample(pcm, rate, 16_000)


@needs_a_browser
@pytest.mark.usefixtures("network")
async def test_a_page_of_an_allowed_origin_holds_a_call(microphone: Path, tmp_path: Path):
    async with EmbeddedServer() as server, connected(server, server.key) as owner:
        await front_desk(owner)
        await server.engines.wait()  # the microphone's file begins to play before the call does
        with site() as port:
            async with chromium(microphone, tmp_path / "profile") as tab:
                await open_page(tab, "localhost", port, server)
                await tab.until('document.querySelector("audio").srcObject')
                await tab.run(RECORD)
                shown = '[...document.querySelectorAll("li")].map((line) => line.textContent)'
                answered = f'{shown}.some((line) => line.includes("afternoon"))'
                await tab.until(answered)
                lines = await tab.run(shown)
                await tab.run(PLAYED_OUT)
                webm = await tab.run("recorded()")
                stats = await tab.run(STATS)
                await tab.run('document.getElementById("hangup").click()')
                assert (await owner.until("call.ended"))["reason"] == "disconnected"

    started = next(f for f in owner.seen if f["event"] == "call.started")
    assert (started["transport"], started["from"]) == ("webrtc", "webrtc")
    assert lines[0] == f"agent: {GREETING}"
    assert lines[-2].startswith("you: ")
    assert word_error_rate([("What time do you close on Saturday?", lines[-2][5:])]) <= 0.3
    assert lines[-1] == f"agent: {ANSWER}"
    words = await Moonshine().transcribe(heard(webm))
    assert word_error_rate([(f"{GREETING} {ANSWER}", words)]) <= 0.2, words
    assert stats["packetsLost"] == 0
    tell(stats)


def tell(stats: dict[str, Any]) -> None:
    """Print how the sound arrived (`pytest -s` shows it)."""
    concealed = stats["concealedSamples"] - stats["silentConcealedSamples"]
    print(f"concealed: {1000 * concealed / stats['totalSamplesReceived']:.1f} ‰ of the samples")
    waited = 1000 * stats["jitterBufferDelay"] / stats["jitterBufferEmittedCount"]
    print(f"jitter: {1000 * stats['jitter']:.0f} ms; held back for {waited:.0f} ms")


@needs_a_browser
@pytest.mark.usefixtures("network")
async def test_a_page_of_any_other_origin_is_refused(microphone: Path, tmp_path: Path):
    async with EmbeddedServer() as server, connected(server, server.key) as owner:
        await front_desk(owner)
        with site() as port:
            async with chromium(microphone, tmp_path / "profile") as tab:
                await open_page(tab, "127.0.0.1", port, server)
                status = 'document.getElementById("status").textContent'
                await tab.until(f'!["not connected", "calling"].includes({status})')
                assert await tab.run(status) == "Failed to fetch"
                assert await tab.run("peer === undefined")
        assert not [f for f in await owner.settled() if "call_id" in f]


@needs_a_browser
async def test_a_page_reads_the_call_log_with_its_backends_token_and_not_with_a_key(
    microphone: Path, tmp_path: Path
):
    async with embedded() as server, connected(server) as owner:
        await owner.agent("front-desk", llm=SCRIPT)
        await owner.send("llm.chat", agent_id="front-desk", session_id="c1", text="Hello.")
        await owner.until("llm.chat.done")
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as backend:
            token = (await backend.get("/stream/token?agent_id=front-desk")).json()["token"]
        with site() as port:
            async with chromium(microphone, tmp_path / "profile") as tab:
                await tab.open(f"http://127.0.0.1:{port}/page.html")

                async def read(path: str, query: str = "", headers: str = "{}") -> Any:
                    url = f"{server.url}{path}{query}"
                    return await tab.run(
                        f'fetch("{url}", {{ headers: {headers} }})'
                        ".then((answer) => answer.json(), (problem) => problem.message)"
                    )

                for path, key in (
                    ("/v1/calls/c1/events", "entries"),
                    ("/v1/agents/front-desk/calls", "calls"),
                ):
                    asked_first = '{ "Content-Type": "application/json" }'
                    for headers in ("{}", asked_first):
                        assert (await read(path, f"?token={token}", headers))[key]
                    assert "expired" in (await read(path, "?token=str_gone"))["detail"]
                    for headers in ("{}", f"{{ Authorization: {bearer()['Authorization']!r} }}"):
                        assert await read(path, "", headers) == "Failed to fetch"
