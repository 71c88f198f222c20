"""The voices that speak on this machine, as a catalogue lists them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True, slots=True)
class OfflineVoice:
    """A voice that needs no network."""

    provider: str
    alias: str
    name: str
    """With what it is like behind a dash."""
    gender: str
    language: str
    language_name: str
    package: str
    """What must be installed."""


HEART = OfflineVoice(
    "hibari", "heart", "Heart - Warm, offline", "female", "en", "English", "hibari"
)


def installed_voices() -> tuple[OfflineVoice, ...]:
    """Return the voices whose package is installed."""
    return tuple(voice for voice in (HEART,) if find_spec(voice.package) is not None)
