"""A disk that fills up: calls go on, what fitted is kept, and exit code 3 says why."""

from __future__ import annotations

import asyncio
import os
import wave
from pathlib import Path

import pytest

from tests.commands.office import PATIENCE_S, PROGRAM, THEIRS, Done, desk, office

GREETING = "a greeting that goes on for quite a while so that there is something to be heard"
QUIET = "steps: [{silence: 2s}, hangup]"
ROOM_KIB = 24
SPEC = Path(__file__).parents[2] / "agents/tests/front_desk.text.spec.yaml"


async def cramped(*arguments: str, stdin: str = "", stdout: str = "") -> Done:
    """Run a command that can write files of 24 KiB and no more, or its stdout elsewhere."""
    script = f"ulimit -f {ROOM_KIB}; " if not stdout else ""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f'{script}exec "$@" {stdout}', "bash", *PROGRAM, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    assert b"Traceback" not in err
    return Done(process.returncode, out.decode(), err.decode())


def seconds(path: Path) -> float:
    """Return the length of a recording, as the standard library reads it."""
    with wave.open(str(path)) as sound:
        frames = sound.getnframes()
        width = sound.getnchannels() * sound.getsampwidth()
        assert len(sound.readframes(frames)) == frames * width
        return frames / sound.getframerate()


async def test_a_call_to_an_agent_goes_on_without_its_recording(tmp_path: Path):
    kept = tmp_path / "kept"
    async with office(desk("desk", greeting=GREETING)):
        done = await cramped(
            "call", "desk", "--caller", "-", "--record", str(kept), "--json", stdin=QUIET
        )
    assert done.code == 3
    assert done.types[-3:] == ["call.ended", "error", "call.summary"]
    assert done.records[-1]["reason"] == "hangup"
    assert done.records[-1]["duration_s"] > 1.5
    assert done.records[-2]["error"]["code"] == "disk"
    (recording,) = kept.glob("*.wav")
    assert 0.1 < seconds(recording) < 1


async def test_a_call_that_an_agent_makes_goes_on_without_its_recording(tmp_path: Path):
    kept = tmp_path / "kept"
    persona = tmp_path / "persona.yaml"
    persona.write_text(QUIET, "utf-8")
    async with office(desk()):
        done = await cramped(
            *("call", THEIRS, "--answer", str(persona), "--greeting", GREETING),
            *("--record", str(kept), "--json"),
        )
    assert done.code == 3
    assert done.types[-3:] == ["call.ended", "error", "call.summary"]
    assert done.records[-1]["reason"] == "hangup"
    assert done.records[-2]["error"]["code"] == "disk"
    (recording,) = kept.glob("*.wav")
    assert 0.1 < seconds(recording) < 2


async def test_a_call_whose_output_cannot_be_kept_ends_there(tmp_path: Path):
    output = tmp_path / "out.wav"
    async with office(desk("desk", greeting=GREETING)):
        done = await cramped(
            "call", "desk", "--caller", "-", "--output", str(output), "--json", stdin=QUIET
        )
    assert done.code == 3
    assert done.records[-2]["error"]["code"] == "disk"
    assert str(output) in done.records[-2]["error"]["message"]
    assert seconds(output) > 0.1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
@pytest.mark.parametrize(
    "line",
    [
        "agents",
        "agents --json",
        "logs --json",
        "--version",
        "call +15005550001",
        "call +15005550001 --json",
        f"test {SPEC}",
        "server --port 0 --data :memory: --json",
    ],
)
async def test_where_stdout_leads_to_a_full_disk_any_command_says_so(line: str):
    async with office(desk()):
        done = await cramped(*line.split(), stdout=">/dev/full")
    assert done.code == 3
    assert "error: cannot write: no space left on device\n  fix: make room" in done.err


@pytest.mark.parametrize("line", ["agents", "logs --json", f"test {SPEC}"])
async def test_where_nobody_reads_stdout_a_command_ends_without_a_word(line: str):
    reading, writing = os.pipe()
    os.close(reading)
    async with office(desk()):
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, *line.split(), "--quiet", stdout=writing, stderr=asyncio.subprocess.PIPE
        )
        os.close(writing)
        async with asyncio.timeout(PATIENCE_S):
            _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
