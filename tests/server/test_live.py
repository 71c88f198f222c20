"""Listening in on a call, and recording it, over the real sockets of a server."""

from __future__ import annotations

import asyncio
import json
import resource
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.errors import NotAuthorisedError, NotFoundError
from pinecall_cli.sdk.live import LiveAudio
from pinecall_cli.server.voice import live
from pinecall_cli.server.voice.tape import Listener, Tape
from pinecall_cli.settings import Secret
from tests.server.calling import calling
from tests.server.live_call import desk, serving


async def test_a_call_is_heard_from_where_one_joins_to_its_end():
    async with serving() as server, desk(server):
        async with calling(server) as (caller, call_id):
            audio = await LiveAudio.open(server.url, Secret("pk_one"), call_id)
            assert audio.rate == 16_000
            loud = 0
            async with asyncio.timeout(10):
                async for sound in audio:
                    loud += level_dbfs(sound) > -40
                    if loud == 5:
                        await caller.call.hangup()
        assert loud >= 5
        assert audio.ended


async def test_only_the_owners_key_lets_one_listen():
    async with serving() as server, desk(server), calling(server) as (_, call_id):
        with pytest.raises(NotAuthorisedError):
            await LiveAudio.open(server.url, Secret("pk_wrong"), call_id)
        with pytest.raises(NotFoundError):
            await LiveAudio.open(server.url, Secret("pk_two"), call_id)
        with pytest.raises(NotFoundError):
            await LiveAudio.open(server.url, Secret("pk_one"), "no-such-call")


async def test_an_agent_may_keep_its_calls_to_itself_and_the_reason_is_said():
    async with serving() as server, desk(server, media={"live": False}):
        async with calling(server) as (_, call_id):
            with pytest.raises(NotAuthorisedError, match="media"):
                await LiveAudio.open(server.url, Secret("pk_one"), call_id)


async def test_every_call_is_recorded_in_stereo_where_the_server_is_told_to(tmp_path: Path):
    async with serving(record=tmp_path) as server, desk(server):
        async with calling(server) as (caller, call_id):
            await caller.until("bot.word")
    recording = tmp_path / f"{call_id}.wav"
    assert recording.stat().st_mode & 0o777 == 0o600
    with wave.open(str(recording)) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (2, 16_000)
        pcm = sound.readframes(sound.getnframes())
    left = b"".join(pcm[i : i + 2] for i in range(0, len(pcm), 4))
    right = b"".join(pcm[i + 2 : i + 4] for i in range(0, len(pcm), 4))
    assert not any(left)
    assert level_dbfs(right) > -40
    lines = [json.loads(line) for line in (tmp_path / f"{call_id}.jsonl").read_text().splitlines()]
    assert lines[0]["event"] == "call.started"
    assert lines[-1]["event"] == "call.ended"


async def test_an_agent_that_asks_for_it_is_recorded_beside_the_call_log(tmp_path: Path):
    async with serving(data=tmp_path) as server, desk(server, media={"recording": True}):
        async with calling(server) as (_, call_id):
            pass
    assert (tmp_path / "recordings" / f"{call_id}.wav").exists()


async def test_a_recording_that_is_kept_elsewhere_is_found_from_beside_the_call_log(tmp_path: Path):
    kept, data = tmp_path / "kept", tmp_path / "data"
    async with serving(record=kept, data=data) as server, desk(server):
        async with calling(server) as (_, call_id):
            pass
    link = data / "recordings" / f"{call_id}.wav"
    assert link.is_symlink()
    assert link.samefile(kept / f"{call_id}.wav")


async def test_a_call_outlives_a_recording_that_cannot_be_written(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    async with serving(record=blocked) as server, desk(server):
        async with calling(server) as (caller, _):
            await caller.until("bot.word")
        assert caller.events[-1] == "call.ended"


async def test_a_call_outlives_a_disk_that_fills_up_and_it_is_known(tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with serving(record=tmp_path) as server, desk(server):
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
        try:
            async with calling(server) as (caller, call_id):
                await caller.until("bot.finished")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caller.events[-1] == "call.ended"
    assert server.server.recording_problem is not None
    assert server.server.recording_problem.code == "disk"
    with wave.open(str(tmp_path / f"{call_id}.wav")) as sound:
        assert sound.getnframes() == (40_000 - 44) // 4


async def test_while_nothing_is_to_be_heard_the_connection_is_kept_alive(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(live, "QUIET_S", 0.01)
    feed = live.LiveFeed(Silent(), phone=True)
    chunks = feed.chunks()
    assert [await anext(chunks) for _ in range(3)] == [b"\0\0"] * 3
    feed.end()
    assert [chunk async for chunk in chunks] == []


class Silent:
    """A call in which nothing happens."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        return lambda: None


async def test_a_listener_who_cannot_keep_up_loses_the_oldest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "WAITING", 3)
    tape = Tape(lambda start, end: b"")
    feed = live.LiveFeed(tape, phone=False)
    for value in range(1, 200):
        tape.step(bytes([value, 0]) * 320)
    tape.flush()
    feed.end()
    chunks = [chunk async for chunk in feed.chunks()]
    assert len(chunks) == 3
    assert {len(chunk) for chunk in chunks} == {1600}
    assert chunks[-1][0] >= 195
