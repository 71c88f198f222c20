"""Liveness, back-off and conflict retries: time is an argument, so nobody waits."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol.backoff import backoff
from pinecall_cli.protocol.conflict import BUDGET_S, ConflictRetry
from pinecall_cli.protocol.liveness import Liveness


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def test_a_peer_that_ignores_the_probe_is_given_up_for_lost():
    peer = Liveness(quiet=45, patience=5, now=0)
    assert peer.tick(now=44.9) is None
    assert peer.tick(now=peer.deadline) == "probe"
    assert peer.deadline == 50
    assert peer.tick(now=49.9) is None
    assert peer.tick(now=peer.deadline) == "lost"


def test_a_peer_that_answers_the_probe_is_left_alone():
    peer = Liveness(now=0)
    assert peer.tick(now=45) == "probe"
    peer.heard(now=47)
    assert peer.tick(now=91.9) is None
    assert peer.tick(now=92) == "probe"


def test_a_peer_that_was_heard_lately_needs_no_probe():
    peer = Liveness(now=0)
    assert peer.alive(now=44.9)
    assert not peer.alive(now=45)


def test_somebody_else_may_ask_for_a_probe_and_asking_twice_wins_no_time():
    peer = Liveness(now=0)
    peer.probe(now=10)
    peer.probe(now=14)
    assert peer.tick(now=15) == "lost"


def test_a_ping_every_thirty_seconds_is_enough():
    peer = Liveness(now=0)
    for now in range(30, 3600, 30):
        assert peer.tick(now) is None
        peer.heard(now)


def test_delays_double_from_one_second_to_thirty():
    assert list(islice(backoff(lambda: 0.0), 8)) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_up_to_a_quarter_is_added():
    assert list(islice(backoff(lambda: 1.0), 6)) == [1.25, 2.5, 5, 10, 20, 37.5]


def test_back_off_never_ends():
    assert next(islice(backoff(lambda: 0.5), 5000, None)) == 33.75


def refusals_until_the_end(retry: ConflictRetry, **hints: float | bool) -> list[float]:
    """Return when each retry is sent, for a server that refuses every one at once."""
    now, sent = 0.0, []
    while retry.refused(now, **hints) == "wait":  # type: ignore[arg-type]
        assert retry.deadline is not None
        now = retry.deadline
        assert retry.due(now)
        sent.append(now)
    return sent


def test_without_hints_the_delays_are_5_10_20_40_and_the_last_lands_on_the_budget():
    assert refusals_until_the_end(ConflictRetry(middle)) == [5, 15, 35, 75, 90]


def test_a_hint_replaces_the_doubling():
    sent = refusals_until_the_end(ConflictRetry(middle), retry_after_s=30)
    assert sent == [30, 60, 90]


def test_the_spread_is_fifteen_percent_either_way_to_the_millisecond():
    asked: list[tuple[float, float]] = []

    def highest(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    retry = ConflictRetry(highest)
    retry.refused(0.0, retry_after_s=1.0001)
    assert asked == [(0.85, 1.15)]
    assert retry.deadline == 1.15


@pytest.mark.parametrize(("held", "delay"), [(False, 60), (True, 90)])
def test_a_long_hint_is_capped_unless_the_holder_is_known_to_live(held: bool, delay: float):
    retry = ConflictRetry(middle)
    retry.refused(0.0, retry_after_s=3600, holder_alive=held)
    assert retry.deadline == delay


def test_that_the_holder_lives_is_remembered_until_the_server_says_otherwise():
    retry = ConflictRetry(middle)
    retry.refused(0.0, retry_after_s=1, holder_alive=True)
    assert retry.due(1.0)
    retry.refused(1.0, retry_after_s=70)
    assert retry.deadline == 71
    assert retry.due(71.0)
    retry.refused(71.0, retry_after_s=70, holder_alive=False)
    assert retry.deadline == 131


def test_a_holder_that_died_restarts_the_budget_and_the_doubling():
    retry = ConflictRetry(middle)
    for now in (0.0, 5.0, 15.0):
        retry.refused(now)
        assert retry.deadline is not None
        retry.due(retry.deadline)
    retry.refused(89.0, holder_alive=False)
    assert retry.deadline == 94
    assert retry.due(94.0)
    assert retry.refused(178.9) == "wait"
    assert retry.deadline == 179


def test_a_refusal_while_a_retry_is_scheduled_moves_nothing_but_absorbs_that_the_holder_died():
    retry = ConflictRetry(middle)
    retry.refused(0.0)
    assert retry.refused(1.0, retry_after_s=40, holder_alive=True) == "wait"
    assert retry.deadline == 5
    assert retry.refused(2.0, holder_alive=False) == "wait"
    assert retry.deadline == 5
    assert retry.due(5.0)
    assert not retry.due(5.0)
    assert retry.refused(91.9, retry_after_s=60) == "wait"
    assert retry.deadline == 92


def test_nothing_is_due_before_its_time_or_without_a_refusal():
    retry = ConflictRetry(middle)
    assert not retry.due(100.0)
    retry.refused(0.0)
    assert not retry.due(4.999)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 20),
            st.none() | st.floats(-5, 1e6),
            st.none() | st.booleans(),
        ),
        max_size=40,
    )
)
def test_a_retry_is_never_scheduled_beyond_the_budget(
    refusals: list[tuple[float, float | None, bool | None]],
):
    retry, now, started = ConflictRetry(middle), 0.0, None
    for passed, hint, alive in refusals:
        now += passed
        retry.due(now)
        if started is None or alive is False:
            started = now
        if retry.refused(now, retry_after_s=hint, holder_alive=alive) == "wait":
            assert retry.deadline is not None
            assert retry.deadline <= started + BUDGET_S + 1e-6
        else:
            assert now - started > BUDGET_S - 0.002
