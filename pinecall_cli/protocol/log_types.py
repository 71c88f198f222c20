"""The types of the call log's entries: names alone, so that a key press can offer them."""

from __future__ import annotations

LOG_TYPES = (
    "call.ringing",
    "call.started",
    "call.ended",
    "call.summary",
    "user.speaking",
    "user.message",
    "bot.speaking",
    "bot.word",
    "bot.finished",
    "bot.interrupted",
    "bot.corrected",
    "turn.start",
    "turn.end",
    "tool.call",
    "tool.result",
    "docs.sources",
    "skill.loaded",
    "skill.unloaded",
    "audio.metrics",
    "handoff.requested",
    "handoff.active",
    "handoff.released",
    "supervisor.said",
    "supervisor.whispered",
    "log.gap",
    "log.caught_up",
)
"""The types there are; a reader ignores any other."""

EPHEMERAL_TYPES = frozenset({"user.speaking", "bot.word", "audio.metrics"})
"""Sent to those who watch, never stored."""

MARKER_TYPES = frozenset({"log.gap", "log.caught_up"})
"""About the log itself: their ``seq`` repeats the last one and never moves a cursor."""
