"""How the caller of an agent may cut in: from its configuration to the rules (config.md §4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinecall_cli.protocol.behaviour import Interruption
from pinecall_cli.protocol.config import interruption
from pinecall_cli.server.voice.hearing import Clear
from pinecall_cli.server.voice.turn import TurnRules


def barge_in_of(config: Mapping[str, Any]) -> Interruption:
    """Return what an agent's configuration says of cutting in, or its nested ``config``.

    Raises:
        ConfigRefused: If it cannot be what it says.
    """
    nested = config.get("config")
    value = config.get("interruption")
    if value is None and isinstance(nested, Mapping):
        value = nested.get("interruption")
    return interruption(value)


def turn_rules(barge_in: Interruption, *, judged: bool) -> TurnRules:
    """Return the rules of turn-taking; ``judged`` says whether there is an end-of-turn judge."""
    return TurnRules(
        judged=judged,
        barge_in_ms=int(barge_in.min_duration_ms) if barge_in.enabled else None,
        min_words=barge_in.min_words,
        backchannel_filter=barge_in.backchannel_filter,
    )


def clear_voice(barge_in: Interruption) -> Clear:
    """Return which frames of a voice count towards `Interruption.min_duration_ms`."""
    return Clear(barge_in.confidence, barge_in.floor_dbfs)
