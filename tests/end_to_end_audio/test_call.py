"""People call the front desk with a real microphone and hear it from a real loudspeaker."""

from __future__ import annotations

import signal
from pathlib import Path

from pinecall_cli.engines.moonshine import Moonshine
from tests.audio.room import needs_a_room
from tests.audio_clips.wer import errors, word_error_rate
from tests.end_to_end.program import spoken
from tests.end_to_end_audio.conftest import Enter, Start
from tests.end_to_end_audio.rooms import Tape

FRONT_DESK = Path(__file__).parents[2] / "agents" / "front_desk.yaml"
VOICE_DBFS = -35
"""Where the recordings' voices end; their noise goes on above what can just be heard."""
SAID = ("caller_03", "cmu_something", "cards_005", "dickens_05")


@needs_a_room
def test_people_are_understood_by_microphone_and_the_loudspeaker_says_what_the_agent_said(
    enter: Enter, start: Start, clip, recogniser: Moonshine
) -> None:
    room = enter()
    dev = start("dev", FRONT_DESK, "--json")
    dev.ready()
    with room.tape("spk.monitor") as ear, room.tape("micpipe.monitor") as mouth:
        call = start("call", "front-desk", "--json", room=room)
        call.wait("bot.finished")
        pairs = []
        began = []
        for name in SAID:
            ear.wait_for_quiet(400)
            mark = call.mark()
            began.append(mouth.ms)
            room.say(clip(name).path)
            call.wait("bot.finished", since=mark)
            turns = {r["turn_id"]: r["text"] for r in call.of("user.message", since=mark)}
            pairs.append((clip(name).text, " ".join(turns.values())))
        ear.wait_for_quiet(400)
        call.signal(signal.SIGINT)
        code = call.end()

    assert code == 130
    worst = sorted(pairs, key=lambda pair: -errors(*pair)[0])[:3]
    assert word_error_rate(pairs) <= 0.15, worst

    said = " ".join(spoken(call.records).values())
    assert "On Saturday we are open from ten to four" in said
    assert word_error_rate([(said, ear.words(recogniser))]) <= 0.15

    ended = call.records[-1]
    assert ended["type"] == "call.summary"
    assert ended["reason"] == "hangup"
    assert ended["latency_ms"]["n"] == len(SAID)
    assert 0 < ended["latency_ms"]["p50"] <= ended["latency_ms"]["p95"]
    assert not call.of("bot.interrupted", "error")
    tell([record["e2e"] for record in call.of("turn.latency")], waits(began, ear, mouth))


def waits(began: list[int], ear: Tape, mouth: Tape) -> list[int]:
    """Return for each turn the ms from the last sound said to the first sound heard."""
    said = [mouth.time_of(start) for start in began]
    found = []
    for this, following in zip(said, [*said[1:], float("inf")], strict=True):
        ends = [mouth.time_of(end) for _, end in mouth.stretches(loud_dbfs=VOICE_DBFS)]
        end = max(time for time in ends if this < time < following)
        starts = [ear.time_of(start) for start, _ in ear.stretches()]
        found.append(round(1000 * (min(time for time in starts if time > end) - end)))
    return found


def tell(told: list[int], heard: list[int]) -> None:
    """Print what the way through both devices takes (`pytest -s` shows it)."""
    for what, times in (("turn.latency", told), ("ear to ear", heard)):
        ordered = sorted(times)
        print(f"{what}: p50 {ordered[len(times) // 2]} ms, p95 {ordered[-1]} ms of {times}")
