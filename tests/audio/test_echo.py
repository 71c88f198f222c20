"""Echo: cancelled where the package is there, muted where it is not, left alone when asked."""

from __future__ import annotations

import sys
from array import array
from random import Random

import pytest

from pinecall_cli.audio.echo import TAIL_MS, EchoCanceller, HalfDuplex, NoEcho, open_echo
from pinecall_cli.audio.pcm import AudioFormatError, level_dbfs
from pinecall_cli.audio.resample import resample

FRAME = 640
QUIET = bytes(FRAME)


def babble(seconds: float, seed: int, loudness: int = 6000) -> bytes:
    """Return noise in syllables: four a second, as lively as speech is to an echo canceller."""
    random, out, last = Random(seed), array("h"), 0.0
    for n in range(int(seconds * 16_000)):
        swell = max(0.0, 1 - abs((n % 4000) / 2000 - 1) * 1.2)
        last = 0.7 * last + random.uniform(-1, 1) * 0.5
        out.append(int(loudness * swell * last))
    return out.tobytes()


def delayed(pcm: bytes, ms: int, gain: float) -> bytes:
    """Return ``pcm`` as a microphone hears it from a loudspeaker."""
    samples = array("h", bytes(32 * ms) + pcm[: len(pcm) - 32 * ms])
    return array("h", [int(gain * value) for value in samples]).tobytes()


def cut(pcm: bytes) -> list[bytes]:
    return [pcm[at : at + FRAME] for at in range(0, len(pcm), FRAME)]


def added(one: bytes, other: bytes) -> bytes:
    pairs = zip(array("h", one), array("h", other), strict=True)
    return array("h", [max(-32768, min(32767, a + b)) for a, b in pairs]).tobytes()


@pytest.mark.parametrize("delay", [40, 80, 200])
def test_the_agents_own_voice_is_taken_out_of_the_microphone(delay):
    pytest.importorskip("pywebrtc_audio")
    far = babble(4.0, seed=1)
    near = delayed(far, delay, gain=0.5)
    canceller = EchoCanceller()
    clean = b"".join(map(canceller.process, cut(near), cut(far)))
    assert len(clean) == len(near)
    assert level_dbfs(clean[96_000:]) < level_dbfs(near[96_000:]) - 15


def test_on_a_telephone_it_is_taken_out_as_well():
    pytest.importorskip("pywebrtc_audio")
    far = resample(babble(4.0, seed=1), 16_000, 8_000)
    near = resample(delayed(babble(4.0, seed=1), 80, gain=0.5), 16_000, 8_000)
    canceller = EchoCanceller(8_000)
    blocks = range(0, len(near), 320)
    clean = [canceller.process(near[at : at + 320], far[at : at + 320]) for at in blocks]
    assert {len(block) for block in clean} == {320}
    assert level_dbfs(b"".join(clean[150:])) < level_dbfs(near[48_000:]) - 15


def test_the_caller_is_still_heard():
    pytest.importorskip("pywebrtc_audio")
    far, voice = babble(4.0, seed=1), bytes(96_000) + babble(1.0, seed=2, loudness=9000)
    near = added(delayed(far, 80, gain=0.3), voice)
    canceller = EchoCanceller()
    clean = b"".join(map(canceller.process, cut(near), cut(far)))
    assert level_dbfs(clean[96_000:]) > level_dbfs(voice[96_000:]) - 12


@pytest.mark.parametrize(("near", "far"), [(FRAME, 320), (100, 100), (0, 320)])
def test_unequal_or_broken_blocks_are_refused(near, far):
    pytest.importorskip("pywebrtc_audio")
    with pytest.raises(AudioFormatError, match="equal blocks"):
        EchoCanceller().process(bytes(near), bytes(far))


def test_half_duplex_is_deaf_while_the_agent_plays_and_a_moment_longer():
    voice, echo = babble(0.02, seed=3)[:FRAME].replace(b"\0", b"\1"), HalfDuplex()
    assert echo.process(voice, QUIET) == voice
    assert echo.process(voice, voice) == QUIET
    tail = [echo.process(voice, QUIET) for _ in range(TAIL_MS // 20 + 1)]
    assert tail == [QUIET] * (TAIL_MS // 20) + [voice]


def test_half_duplex_says_so_all_the_time_and_the_others_have_nothing_to_say():
    assert "half-duplex" in HalfDuplex().badge
    assert NoEcho().badge is None
    assert EchoCanceller.badge is None


def test_without_its_package_the_fallback_is_half_duplex(monkeypatch):
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    assert isinstance(open_echo(True), HalfDuplex)


def test_it_can_be_switched_off():
    off = open_echo(False)
    assert isinstance(off, NoEcho)
    assert off.process(b"near", b"far!") == b"near"
