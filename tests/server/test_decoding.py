from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.audio.wav import wav_header
from pinecall_cli.server.speech.audio_api import ApiError
from pinecall_cli.server.speech.decoding import RATE, decode_recording
from tests.server.recordings import KINDS, recorded_hum


@pytest.mark.parametrize("kind", KINDS)
def test_what_browsers_and_phones_record_is_read(kind: str):
    pcm, rate = decode_recording(recorded_hum(kind), longest_s=60)
    assert rate == RATE
    assert len(pcm) / 2 / rate == pytest.approx(1.0, abs=0.05)
    assert level_dbfs(pcm[3_200:-3_200]) == pytest.approx(-14.2, abs=2)


@pytest.mark.parametrize("kind", [*KINDS, "wav"])
def test_a_recording_that_lasts_too_long_is_refused_in_every_kind(kind: str):
    long = wav_header(RATE, None) + bytes(64_000) if kind == "wav" else recorded_hum(kind, 2.0)
    with pytest.raises(ApiError) as refused:
        decode_recording(long, longest_s=1)
    assert (refused.value.status, refused.value.code) == (413, "FILE_TOO_LARGE")


@pytest.mark.parametrize("rate", [1_000, 7_999, 192_001, 383_999])
def test_a_rate_at_which_nothing_is_recorded_is_refused(rate: int):
    with pytest.raises(ApiError) as refused:
        decode_recording(wav_header(rate, None) + bytes(2), longest_s=60)
    assert (refused.value.status, refused.value.code) == (415, "UNSUPPORTED_MEDIA")


@pytest.mark.parametrize("rate", [8_000, 11_025, 192_000])
def test_rates_of_telephones_and_of_studios_are_read(rate: int):
    assert decode_recording(wav_header(rate, None) + bytes(2), longest_s=60) == (bytes(2), rate)


def test_a_few_samples_that_would_last_for_hours_are_refused_before_they_are_drawn_out():
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=2, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=100)
        frame.sample_rate, frame.pts = 2, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ApiError) as refused:
        decode_recording(file.getvalue(), longest_s=60)
    assert (refused.value.status, refused.value.code) == (415, "UNSUPPORTED_MEDIA")
    assert "2 Hz" in refused.value.message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        b"\x89PNG\r\n\x1a\n",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"....ftyp",
    ],
)
def test_anything_else_is_refused_and_no_playlist_is_followed(data: bytes):
    with pytest.raises(ApiError) as refused:
        decode_recording(data, longest_s=60)
    assert (refused.value.status, refused.value.code) == (415, "UNSUPPORTED_MEDIA")


def test_without_ffmpeg_wav_is_read_and_the_rest_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
):
    webm = recorded_hum("webm")
    monkeypatch.setitem(sys.modules, "av", None)
    assert decode_recording(wav_header(RATE, None) + bytes(320), longest_s=60) == (bytes(320), RATE)
    with pytest.raises(ApiError) as refused:
        decode_recording(webm, longest_s=60)
    assert "pip install" in refused.value.message


@given(
    kind=st.sampled_from(sorted(KINDS)),
    changes=st.lists(st.tuples(st.integers(4, 20_000), st.integers(0, 255)), max_size=30),
    length=st.integers(0, 20_000),
)
def test_broken_files_are_read_as_far_as_they_go_or_refused(
    kind: str, changes: list[tuple[int, int]], length: int
):
    data = bytearray(recorded_hum(kind))
    for at, value in changes:
        data[at % len(data)] = value
    with suppress(ApiError):
        pcm, _ = decode_recording(bytes(data[:length]), longest_s=60)
        assert len(pcm) <= 2 * RATE * 60
