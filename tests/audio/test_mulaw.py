"""µ-law, against the formula of G.711 and its own inverse."""

from __future__ import annotations

import math
from array import array

import pytest

from pinecall_cli.audio import mulaw, pcm

EVERY_CODE = bytes(range(256))


def pcm_of(*values: int) -> bytes:
    return pcm.from_samples(array("h", values))


def test_known_codes_of_g711():
    assert mulaw.encode(pcm_of(0, 32767, -32768, 1000, -1000)) == bytes([0xFF, 0x80, 0, 0xCE, 0x4E])
    assert list(pcm.samples(mulaw.decode(bytes([0xFF, 0x7F, 0x80, 0])))) == [0, 0, 32124, -32124]


def test_every_code_survives_but_the_negative_zero():
    expected = EVERY_CODE.replace(b"\x7f", b"\xff")
    assert mulaw.encode(mulaw.decode(EVERY_CODE)) == expected


def test_a_sample_is_never_off_by_more_than_half_its_step():
    values = range(-32635, 32636, 7)
    back = pcm.samples(mulaw.decode(mulaw.encode(pcm_of(*values))))
    for value, decoded in zip(values, back, strict=True):
        exponent = int(math.log2(abs(value) + mulaw.BIAS)) - 7
        assert abs(value - decoded) <= 4 << exponent


def test_louder_samples_never_get_quieter_codes():
    back = pcm.samples(mulaw.decode(mulaw.encode(pcm_of(*range(-32768, 32768)))))
    assert list(back) == sorted(back)


def test_half_a_sample_is_refused():
    with pytest.raises(pcm.AudioFormatError):
        mulaw.encode(b"\0")
