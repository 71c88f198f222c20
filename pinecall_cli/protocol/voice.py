"""What ``voice`` says.

voice := provider "/" alias | provider ":" raw_voice_id | alias | object
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pinecall_cli.protocol.refusal import ConfigRefused
from pinecall_cli.protocol.stt import base_code, suggestion

VOICE_PROVIDERS = {
    "elevenlabs": "",
    "cartesia": "sonic-3.5",
    "polly": "",
    "rime": "mistv2",
    "soniox": "tts-rt-v1",
    "xai": "",
    "hibari": "",
}
"""Default models; ``hibari`` is the offline voice."""

FLASH = "eleven_flash_v2_5"
MULTILINGUAL = "eleven_multilingual_v2"
SEPARATOR = re.compile("[/:]")


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice as it was asked for, every shortcut resolved."""

    provider: str
    name: str
    """Alias of the catalogue, or the provider's own id; empty for its default voice."""
    raw: bool
    """Whether ``name`` is the provider's own id."""
    model: str
    """Empty where the provider has no choice of models."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else the object said, for the provider."""

    def __str__(self) -> str:
        return f"{self.provider}{':' if self.raw else '/'}{self.name}"


def parse_voice(
    value: str | Mapping[str, Any], language: str | None = None, *, flash: bool = False
) -> Voice:
    """Return the voice that ``value`` names.

    Raises:
        ConfigRefused: ``unknown_voice_provider`` or ``invalid_voice``.
    """
    if isinstance(value, str):
        provider, raw, name = split_voice(value.strip())
        return resolve(provider, name, raw, None, {}, language, flash=flash)
    if not isinstance(value, Mapping):
        raise ConfigRefused("invalid_voice", f"`voice` cannot be `{value!r}`")
    fields = dict(value)
    provider = fields.pop("provider", "elevenlabs")
    name = fields.pop("voice_id", "")
    model = fields.pop("model", None)
    spoken = fields.get("language", language)
    if not all(isinstance(text, str | None) for text in (provider, name, model, spoken)):
        raise ConfigRefused("invalid_voice", f"`voice` wants texts, not `{dict(value)!r}`")
    return resolve(provider, name or "", True, model, fields, spoken, flash=flash)


def split_voice(text: str) -> tuple[str, bool, str]:
    """Return provider, whether the name is a raw id, and the name."""
    found = SEPARATOR.search(text)
    if found is None:
        return "elevenlabs", False, text.lower()
    provider, name = text[: found.start()], text[found.end() :]
    raw = found.group() == ":"
    return provider, raw, name if raw else name.lower()


def resolve(
    provider: str | None,
    name: str,
    raw: bool,
    model: str | None,
    options: Mapping[str, Any],
    language: str | None,
    *,
    flash: bool,
) -> Voice:
    """Return a voice with its provider checked and its model chosen."""
    known = (provider or "elevenlabs").strip().lower()
    if known not in VOICE_PROVIDERS:
        raise ConfigRefused(
            "unknown_voice_provider",
            f"unknown voice provider `{known}`",
            suggestion(known, VOICE_PROVIDERS),
        )
    if not model:
        model = VOICE_PROVIDERS[known]
        if known == "elevenlabs":
            model = elevenlabs_model(language, flash=flash)
    return Voice(known, name, raw, model, options)


def elevenlabs_model(language: str | None, *, flash: bool) -> str:
    """Return the ElevenLabs model for a language, when none was named."""
    return FLASH if flash or base_code(language) in {None, "en"} else MULTILINGUAL
