"""What a listener hears, by frames that come as they are told to."""

from __future__ import annotations

import pytest

from tests.bench.playout import Playout
from tests.fakes.engines import tone

QUIET, LOUD = bytes(640), tone(20)


def played(*times_ms: float) -> Playout:
    """Return how frames sound that come at these times."""
    playout = Playout(100)
    for at in times_ms:
        playout.arrived(QUIET, at / 1000)
    return playout


def test_frames_that_come_in_time_are_no_underrun_however_they_jitter():
    playout = played(0, 20, 139, 139, 139, 139, 139, 140)
    assert playout.underruns_ms == []
    assert playout.late_ms == pytest.approx([0, 0, 99, 79, 59, 39, 19, 0])


def test_each_stop_is_one_underrun_as_long_as_it_was_silent():
    held_up = played(0, 20, *[240] * 11, 260, 380)
    assert held_up.underruns_ms == pytest.approx([100])
    shifted_for_good = played(0, 20, 240, 260, 280, 500, 520)
    assert shifted_for_good.underruns_ms == pytest.approx([100, 100])


def test_a_first_frame_that_came_late_excuses_no_other():
    assert played(500, 500, 500, 500, 160, 180, 350).underruns_ms == pytest.approx([50])


def test_the_wait_goes_from_the_callers_last_word_to_the_agents_first():
    playout = Playout()
    playout.arrived(LOUD, 0.0)
    playout.spoke(LOUD, 1.0)
    playout.spoke(QUIET, 1.02)
    playout.turn_ended()
    playout.arrived(QUIET, 1.5)
    playout.arrived(LOUD, 1.7)
    playout.arrived(LOUD, 1.72)
    assert playout.waits_ms == pytest.approx([700])
