"""What an agent is, as a value: frozen, comparable, and ready for the wire.

Keys have the wire's spelling; the few that the wire calls something else keep the name that
agent files use (``prompt_vars``) and are renamed by `payload`. None means "not set".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from pinecall_cli.protocol.config import expand_stt_colon

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it, and a fingerprint of what it does."""

    name: str
    description: str
    parameters: Json
    """JSON Schema of the arguments."""
    body: str = ""
    """Changes whenever the code behind the tool does; never on the wire."""

    def wire(self) -> dict[str, Any]:
        """Return the tool as an OpenAI function definition."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class SkillSpec:
    """A named bundle of instructions, tools and knowledge that a call can load."""

    name: str
    description: str
    tools: tuple[ToolSpec, ...] = ()
    instructions: str | None = None
    knowledge_base: str | None = None
    rag_top_k: int | None = None
    activation: str = "model"
    """``model``, ``manual`` or ``always``."""

    def wire(self) -> dict[str, Any]:
        """Return the skill as ``agent.create`` carries it."""
        skill: dict[str, Any] = {"name": self.name, "description": self.description}
        optional = {
            "instructions": self.instructions,
            "knowledge_base": self.knowledge_base,
            "rag_top_k": self.rag_top_k,
        }
        skill.update({key: value for key, value in optional.items() if value is not None})
        skill["tools"] = [tool.wire() for tool in self.tools]
        skill["activation"] = self.activation
        return skill


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A number the agent answers, with what is different on it."""

    number: str
    """E.164, or a ``sip:`` URI as it was written."""
    overrides: Json = field(default_factory=dict)
    """Wire keys of ``channel.add``: voice, language, stt…, and ``ringing`` when true."""

    def channel(self) -> dict[str, Any]:
        """Return the fields of its ``channel.add``, without ``agent_id``."""
        return {"type": "phone", "ref": self.number, **self.overrides}


@dataclass(frozen=True, slots=True)
class WhatsApp:
    """A WhatsApp number of the agent's."""

    phone_number_id: str
    access_token: str = field(repr=False)
    verify_token: str | None = field(default=None, repr=False)
    app_secret: str | None = field(default=None, repr=False)
    phone: str | None = None
    overrides: Json = field(default_factory=dict)

    def channel(self) -> dict[str, Any]:
        """Return the fields of its ``channel.add``, without ``agent_id``."""
        optional = {
            "verifyToken": self.verify_token,
            "appSecret": self.app_secret,
            "phone": self.phone,
        }
        return {
            "type": "whatsapp",
            "ref": self.phone_number_id,
            "accessToken": self.access_token,
            **{key: value for key, value in optional.items() if value is not None},
            **self.overrides,
        }


@dataclass(frozen=True, slots=True)
class Local:
    """What the embedded server alone reads; the hosted one never sees it."""

    llm: str | None = None
    """``script``, or a model in the ``llm`` grammar (``ollama/…``, ``openai/…``)."""
    rules: tuple[Json, ...] | None = None
    """The script's rules as the wire carries them; each has ``at``, its ``file:line``."""

    def model(self) -> str | dict[str, Any] | None:
        """Return the ``llm`` that takes the place of the agent's own, if there is one."""
        if self.llm == "script" and self.rules is not None:
            return {"provider": "script", "rules": [dict(rule) for rule in self.rules]}
        return self.llm


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """One agent, whole: what goes on the wire and what stays here."""

    name: str
    """The slug it registers under."""
    voice: str | Json | None = None
    language: str | None = None
    flash: bool | None = None
    stt: str | Json | None = None
    interruption: bool | Json | None = None
    llm: str | Json | None = None
    prompt: str | None = None
    prompt_vars: Mapping[str, str] | None = None
    greeting: str | Json | None = None
    greeting_in_chat: bool | None = None
    memory: Json | None = None
    timezone: str | None = None
    preparing: bool | Json | None = None
    raw_prompt: bool | None = None
    tools: tuple[ToolSpec, ...] | None = None
    skills: tuple[SkillSpec, ...] | None = None
    session_limits: Json | None = None
    config: Json | None = None
    knowledge_base: str | tuple[str, ...] | None = None
    mode: Any = None
    media: Json | None = None
    allowed_origins: tuple[str, ...] | None = None
    phone_numbers: tuple[PhoneNumber, ...] = ()
    whatsapp: WhatsApp | None = None
    local: Local = Local()
    secrets: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """Values that came from variables whose names speak of keys; `shown` hides them."""

    def all_tools(self) -> Iterator[ToolSpec]:
        """Yield its tools, then those of its skills."""
        yield from self.tools or ()
        for skill in self.skills or ():
            yield from skill.tools

    def channels(self) -> list[dict[str, Any]]:
        """Return the fields of every ``channel.add`` the agent wants, without ``agent_id``."""
        channels = [number.channel() for number in self.phone_numbers]
        return channels if self.whatsapp is None else [*channels, self.whatsapp.channel()]


