"""The settings with defaults of their own: interruption, limits, the barrier, the greeting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pinecall_cli.protocol.refusal import ConfigRefused
from pinecall_cli.protocol.stt import base_code

QUIETEST_DBFS, LOUDEST_DBFS = -110.0, -10.0
"""What volume 0 and 1 stand for: the scale of EBU R 128 that pipelines for voice agents use."""
CONTINUATION_S = 2.0
"""A reply cut off before it played this long leaves the conversation: the turn goes on."""


@dataclass(frozen=True, slots=True)
class Interruption:
    """How a caller may cut in (barge-in)."""

    enabled: bool = True
    min_duration_ms: float = 300
    """Continuous speech that counts."""
    confidence: float = 0.7
    """The detector's probability of voice that counts, 0 to 1."""
    min_volume: float = 0.35
    """Volume that counts, 0 to 1: see `volume_dbfs`."""
    min_words: int = 2
    """Transcribed words that count, however short the speech."""
    backchannel_filter: bool = True
    """``ok``, ``sí``, ``uh-huh`` alone do not interrupt."""
    energy_threshold_db: float | None = None
    """Of the older rule, which `min_volume` superseded: dBFS, and heeded where it is given."""

    @property
    def floor_dbfs(self) -> float:
        """Return the level that speech must reach to count as cutting in."""
        volume = volume_dbfs(self.min_volume)
        older = self.energy_threshold_db
        return volume if older is None else max(volume, older)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """When a session ends by itself. Seconds."""

    max_duration_seconds: float = 600
    """0: no limit."""
    idle_timeout_seconds: float = 60
    """Silence of the caller; 0: no limit."""
    idle_warning_seconds: float = 15
    """How long before that to warn; 0: no warning."""
    idle_grace_seconds: float = 10
    """From the time limit to the end; 0: at once."""


@dataclass(frozen=True, slots=True)
class Preparing:
    """How long a generation waits for the application (``llm.before`` to ``llm.ready``)."""

    ask: bool
    """Whether ``llm.before`` is sent at all."""
    budget_ms: float
    tell: bool
    """Whether a budget that ran out is told, with ``llm.preparing_timeout``."""
    patience: int | None
    """Unanswered turns in a row after which a call stops waiting; None: never."""


def interruption(value: bool | Mapping[str, Any] | None = None) -> Interruption:
    """Return how a caller may cut in; ``false`` switches it off, an object overrides.

    Raises:
        ConfigRefused: If an override is of the wrong type or below zero.
    """
    if isinstance(value, bool):
        return Interruption(enabled=value)
    return Interruption(**overrides(Interruption(), value, "interruption", negative="db"))


def volume_dbfs(volume: float) -> float:
    """Return the level of a volume from 0 to 1; 0 is always reached, 0.35 is −75 dBFS."""
    if volume <= 0:
        return -math.inf
    return QUIETEST_DBFS + min(volume, 1.0) * (LOUDEST_DBFS - QUIETEST_DBFS)


def session_limits(value: Mapping[str, Any] | None = None) -> SessionLimits:
    """Return when a session ends.

    Raises:
        ConfigRefused: If a limit is no number or below zero.
    """
    return SessionLimits(**overrides(SessionLimits(), value, "session_limits"))


def preparing_budget(value: bool | Mapping[str, Any] | None = None) -> Preparing:
    """Return how long generations wait for the application.

    Raises:
        ConfigRefused: If ``timeout_ms`` is no number or below zero.
    """
    if value is None:
        return Preparing(ask=True, budget_ms=150, tell=False, patience=3)
    asked = {"enabled": value} if isinstance(value, bool) else value
    if not isinstance(asked, Mapping):
        raise ConfigRefused("invalid_preparing", f"`preparing` cannot be `{value!r}`")
    if asked.get("enabled", True) is False:
        return Preparing(ask=False, budget_ms=0, tell=False, patience=None)
    budget = asked.get("timeout_ms", 1500)
    if isinstance(budget, bool) or not isinstance(budget, int | float) or budget < 0:
        raise ConfigRefused("invalid_preparing", f"`preparing.timeout_ms` cannot be `{budget!r}`")
    return Preparing(ask=True, budget_ms=min(budget, 5000), tell=True, patience=None)


def greeting_for(
    greeting: str | Mapping[str, Any] | None,
    language: str | None,
    agent_language: str | None = None,
) -> str | None:
    """Return what to greet with in a language, or None for no greeting.

    Of a text per language: the session's language, its base code, the agent's language, the first.
    """
    if greeting is None or isinstance(greeting, str):
        return greeting or None
    if not isinstance(greeting, Mapping):
        return None
    if isinstance(greeting.get("text"), str):
        return greeting["text"] or None
    texts = {code: text for code, text in greeting.items() if isinstance(text, str) and text}
    for wanted in (language, agent_language):
        found = in_language(texts, wanted)
        if found is not None:
            return found
    return next(iter(texts.values()), None)


def in_language(texts: Mapping[str, str], language: str | None) -> str | None:
    """Return the text for a language: its exact code before its base code."""
    base = base_code(language)
    if language is None or base is None:
        return None
    exact = language.strip().lower().replace("_", "-")
    by_code = {code.lower().replace("_", "-"): text for code, text in texts.items()}
    if exact in by_code:
        return by_code[exact]
    return next((text for code, text in by_code.items() if base_code(code) == base), None)


def overrides(
    defaults: Interruption | SessionLimits,
    value: Mapping[str, Any] | None,
    name: str,
    negative: str = "",
) -> dict[str, Any]:
    """Return the known keys of an object, checked against the defaults' types.

    A key that no default has is left out: the wire may know more than we do. Only keys that end
    in ``negative`` may lie below zero.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigRefused(f"invalid_{name}", f"`{name}` cannot be `{value!r}`")
    chosen: dict[str, Any] = {}
    for key in (field.name for field in fields(defaults)):
        if value.get(key) is None:
            continue
        given, flag = value[key], isinstance(getattr(defaults, key), bool)
        fits = isinstance(given, bool) if flag else is_number(given)
        below = fits and not flag and given < 0 and not (negative and key.endswith(negative))
        if not fits or below:
            raise ConfigRefused(f"invalid_{name}", f"`{name}.{key}` cannot be `{given!r}`")
        chosen[key] = given
    return chosen


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
