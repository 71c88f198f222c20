"""What ``llm`` says.

    llm := provider "/" model | provider ":" model | model | object

Absent, or ``enabled: false``: the application answers by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pinecall_cli.protocol.refusal import ConfigRefused
from pinecall_cli.protocol.stt import suggestion

LLM_ALIASES = {"claude": "anthropic", "gemini": "google", "grok": "xai", "llama.cpp": "llamacpp"}
LOCAL_PROVIDERS = frozenset({"script", "ollama", "llamacpp", "lmstudio", "vllm"})
"""Played on this machine; the hosted server knows none of them."""
LLM_PROVIDERS = {
    name: name
    for name in (
        *("openai", "anthropic", "google", "mistral", "xai", "groq", "cerebras", "deepseek"),
        *("openrouter", "pinecall", *sorted(LOCAL_PROVIDERS)),
    )
}
SEPARATOR = re.compile("[/:]")


@dataclass(frozen=True, slots=True)
class Llm:
    """A model as it was asked for, every shortcut resolved."""

    provider: str
    model: str
    """As the provider calls it; empty for a script."""
    enabled: bool = True
    """False: the application answers."""
    temperature: float | None = None
    """0 to 2."""
    max_tokens: int | None = None
    prompt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else the object said: ``rules`` of a script, ``base_url`` of an endpoint."""

    @property
    def realtime(self) -> bool:
        """Whether it is a speech-to-speech model, which needs neither stt nor voice."""
        return "realtime" in self.model

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}" if self.model else self.provider


def parse_llm(value: str | Mapping[str, Any] | None) -> Llm | None:
    """Return the model that ``value`` names; None when the application is to answer.

    Raises:
        ConfigRefused: ``unknown_llm_provider`` or ``invalid_llm``.
    """
    if value is None:
        return None
    if isinstance(value, str):
        provider, model = split_llm(value)
        return Llm(provider, model)
    if not isinstance(value, Mapping):
        raise ConfigRefused("invalid_llm", f"`llm` cannot be `{value!r}`")
    fields = dict(value)
    if fields.pop("enabled", True) is False:
        return None
    named = fields.pop("llm", None)
    provider, model = fields.pop("provider", None), fields.pop("model", None)
    if isinstance(named, str) and provider is None:
        provider, model = split_llm(named)
    elif isinstance(provider, str):
        provider = known_provider(provider, custom="base_url" in fields)
    elif isinstance(model, str) and provider is None:
        provider, model = split_llm(model)
    if not isinstance(provider, str) or not isinstance(model, str | None):
        raise ConfigRefused(
            "invalid_llm",
            f"`llm` names no model: `{dict(value)!r}`",
            "write `provider/model`, or an object with `provider` and `model`",
        )
    if not model and provider != "script":
        raise no_model(provider)
    return Llm(
        provider,
        model or "",
        temperature=number(fields.pop("temperature", None), "temperature", 0, 2),
        max_tokens=whole(fields.pop("max_tokens", None), "max_tokens"),
        prompt=text(fields.pop("prompt", None), "prompt"),
        options=fields,
    )


def split_llm(value: str) -> tuple[str, str]:
    """Return provider and model of a shortcut; the first separator counts, ``/`` or ``:``."""
    named = value.strip()
    found = SEPARATOR.search(named)
    if found is None:
        if not named:
            raise ConfigRefused("invalid_llm", "`llm` is empty", "write `provider/model`")
        if named.lower() == "script":
            return "script", ""
        if named.lower() in LLM_PROVIDERS:
            raise no_model(named.lower())
        return "openai", named
    provider, model = known_provider(named[: found.start()]), named[found.end() :]
    if not model and provider != "script":
        raise no_model(provider)
    return provider, model


def known_provider(name: str, *, custom: bool = False) -> str:
    """Return a provider by its name or alias; a ``custom`` endpoint may have any name."""
    lowered = name.strip().lower()
    provider = LLM_ALIASES.get(lowered, lowered)
    if provider not in LLM_PROVIDERS and not custom:
        raise ConfigRefused(
            "unknown_llm_provider",
            f"unknown model provider `{provider}`",
            suggestion(provider, LLM_PROVIDERS),
        )
    return provider


def no_model(provider: str) -> ConfigRefused:
    """Return the refusal of a provider without a model."""
    return ConfigRefused(
        "invalid_llm",
        f"`{provider}` is a provider, not a model",
        f"write `{provider}/<model>`",
    )


def number(value: Any, name: str, low: float, high: float) -> float | None:
    """Return an optional number between two bounds."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigRefused("invalid_llm", f"`llm.{name}` must be {low} to {high}, not `{value!r}`")
    return value


def whole(value: Any, name: str) -> int | None:
    """Return an optional positive whole number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigRefused("invalid_llm", f"`llm.{name}` must be 1 or more, not `{value!r}`")
    return value


def text(value: Any, name: str) -> str | None:
    """Return an optional text."""
    if value is not None and not isinstance(value, str):
        raise ConfigRefused("invalid_llm", f"`llm.{name}` must be a text, not `{value!r}`")
    return value
