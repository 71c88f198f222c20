"""Every bench runs, on sizes too small to mean anything; what it measures is for people to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.bench import (
    burst,
    cycles,
    frames,
    fuzz,
    kills,
    latency,
    load,
    memory,
    rules,
    saving,
    sdk,
    startup,
    steps,
    together,
)
from tests.bench.figures import percentile, row
from tests.bench.recordings import RATE, first_audible, last_audible, recordings


@pytest.mark.parametrize(
    ("bench", "arguments"),
    [
        (burst.main, ["--events", "300", "--runs", "1"]),
        (cycles.main, ["--times", "2"]),
        (frames.main, ["--rounds", "1", "--loops", "2"]),
        (fuzz.main, ["--decoded", "50", "--frames", "20", "--rounds", "1"]),
        (kills.main, ["--times", "1"]),
        (latency.main, ["--only", "caller_07", "--each"]),
        (
            load.main,
            ["--agents", "2", "--chats", "1", "--calls", "1", "--minutes", "0.05", "--alone", "1"],
        ),
        (memory.main, ["--calls", "5", "--every", "5"]),
        (rules.main, ["--only", "cards_001", "least_ms=0,560", "ask_after_ms=(200,400)"]),
        (saving.main, ["--saves", "1", "--no-call"]),
        (sdk.main, ["--runs", "1", "--exchanges", "2", "--agents", "3"]),
        (startup.main, ["--runs", "1", "--only", "agents"]),
        (steps.main, ["--seconds", "20"]),
        (together.main, ["--rounds", "1"]),
    ],
    ids=[
        "burst",
        "cycles",
        "frames",
        "fuzz",
        "kills",
        "latency",
        "load",
        "memory",
        "rules",
        "saving",
        "sdk",
        "startup",
        "steps",
        "together",
    ],
)
def test_the_bench_runs_and_prints_its_table(
    bench: Callable[[Sequence[str]], None],
    arguments: Sequence[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench(arguments)
    printed = capsys.readouterr().out
    assert "p50" in printed
    assert "p95" in printed


def test_a_percentile_is_a_value_that_was_measured():
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert [percentile(values, share) for share in (1, 50, 95, 100)] == [1.0, 3.0, 5.0, 5.0]
    assert percentile([7.0], 50) == 7.0
    assert "n=0" in row("nothing", [], "ms")


def test_sound_is_found_by_its_level():
    pcm = bytes(320) + (105).to_bytes(2, "little") * 160 + (103).to_bytes(2, "little") * 160
    assert first_audible(pcm, RATE, 0, 30) == 10
    assert last_audible(pcm, RATE, 0, 30) == 20
    assert first_audible(pcm, RATE, 20, 30) is None
    assert last_audible(pcm, RATE, 0, 5) is None


def test_a_recording_in_a_quiet_room_ends_with_its_last_word():
    (quiet,), (loud,) = recordings("caller_01"), recordings("cmu_numbers")
    end = len(quiet.pcm) / 32
    last = last_audible(quiet.pcm, RATE, 0, end)
    assert quiet.quiet
    assert last is not None
    assert last < end - 200
    assert not loud.quiet
