"""The numbers of turn-taking, and what an agent's configuration makes of them (config.md §4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pinecall_cli.protocol.behaviour import Interruption
from pinecall_cli.protocol.config import interruption
from pinecall_cli.server.voice.hearing import Clear

BACK_CHANNELS = frozenset(
    {"ok", "okay", "yeah", "yep", "yes", "right", "sure", "oh", "ah", "aha"}
    | {"mm", "mhm", "mhmm", "hm", "hmm", "uh", "huh", "uh-huh", "mm-hmm"}
    | {"sí", "si", "vale", "claro", "ajá", "sim", "oui", "ouais", "ja", "genau", "sì", "certo"}
)
"""Of the languages that callers speak most; recognisers write "sí" with and without its accent."""


@dataclass(frozen=True, slots=True)
class TurnRules:
    """The numbers of turn-taking, in ms and probabilities (config.md §4)."""

    judged: bool = True
    """Whether an end-of-turn judge is there; without one, silence alone decides."""
    ask_after_ms: tuple[int, ...] = (320, 480, 640)
    """Silences after which the judge is asked, until it is sure."""
    least_ms: int = 560
    """Silence before which no turn ends, however sure the judge is: it goes by intonation, and at
    a comma is as sure (0.9) as at the end. Of 30 recordings, 9 with a pause inside, 5 were split
    with 0 here, 4 with 400, 1 with 480, none with 560 (`tests/bench/rules.py`)."""
    limit_ms: int = 800
    """Silence that ends a turn whatever the judge says. One turn in six, whole, never satisfies
    it (0.01 for some synthetic voices), and 95 in 100 replies are to begin within 1 s."""
    silence_ms: int = 500
    """Silence that ends a turn when there is no judge."""
    final_after_ms: int = 160
    """Silence after which the words are decoded, while the decision is still open."""
    hangover_ms: int = 200
    """Silence after which ``speech.ended`` is sent."""
    partial_every_ms: int = 320
    """And after each the recogniser is left alone for as long as that one took."""
    end_threshold: float = 0.7
    eager_threshold: float = 0.5
    min_speech_ms: int = 200
    """Voice shorter than this is a click or a cough, not a turn."""
    resume_ms: int = 200
    """Voice that takes back a turn whose reply is still pending."""
    barge_in_ms: int | None = 300
    """Voice that interrupts the agent; None: the agent may not be interrupted."""
    min_words: int = 2
    """Words that interrupt it, however short the voice was."""
    backchannel_filter: bool = True
    """Whether ``uh-huh`` and its like do not, however many they are."""
    continuation_ms: int = 2000
    """A reply heard for less than this was an answer to half a turn."""
    pending_ms: int = 8000
    """How long a reply that nobody promised may be awaited (client-side model)."""


def is_back_channel(text: str) -> bool:
    """Return whether ``text`` only says "I am listening"."""
    words = [word.strip(".,!?¡¿…-").lower() for word in text.split()]
    return 0 < len(words) <= 3 and all(word in BACK_CHANNELS for word in words)


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
