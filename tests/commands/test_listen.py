"""`pinecall listen` as it is run, beside calls on a server with engines that cost nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import wave
from pathlib import Path

import pytest

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.server.embedded import EmbeddedServer
from tests.commands.office import (
    OURS,
    PATIENCE_S,
    PROGRAM,
    THEIRS,
    Done,
    desk,
    office,
    pinecall,
    started,
)
from tests.end_to_end.terminal import Terminal
from tests.server.calling import calling

GREETING = "a greeting that goes on for quite a while so that there is something to be heard"
READY = b"listening to"


async def listening(*arguments: str) -> asyncio.subprocess.Process:
    """Start to listen; return once the call was found."""
    process = await started("listen", *arguments)
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_S):
        while not (line := await process.stderr.readline()).startswith(READY):
            assert line, "it ended at once"
    return process


async def ended(process: asyncio.subprocess.Process) -> Done:
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


def heard(path: Path) -> tuple[int, float, float]:
    """Return rate, seconds and level of a recording, as the standard library reads it."""
    with wave.open(str(path)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth()) == (1, 2)
        frames = sound.getnframes()
        pcm = sound.readframes(frames)
    assert len(pcm) == 2 * frames
    return sound.getframerate(), frames / sound.getframerate(), level_dbfs(pcm)


async def grown(path: Path, size: int) -> None:
    """Return when a file has that size."""

    def look() -> None:
        until = time.monotonic() + PATIENCE_S
        while not path.exists() or path.stat().st_size < size:
            assert time.monotonic() < until, f"{path} does not grow to {size} bytes"
            time.sleep(0.02)

    await asyncio.to_thread(look)


# --- what is heard, read and kept -------------------------------------------------------------


async def test_the_only_call_is_heard_to_its_end_and_read_from_its_beginning(tmp_path: Path):
    kept = tmp_path / "kept.wav"
    async with office(desk("desk", greeting=GREETING)) as server:
        async with calling(server) as (caller, call_id):
            await caller.until("bot.word")  # somebody who comes late
            process = await listening("--record", str(kept), "--no-audio", "--json")
            await grown(kept, 32_000)
        done = await ended(process)
    assert done.code == 0, done.err
    assert done.records[0]["type"] == "call.started"
    assert done.records[-1]["type"] == "call.summary"
    assert {record["call"] for record in done.records} == {call_id}
    seqs = [record["seq"] for record in done.records if not record.get("ephemeral")]
    assert seqs == sorted(set(seqs))
    rate, seconds, level = heard(kept)
    assert rate == 16_000
    assert seconds >= 1
    assert level > -40
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_a_phone_call_is_kept_at_the_rate_it_has(tmp_path: Path):
    kept = tmp_path / "kept.wav"
    async with office(desk("desk", OURS, greeting=GREETING)) as server:
        async with calling(server, to=OURS, from_=THEIRS) as (_, call_id):
            process = await listening(call_id[:8], "--record", str(kept), "--no-audio")
            await grown(kept, 16_000)
        done = await ended(process)
    assert done.code == 0, done.err
    assert heard(kept)[0] == 8_000
    assert "☎ call ended — hangup" in done.out


async def test_raw_sound_goes_into_a_pipe_until_its_reader_has_enough(tmp_path: Path):
    async with office(desk("desk", greeting=GREETING)) as server, calling(server):
        command = f"{' '.join(map(quoted, PROGRAM))} listen --raw -q | head -c 48000"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE_S):
            sound, talk = await process.communicate()
    assert process.returncode == 0
    assert len(sound) == 48_000
    assert level_dbfs(sound) > -40
    assert talk == b""


def quoted(word: str) -> str:
    return f"'{word}'"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_it_with_the_recording_closed(
    tmp_path: Path, sent: signal.Signals, code: int
):
    kept = tmp_path / "kept.wav"
    async with office(desk("desk", greeting=GREETING)) as server:
        async with calling(server) as (caller, _):
            process = await listening("--record", str(kept), "--no-audio", "--json")
            await grown(kept, 32_000)
            process.send_signal(sent)
            done = await ended(process)
            assert "call.ended" not in caller.events  # it was only heard
    assert done.code == code
    assert heard(kept)[1] >= 0.9


async def test_a_listener_that_was_killed_leaves_a_valid_recording(tmp_path: Path):
    kept = tmp_path / "kept.wav"
    async with office(desk("desk", greeting=GREETING)) as server, calling(server):
        process = await listening("--record", str(kept), "--no-audio")
        await grown(kept, 48_000)
        process.kill()
        await ended(process)
        size = kept.stat().st_size
    _, seconds, level = heard(kept)
    assert seconds >= size / 32_000 - 0.3  # the sizes in its head follow every 0.2 s
    assert level > -40


# --- which call -------------------------------------------------------------------------------


async def test_without_a_call_it_says_how_to_begin_one():
    async with office(desk()):
        for arguments in ((), ("0a11ce",)):
            done = await pinecall("listen", *arguments, "--json")
            assert done.code == 1
            (error,) = done.records
            assert error["type"] == "error"
            assert error["error"]["code"] == "not_found"
            assert error["error"]["hint"]


async def test_of_several_calls_one_has_to_be_named_and_the_closest_is_offered():
    async with office(desk("desk", greeting=GREETING)) as server:
        async with calling(server) as (_, one), calling(server) as (_, two):
            none = await pinecall("listen", "--no-audio", "--json")
            wrong = await pinecall("listen", one[:-1] + ("1" if one[-1] != "1" else "2"))
            process = await listening(two, "--no-audio", "--json")
        done = await ended(process)
    assert none.code == 2
    assert one in none.records[0]["error"]["hint"]
    assert two in none.records[0]["error"]["hint"]
    assert wrong.code == 1
    assert f"did you mean `{one}`?" in wrong.err
    assert done.code == 0
    assert {record["call"] for record in done.records} == {two}


async def test_on_a_terminal_one_of_several_is_chosen(tmp_path: Path):
    async with office(desk("desk", greeting=GREETING)) as server:
        async with calling(server) as (_, one), calling(server) as (_, two):
            terminal = Terminal("listen", "--no-audio", cwd=tmp_path)
            try:
                text = await asyncio.to_thread(terminal.shows, "which one? [1-2, 1]")
                assert text.index(two) < text.index(one)  # the newest first
                terminal.type("7\r")
                await asyncio.to_thread(terminal.shows_times, "which one?", 2)
                terminal.type("2\r")
                await asyncio.to_thread(terminal.shows, f"listening to {one}")
                await asyncio.to_thread(terminal.shows, "● live")
                terminal.type("\x03")
                assert await asyncio.to_thread(terminal.end) == 130
            finally:
                terminal.close()
    assert terminal.after == terminal.before
    assert terminal.cursor_shown


# --- what goes wrong --------------------------------------------------------------------------


async def test_an_agent_that_keeps_its_calls_to_itself_is_explained_and_no_key_is_shown():
    async with office(desk("desk", greeting=GREETING, media={"live": False})) as server:
        async with calling(server):
            done = await pinecall("listen", "--no-audio", "--json", "-vv")
    assert done.code == 4
    assert "`media: {live: true}`" in done.records[-1]["error"]["message"]
    assert server.key not in done.out + done.err


async def test_verbose_talk_shows_neither_the_key_nor_an_url_with_it():
    async with office(desk("desk", greeting=GREETING)) as server:
        async with calling(server) as (caller, _):
            await caller.until("bot.word")
            process = await listening("--no-audio", "-vv")
        done = await ended(process)
    assert done.code == 0
    assert server.key not in done.out + done.err
    assert "token=" not in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--raw", "--json"), 2, "both want stdout"),
        (("--record", "no/such/folder.wav", "--no-audio"), 2, "no such file or directory"),
        (("--server", "http://127.0.0.1:9", "--api-key", "pk"), 3, "127.0.0.1:9"),
        (("--server", "{url}", "--api-key", "pk_wrong"), 4, "key"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_exit_code(
    arguments: tuple[str, ...], code: int, said: str
):
    async with office(desk("desk", greeting=GREETING)) as server, calling(server):
        done = await pinecall("listen", *(one.format(url=server.url) for one in arguments))
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err


async def test_raw_sound_is_kept_off_a_terminal(tmp_path: Path):
    terminal = Terminal("listen", "--raw", cwd=tmp_path)
    try:
        assert await asyncio.to_thread(terminal.end) == 2
    finally:
        terminal.close()
    assert "raw sound is nothing for a terminal" in terminal.text
    assert "--record" in terminal.text


async def full(server: EmbeddedServer, kept: Path) -> Done:
    """Listen where a file may have 20 KiB and no more."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", 'ulimit -f 20; exec "$@"', "bash", *PROGRAM),
        *("listen", "--no-audio", "--record", str(kept), "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    return await ended(process)


async def test_a_full_disk_ends_it_with_what_fitted_kept(tmp_path: Path):
    kept = tmp_path / "kept.wav"
    async with office(desk("desk", greeting=GREETING)) as server, calling(server):
        done = await full(server, kept)
    assert done.code == 3
    assert done.records[-1]["type"] == "error"
    assert done.records[-1]["error"]["code"] == "disk"
    assert str(kept) in done.records[-1]["error"]["message"]
    assert "Traceback" not in done.err
    assert heard(kept)[1] > 0.3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
@pytest.mark.parametrize("twin", ["--json", "--plain", "--raw"])
async def test_where_stdout_leads_to_a_full_disk_it_says_so(twin: str):
    async with office(desk("desk", greeting=GREETING)) as server, calling(server):
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", 'exec "$@" >/dev/full', "bash"),
            *(*PROGRAM, "listen", "--no-audio", twin),
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE_S):
            _, talk = await process.communicate()
    assert process.returncode == 3
    assert b"error: cannot write: no space left on device" in talk
    assert b"Traceback" not in talk


async def test_the_servers_end_is_told_as_what_it_is():
    async with office(desk("desk", greeting=GREETING)) as server:
        async with calling(server) as (caller, _):
            await caller.until("bot.word")
            process = await listening("--no-audio", "--json")
            await asyncio.to_thread(server.stop)
            done = await ended(process)
    # It drained: the call was ended first, and that is what the listener saw.
    assert done.code == 0, done.err
    (over,) = [record for record in done.records if record["type"] == "call.ended"]
    assert over["data"]["reason"] == "server_shutdown"
    assert json.loads(done.out.splitlines()[-1])["type"] == "call.summary"
