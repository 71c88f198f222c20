"""Where the time of a turn went: the parts of ``turn.latency`` (events.md §7.8)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.server.voice.latency import Stopwatch
from pinecall_cli.server.voice.orders import Answer

PARTS = ("vad", "asr", "eou", "tools", "llm_ttft", "tts_ttfb", "playout", "other")


def answer(voice_end: int = 1000, vad_end: int = 1200, text_at: int = 1280, decided: int = 1560):
    return Answer(
        turn_id=3,
        message_id="u1",
        text="hello",
        voice_end=voice_end,
        vad_end=vad_end,
        text_at=text_at,
        decided_at=decided,
    )


def test_every_part_is_the_time_between_its_points():
    watch = Stopwatch(answer())
    watch.mark("tools", 1600)
    watch.mark("tools", 1700)
    watch.mark("first_token", 1740)
    watch.mark("first_token", 1790)
    watch.mark("first_audio", 1800)
    told = watch.report("m1", 1821)
    assert (told.turn_id, told.message_id) == (3, "m1")
    assert [getattr(told, part) for part in PARTS] == [200, 80, 280, 140, 40, 60, 21, 0]
    assert told.e2e == 821


def test_a_text_that_was_there_before_its_turn_adds_nothing():
    told = Stopwatch(answer(text_at=1100)).report("m1", 1600)
    assert (told.vad, told.asr, told.eou, told.playout) == (200, 0, 360, 40)


TIMES = st.integers(0, 5000)


@given(TIMES, TIMES, TIMES, TIMES, TIMES, TIMES, TIMES, TIMES)
def test_no_part_is_negative_and_together_they_are_the_whole(
    voice: int, vad: int, text: int, decided: int, tools: int, token: int, audio: int, heard: int
) -> None:
    watch = Stopwatch(answer(voice, vad, text, decided))
    watch.mark("tools", tools)
    watch.mark("first_token", token)
    watch.mark("first_audio", audio)
    told = watch.report("m1", heard)
    parts = [getattr(told, part) for part in PARTS]
    assert min(parts) >= 0
    assert sum(parts) == told.e2e == max(0, heard - voice)
