"""The level meter: quick up, slow down, and peaks that stay to be seen."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.audio.meter import HOLD_S, Level, Meter, position


@pytest.mark.parametrize(
    ("dbfs", "shown"), [(-math.inf, 0), (-80, 0), (-60, 0), (-30, 0.5), (0, 1), (6, 1)]
)
def test_the_bar_goes_from_minus_60_dbfs_to_full_scale(dbfs, shown):
    assert position(dbfs) == pytest.approx(shown)


def test_a_sound_is_shown_at_once_and_falls_slowly():
    meter = Meter()
    assert meter.update(-30, now=0.0) == Level(0.5, 0.5)
    assert meter.update(-math.inf, now=0.5).value == pytest.approx(0.5 - 0.5 * 24 / 60)
    assert meter.update(-math.inf, now=9.0).value == 0


def test_a_peak_stays_for_a_second_and_falls_then():
    meter = Meter()
    meter.update(0, now=0.0)
    assert meter.update(-math.inf, now=HOLD_S).peak == 1
    later = meter.update(-math.inf, now=HOLD_S + 0.5)
    assert later.value < later.peak < 1


@given(
    st.lists(
        st.tuples(st.floats(allow_nan=True), st.floats(-10, 10)),
        max_size=30,
    )
)
def test_whatever_is_measured_whenever_the_bar_stays_on_the_screen(updates):
    meter = Meter()
    for dbfs, now in updates:
        level = meter.update(dbfs, now)
        assert 0 <= level.value <= level.peak <= 1
