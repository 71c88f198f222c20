"""WAV files of every kind in, and out even when the writer is killed."""

from __future__ import annotations

import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import wave
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.audio import mulaw, pcm
from pinecall_cli.audio.wav import WavWriter, read_wav
from pinecall_cli.errors import InfrastructureError, UsageError

RAMP = [0, 256, -256, 25600, -25600, 32512, -32768]
"""Sample values that 8 bits can hold too."""


def riff(
    body: bytes,
    *,
    kind: int = 1,
    channels: int = 1,
    rate: int = 8000,
    bits: int = 16,
    extensible: bool = False,
    size: int | None = None,
    before: bytes = b"",
) -> bytes:
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits)
    if extensible:
        guid = struct.pack("<H", kind) + bytes.fromhex("000000001000800000aa00389b71")
        fmt = struct.pack("<H", 0xFFFE) + fmt[2:] + struct.pack("<HHI", 22, bits, 0) + guid
    data = struct.pack("<4sI", b"data", len(body) if size is None else size) + body
    chunks = struct.pack("<4sI", b"fmt ", len(fmt)) + fmt + before + data
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


def read(tmp_path: Path, data: bytes) -> tuple[list[int], int]:
    file = tmp_path / "in.wav"
    file.write_bytes(data)
    sound, rate = read_wav(file)
    return list(pcm.samples(sound)), rate


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_integers_of_every_width_are_read(tmp_path: Path, bits: int, extensible: bool):
    if bits == 8:
        body = bytes((value >> 8) + 128 for value in RAMP)
    else:
        scaled = (value << bits - 16 for value in RAMP)
        body = b"".join(value.to_bytes(bits // 8, "little", signed=True) for value in scaled)
    assert read(tmp_path, riff(body, bits=bits, extensible=extensible)) == (RAMP, 8000)


@pytest.mark.parametrize(("code", "bits"), [("f", 32), ("d", 64)])
def test_floats_are_read_and_what_is_too_loud_or_no_number_is_tamed(
    tmp_path: Path, code: str, bits: int
):
    values = [0.0, 0.5, -0.5, 1.0, -1.0, 7.5, -7.5, float("inf"), float("nan")]
    sound, _ = read(tmp_path, riff(struct.pack(f"<9{code}", *values), kind=3, bits=bits))
    assert sound == [0, 16384, -16384, 32767, -32767, 32767, -32767, 32767, 0]


def test_a_telephone_recording_in_mulaw_is_read(tmp_path: Path):
    codes = bytes(range(256))
    sound, _ = read(tmp_path, riff(codes, kind=7, bits=8))
    assert sound == list(pcm.samples(mulaw.decode(codes)))


def test_channels_are_averaged(tmp_path: Path):
    stereo = struct.pack("<6h", 100, 300, -100, 100, 32767, 32767)
    assert read(tmp_path, riff(stereo, channels=2))[0] == [200, 0, 32767]
    assert read(tmp_path, riff(stereo, channels=3))[0] == [100, 21878]


def test_other_chunks_are_passed_over(tmp_path: Path):
    notes = struct.pack("<4sI", b"LIST", 3) + b"abc\0"
    assert read(tmp_path, riff(b"\1\0\2\0", before=notes))[0] == [1, 2]


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 1000])
def test_a_header_nobody_came_back_to_gives_the_sound_that_is_there(tmp_path: Path, size: int):
    assert read(tmp_path, riff(b"\1\0\2\0\3", size=size))[0] == [1, 2]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a WAV"),
        (b"ID3\x03" + bytes(100), "not a WAV"),
        (riff(b"")[:36], "no sound"),
        (riff(bytes(8), kind=2, bits=8), "encoding"),
        (riff(bytes(8), kind=3, bits=16), "encoding"),
        (riff(bytes(8), rate=0), "0 Hz"),
        (riff(bytes(8), channels=0), "0 channels"),
        (b"RIFF\0\0\0\0WAVEdata\2\0\0\0\0\0", "before its format"),
        (b"RIFF\0\0\0\0WAVEfmt \2\0\0\0\0\0", "format header"),
    ],
)
def test_what_is_no_wav_file_of_ours_is_one_clear_sentence(tmp_path: Path, data: bytes, says: str):
    with pytest.raises(UsageError, match=says) as refused:
        read(tmp_path, data)
    assert "ffmpeg" in str(refused.value.fix)


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot read"):
        read_wav(tmp_path / "none.wav")
    with pytest.raises(UsageError, match="cannot read"):
        read_wav(tmp_path)


