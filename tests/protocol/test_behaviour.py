"""Interruption, limits, the barrier, the greeting."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pinecall_cli.protocol.config import (
    ConfigRefused,
    Interruption,
    Preparing,
    SessionLimits,
    greeting_for,
    interruption,
    preparing_budget,
    session_limits,
)


@pytest.mark.parametrize("value", [None, True, {}, {"enabled": True}, {"unheard_of": 1}])
def test_interruption_by_default(value: Any):
    assert interruption(value) == Interruption()
    assert interruption(value).min_duration_ms == 300
    assert interruption(value).min_words == 2


def test_interruption_may_be_switched_off_or_changed():
    assert not interruption(False).enabled
    assert interruption({"enabled": False, "min_words": 1}) == Interruption(
        enabled=False, min_words=1
    )
    assert interruption({"energy_threshold_db": -50}).energy_threshold_db == -50


def test_a_voice_must_be_as_loud_as_the_stricter_of_both_settings_says():
    assert interruption().floor_dbfs == pytest.approx(-75)
    assert interruption({"min_volume": 0}).floor_dbfs == -math.inf
    assert interruption({"min_volume": 0.7}).floor_dbfs == pytest.approx(-40)
    assert interruption({"min_volume": 1}).floor_dbfs == pytest.approx(-10)
    assert interruption({"energy_threshold_db": -40}).floor_dbfs == -40
    assert interruption({"energy_threshold_db": -90}).floor_dbfs == pytest.approx(-75)
    assert interruption({"min_duration_ms": None}) == Interruption()


@pytest.mark.parametrize(
    "value",
    [
        "off",
        {"min_duration_ms": "300"},
        {"min_duration_ms": -1},
        {"min_words": True},
        {"enabled": 1},
    ],
)
def test_an_interruption_that_is_none_is_refused(value: Any):
    with pytest.raises(ConfigRefused, match="interruption"):
        interruption(value)


def test_session_limits_by_default_and_overridden():
    assert session_limits() == session_limits({}) == SessionLimits(600, 60, 15, 10)
    assert session_limits({"idle_timeout_seconds": 0}) == SessionLimits(600, 0, 15, 10)


@pytest.mark.parametrize("value", [[], {"idle_grace_seconds": -1}, {"max_duration_seconds": "x"}])
def test_limits_that_are_none_are_refused(value: Any):
    with pytest.raises(ConfigRefused, match="session_limits"):
        session_limits(value)


OPTED_IN = Preparing(ask=True, budget_ms=1500, tell=True, patience=None)
OFF = Preparing(ask=False, budget_ms=0, tell=False, patience=None)


@pytest.mark.parametrize(
    ("value", "budget"),
    [
        (None, Preparing(ask=True, budget_ms=150, tell=False, patience=3)),
        (True, OPTED_IN),
        ({}, OPTED_IN),
        ({"enabled": True}, OPTED_IN),
        ({"timeout_ms": 2500}, Preparing(True, 2500, True, None)),
        ({"timeout_ms": 9000}, Preparing(True, 5000, True, None)),
        (False, OFF),
        ({"enabled": False, "timeout_ms": 100}, OFF),
    ],
)
def test_the_barrier(value: Any, budget: Preparing):
    assert preparing_budget(value) == budget


@pytest.mark.parametrize(
    "value", ["yes", {"timeout_ms": -1}, {"timeout_ms": "1"}, {"timeout_ms": True}]
)
def test_a_barrier_that_is_none_is_refused(value: Any):
    with pytest.raises(ConfigRefused, match="preparing"):
        preparing_budget(value)


MAP = {"en": "Hi!", "es-MX": "¡Qué onda!", "es": "¡Hola!", "fr": "", "de": 5}


@pytest.mark.parametrize(
    ("greeting", "language", "agent", "said"),
    [
        (None, "en", None, None),
        ("", "en", None, None),
        ("Hi!", "es", None, "Hi!"),
        ({"text": "Hi!", "addToHistory": False}, "es", None, "Hi!"),
        ({"text": ""}, "es", None, None),
        (MAP, "es", None, "¡Hola!"),
        (MAP, "es_mx", None, "¡Qué onda!"),
        (MAP, "es-AR", None, "¡Qué onda!"),
        (MAP, "EN-us", None, "Hi!"),
        (MAP, "fr", "es", "¡Hola!"),
        (MAP, "fr", "it", "Hi!"),
        (MAP, None, None, "Hi!"),
        (MAP, "", None, "Hi!"),
        ({}, "en", None, None),
        ({"en": 5}, "en", None, None),
        (5, "en", None, None),
    ],
)
def test_the_greeting_for_a_language(
    greeting: Any, language: str | None, agent: str | None, said: str | None
):
    assert greeting_for(greeting, language, agent) == said
