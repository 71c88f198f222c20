"""What ``stt`` says, and what follows from it: turn detection and voice activity are derived.

stt := name | provider "/" model | provider ":" model [":" language] | object
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal

from pinecall_cli.protocol.frames import JsonObject
from pinecall_cli.protocol.refusal import ConfigRefused

NOTHING: Mapping[str, Any] = MappingProxyType({})

FLUX = "deepgram-flux"
FLUX_LANGUAGES = frozenset(
    {
        *("en", "es", "fr", "de", "pt", "it", "nl", "ru", "uk", "tr"),
        *("pl", "sv", "no", "da", "fi", "id", "ms", "ko", "ja", "zh"),
    }
)
"""What Flux hears, as base codes."""

MODELS: Mapping[str, Mapping[str, str]] = {
    "deepgram": {"nova-3": "nova-3"},
    FLUX: {
        "flux-en": "flux-general-en",
        "flux-general-en": "flux-general-en",
        "flux-multi": "flux-general-multi",
        "flux-general-multi": "flux-general-multi",
    },
    "gladia": {"solaria": "solaria-1", "solaria-1": "solaria-1"},
    "transcribe": {},
    "cartesia": {"ink-whisper": "ink-whisper"},
    "elevenlabs": {"scribe": "scribe_v2_realtime", "scribe_v2_realtime": "scribe_v2_realtime"},
    "soniox": {"realtime": "stt-rt-v5", "stt-rt-v5": "stt-rt-v5"},
    "assemblyai": {"universal": "u3-rt-pro", "u3-rt-pro": "u3-rt-pro"},
    "xai": {"grok-stt": "grok-stt"},
}
"""By provider, the model behind each name; the first is the default."""


@dataclass(frozen=True, slots=True)
class Stt:
    """A recogniser as it was asked for, every shortcut resolved."""

    provider: str
    model: str
    """Empty where the provider has one model without a name."""
    language: str | None = None
    """BCP-47; the session's, unless the ``stt`` object named its own."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else the object said, for the provider."""


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """Who decides that a turn has ended, and who hears where speech begins."""

    strategy: Literal["native", "smart_turn"]
    vad: Literal["native", "silero"]


def expand_stt_colon(text: str) -> str | JsonObject:
    """Return ``provider:model:language`` as an object, any other text as it is."""
    if ":" not in text:
        return text
    keys = ("provider", "model", "language")
    parts = zip(keys, text.split(":"), strict=False)
    return {key: part for key, part in parts if part}


def parse_stt(value: str | Mapping[str, Any] | None, language: str | None = None) -> Stt:
    """Return the recogniser that ``value`` names, or the language's default for None.

    Raises:
        ConfigRefused: ``unsupported_stt`` (a house rule), ``unknown_stt_provider``,
            ``unknown_stt_model`` or ``invalid_stt``.
    """
    named = expand_stt_colon(value.strip()) if isinstance(value, str) else value
    if isinstance(named, str):
        provider, _, model = named.partition("/")
        return resolve(provider, model, language, NOTHING)
    if not isinstance(named, Mapping | None):
        raise ConfigRefused("invalid_stt", f"`stt` cannot be `{named!r}`")
    fields = dict(named or {})
    provider, model = text_of(fields.pop("provider", "")), text_of(fields.pop("model", ""))
    own = fields.pop("language", None)
    spoken = text_of(own) if own is not None else language
    if not provider:
        default = default_stt(spoken)
        provider, model = default.provider, model or default.model
    return resolve(provider, model, spoken, fields)


def default_stt(language: str | None) -> Stt:
    """Return the recogniser of a language when none was chosen."""
    base = base_code(language)
    if base is None or base in FLUX_LANGUAGES:
        return Stt(FLUX, flux_model(language), language)
    if base == "ar":
        return Stt("elevenlabs", "scribe_v2_realtime", language)
    if base == "he":
        return Stt("gladia", "solaria-1", language)
    return Stt("deepgram", "nova-3", language)


def turn_detection(stt: Stt) -> TurnDetection:
    """Return what decides about turns with this recogniser; it is never configured."""
    if stt.provider == FLUX:
        return TurnDetection("native", "native")
    if stt.provider == "soniox" and stt.options.get("turn") != "smart_turn":
        return TurnDetection("native", "silero")
    return TurnDetection("smart_turn", "silero")


def base_code(language: str | None) -> str | None:
    """Return ``en`` for ``en-US`` or ``EN_us``; None for no language."""
    if not language:
        return None
    return language.strip().lower().replace("_", "-").partition("-")[0] or None


def flux_model(language: str | None) -> str:
    """Return Flux's model for a language."""
    return "flux-general-en" if base_code(language) == "en" else "flux-general-multi"


def resolve(provider: str, model: str, language: str | None, options: Mapping[str, Any]) -> Stt:
    """Return the recogniser behind a provider's and a model's name."""
    provider, model = provider.strip().lower(), model.strip().lower()
    if provider in {"deepgram", FLUX} and model.startswith("nova-2"):
        raise ConfigRefused(
            "unsupported_stt",
            f"`deepgram/{model}` is not supported for agents",
            "use `deepgram/nova-3` or `deepgram/flux`",
        )
    if provider not in MODELS:
        raise ConfigRefused(
            "unknown_stt_provider",
            f"unknown speech-to-text provider `{provider}`",
            suggestion(provider, MODELS),
        )
    if provider == "deepgram" and (not model or model.startswith("flux")):
        provider = FLUX
    if provider == FLUX and model in {"", "flux"}:
        return Stt(FLUX, flux_model(language), language, options)
    known = MODELS[provider]
    if provider == "deepgram" and model.startswith("nova-3-"):
        return Stt(provider, model, language, options)
    if model and model not in known:
        raise ConfigRefused(
            "unknown_stt_model",
            f"unknown speech-to-text model `{provider}/{model}`",
            suggestion(model, known),
        )
    return Stt(provider, known.get(model, next(iter(known.values()), "")), language, options)


def suggestion(name: str, known: Mapping[str, Any]) -> str:
    """Return the fix for a name that is none of ``known``."""
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known: {', '.join(known)}" if known else "leave the model out"


def text_of(value: Any) -> str:
    """Return a text out of an ``stt`` object."""
    if not isinstance(value, str):
        raise ConfigRefused("invalid_stt", f"`stt` wants texts, not `{value!r}`")
    return value