@given(data=st.binary(max_size=120), cut=st.integers(0, 60))
def test_no_bytes_make_the_reader_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int
):
    file = tmp_path_factory.getbasetemp() / f"fuzz-{os.getpid()}.wav"
    for body in (data, riff(data)[:cut] + data, b"RIFF\0\0\0\0WAVE" + data):
        file.write_bytes(body)
        try:
            sound, rate = read_wav(file)
        except UsageError:
            continue
        assert len(sound) % 2 == 0
        assert rate > 0


@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_written_is_read_by_the_standard_library(tmp_path: Path, channels: int):
    sound = array("h", range(-4000, 4000)).tobytes()
    with WavWriter(tmp_path / "out.wav", 16000, channels) as file:
        for frame in pcm.frames(sound, 16000):
            file.write(frame)
        assert file.duration_s == 0.5 / channels
    with wave.open(str(tmp_path / "out.wav")) as back:
        assert (back.getnchannels(), back.getframerate(), back.getsampwidth()) == (
            channels,
            16000,
            2,
        )
        assert back.readframes(10**6) == sound


def test_a_recording_is_private_even_where_a_public_file_was(tmp_path: Path):
    file = tmp_path / "out.wav"
    file.touch(mode=0o644)
    with WavWriter(file, 8000):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_empty_recording_is_a_valid_file(tmp_path: Path):
    with WavWriter(tmp_path / "out.wav", 8000) as file:
        assert read_wav(file.path) == (b"", 8000)
    file.close()
    assert read_wav(file.path) == (b"", 8000)


def test_a_writer_that_was_killed_leaves_a_valid_file(tmp_path: Path):
    file = tmp_path / "out.wav"
    program = (
        "import os, signal, sys\n"
        "from pinecall_cli.audio.wav import WavWriter\n"
        "writer = WavWriter(sys.argv[1], 16000, 2)\n"
        "for _ in range(50): writer.write(b'\\1\\0' * 640)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(file)], check=False)
    assert ended.returncode == -signal.SIGKILL
    with wave.open(str(file)) as back:
        assert 0.8 * 16000 <= back.getnframes() <= 16000
        frames = back.readframes(back.getnframes())
    assert frames == b"\1\0" * (len(frames) // 2)


def test_a_place_that_cannot_be_written_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot write"):
        WavWriter(tmp_path / "no" / "such" / "folder.wav", 8000)


@pytest.fixture
def cramped() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_disk_that_fills_up_is_an_error_and_what_fitted_is_kept(
    tmp_path: Path, cramped: Callable[[int], None], channels: int
):
    path = tmp_path / "full.wav"
    writer = WavWriter(path, 16_000, channels)
    cramped(10_001)
    with pytest.raises(InfrastructureError, match="cannot write") as full:
        writer.write(bytes([1]) * 64_000)
    writer.close()
    assert (full.value.exit_code, full.value.code) == (3, "disk")
    with wave.open(str(path)) as sound:
        size = sound.getnframes() * 2 * channels
        assert size == (10_001 - 44) // (2 * channels) * (2 * channels)
        assert sound.readframes(sound.getnframes()) == bytes([1]) * size


def test_a_disk_without_room_for_a_header_is_an_error_too(
    tmp_path: Path, cramped: Callable[[int], None]
):
    cramped(10)
    with pytest.raises(InfrastructureError, match="cannot write"):
        WavWriter(tmp_path / "none.wav", 16_000)


def test_reading_and_writing_need_no_numpy():
    program = (
        "import sys\n"
        "from pinecall_cli.audio import mulaw, pcm, wav\n"
        "print('numpy' in sys.modules)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout == "False\n"