WIRE_KEYS: Mapping[str, str] = {
    "voice": "voice",
    "language": "language",
    "flash": "flash",
    "stt": "stt",
    "interruption": "interruption",
    "llm": "llm",
    "prompt": "prompt",
    "prompt_vars": "vars",
    "greeting": "greeting",
    "greeting_in_chat": "greetingInChat",
    "memory": "memory",
    "timezone": "timezone",
    "preparing": "preparing",
    "raw_prompt": "raw_prompt",
    "tools": "tools",
    "skills": "skills",
    "session_limits": "session_limits",
    "config": "config",
    "knowledge_base": "knowledge_base",
    "mode": "mode",
    "media": "media",
}
"""Our keys that travel in the configuration payload, in the wire's order, and their names there."""


def payload(config: AgentConfig, *, embedded: bool) -> dict[str, Any]:
    """Return the configuration payload of ``agent.create``; keys that are not set are left out.

    With ``embedded`` the ``local`` section takes the place of ``llm``. ``allowed_origins`` and
    channels travel apart and are not part of it.
    """
    wire: dict[str, Any] = {}
    for key, name in WIRE_KEYS.items():
        value = getattr(config, key)
        if key == "llm" and embedded and config.local.model() is not None:
            value = config.local.model()
        if value is not None and not (key == "greeting" and kept_here(value)):
            wire[name] = _wire_value(key, value)
    return wire


def kept_here(greeting: Any) -> bool:
    """Return whether a greeting stays out of the history: the wire has no place for that."""
    if not isinstance(greeting, Mapping) or not isinstance(greeting.get("text"), str):
        return False
    return greeting.get("add_to_history", greeting.get("addToHistory", True)) is False


def _wire_value(key: str, value: Any) -> Any:
    match key, value:
        case (("tools" | "skills"), _):
            return [item.wire() for item in value]
        case "stt", str():
            return expand_stt_colon(value)
        case "greeting", {"text": str(text)}:
            return text  # the wire has no place for `addToHistory`
        case _, tuple():
            return list(value)
    return value


def shown(config: AgentConfig, *, embedded: bool) -> dict[str, Any]:
    """Return the agent as it would go on the wire, for people to read: secrets are masked."""
    document: dict[str, Any] = {"agent_id": config.name, **payload(config, embedded=embedded)}
    if config.allowed_origins is not None:
        document["allowed_origins"] = list(config.allowed_origins)
    if channels := config.channels():
        document["channels"] = channels
    masked: dict[str, Any] = _masked(document, config.secrets)
    return masked


MASK = "***"
SECRET_WORDS = (
    *("token", "secret", "password", "passwd", "api_key", "apikey", "api-key", "authorization"),
    *("credential", "accesskey", "privatekey"),
)
NO_SECRETS = frozenset({"max_tokens", "tokens_per_s", "first_token_ms", "tokens"})


def names_a_secret(name: str) -> bool:
    """Tell whether a key or variable of this name holds something nobody should read."""
    low = name.lower()
    if low in NO_SECRETS:
        return False
    return low in {"key", "pass"} or low.endswith("_key") or any(w in low for w in SECRET_WORDS)


def _masked(value: Any, secrets: frozenset[str]) -> Any:
    match value:
        case str():
            for secret in secrets:
                value = value.replace(secret, MASK)
            return value
        case Mapping():
            return {
                key: MASK
                if isinstance(inner, str) and names_a_secret(str(key))
                else _masked(inner, secrets)
                for key, inner in value.items()
            }
        case list() | tuple():
            return [_masked(item, secrets) for item in value]
    return value


FIELDS = tuple(f.name for f in fields(AgentConfig))
"""Every key of an agent, in the order of the class."""
