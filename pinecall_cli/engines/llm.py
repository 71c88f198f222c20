"""Choose the language model of a session from its ``llm`` and the keys that are there.

Nothing is probed: a result must not depend on what happens to listen on a port. A key goes only
to its provider's own address, or to one that came from the same place as the key.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from pinecall_cli.engines.openai import Endpoint, OpenAIModel
from pinecall_cli.engines.script import BuiltInScript, ScriptModel
from pinecall_cli.engines.types import Model, ModelRequest, ToolCall
from pinecall_cli.errors import EngineError, NotAuthorisedError, PinecallError
from pinecall_cli.protocol.config import Llm, parse_llm

OLLAMA_PORT = 11434


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a provider's OpenAI-compatible endpoint is, and the variables its key may be in."""

    base_url: str
    keys: tuple[str, ...]
    local: bool = False
    """A program on this machine, which asks for no key."""
    start: str | None = None


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("https://api.openai.com/v1", ("OPENAI_API_KEY",)),
    "anthropic": Provider("https://api.anthropic.com/v1", ("ANTHROPIC_API_KEY",)),
    "google": Provider(
        "https://generativelanguage.googleapis.com/v1beta/openai",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    ),
    "groq": Provider("https://api.groq.com/openai/v1", ("GROQ_API_KEY",)),
    "cerebras": Provider("https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",)),
    "deepseek": Provider("https://api.deepseek.com/v1", ("DEEPSEEK_API_KEY",)),
    "mistral": Provider("https://api.mistral.ai/v1", ("MISTRAL_API_KEY",)),
    "openrouter": Provider("https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",)),
    "xai": Provider("https://api.x.ai/v1", ("XAI_API_KEY",)),
    "ollama": Provider(
        f"http://127.0.0.1:{OLLAMA_PORT}/v1", (), local=True, start="start it with `ollama serve`"
    ),
    "llamacpp": Provider(
        "http://127.0.0.1:8080/v1", (), local=True, start="start it with `llama-server -m FILE`"
    ),
    "lmstudio": Provider(
        "http://127.0.0.1:1234/v1", (), local=True, start="start it with `lms server start`"
    ),
    "vllm": Provider(
        "http://127.0.0.1:8000/v1",
        ("VLLM_API_KEY",),
        local=True,
        start="start it with `vllm serve MODEL`",
    ),
}


def choose_model(
    llm_value: Any,
    *,
    environment: Mapping[str, str],
    server_script: Sequence[Any] | None = None,
    notice: Callable[[str], None],
    from_project: Collection[str] = (),
) -> Model | None:
    """Return the model that a session's ``llm`` means; None where the application answers.

    It never fails: what cannot be used becomes an `UnusableModel`, which says why when it is
    asked, so a call goes on and shows the error.

    Args:
        llm_value: ``llm`` as on the wire: a text, an object or None.
        environment: Where keys and addresses are looked up.
        server_script: The rules of the server's ``--script FILE``, for ``llm: script``.
        notice: Told one sentence when the built-in script stands in for a model. The same
            sentence for every session, so it is the caller who says it once.
        from_project: The names in ``environment`` that a project's ``.env`` put there.
    """
    try:
        llm = parse_llm(llm_value)
        if llm is None:
            return None
        if llm.provider == "script":
            rules = llm.options.get("rules", server_script)
            return BuiltInScript() if rules is None else ScriptModel(rules)
        lacking = not_here(llm, environment)
        if lacking is not None:
            notice(f"llm {llm} → built-in script: {lacking}")
            return BuiltInScript()
        return OpenAIModel(endpoint(llm, environment, frozenset(from_project)), llm.model)
    except PinecallError as error:
        return UnusableModel(error)


class UnusableModel:
    """A `Model` that cannot be asked; ``error`` says why, with its exit code."""

    name = "unusable"

    def __init__(self, error: PinecallError) -> None:
        self.error = error

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ToolCall]:
        """Yield nothing.

        Raises:
            EngineError: Always.
        """
        raise EngineError(self.error.message, fix=self.error.fix, code=self.error.code)
        yield ""  # never reached; it makes this an iterator, as a stream is


def not_here(llm: Llm, environment: Mapping[str, str]) -> str | None:
    """Return why a model cannot be asked for; None if there is an address and its key."""
    if "base_url" in llm.options:
        return None
    provider = PROVIDERS.get(llm.provider)
    if provider is None or llm.realtime:
        return "this version cannot reach it"
    names = key_names(llm, provider)
    if provider.local or environment.get(base_url_name(llm)) or key_of(names, environment):
        return None
    return f"{' or '.join(names)} is not set"


def endpoint(llm: Llm, environment: Mapping[str, str], from_project: frozenset[str]) -> Endpoint:
    """Return where a model is and the key to send there.

    Raises:
        NotAuthorisedError: If the address is the project's and the key is not.
        EngineError: If an address is none.
    """
    provider = PROVIDERS.get(llm.provider)
    given = llm.options.get("base_url")
    variable = base_url_name(llm)
    if given is not None:
        url, place, ours = str(given), "the agent's `llm.base_url`", False
    elif environment.get(variable):
        url, place, ours = environment[variable], f"`{variable}`", variable not in from_project
    elif llm.provider == "ollama" and environment.get("OLLAMA_HOST"):
        url, place, ours = ollama_url(environment["OLLAMA_HOST"]), "`OLLAMA_HOST`", True
    else:
        assert provider is not None  # not_here let it pass
        url, place, ours = provider.base_url, "the provider", True
    key, key_name = find_key(llm, provider, environment, custom=given is not None)
    if key is not None and not ours and key_name is not None and key_name not in from_project:
        raise NotAuthorisedError(
            f"the key in `{key_name}` is not sent to an address from {place}",
            fix=f"set `{variable}` where `{key_name}` is set, or both in the project's .env",
        )
    if not is_address(url):
        raise EngineError(f"{place} is no address: `{url[:80]}`", fix="write http://… or https://…")
    standard = provider is not None and url == provider.base_url
    return Endpoint(
        provider=llm.provider,
        base_url=url,
        key=key,
        key_name=key_name,
        start=provider.start if provider is not None and standard else None,
        limit_name="max_completion_tokens"
        if standard and llm.provider == "openai"
        else "max_tokens",
    )


def is_address(url: str) -> bool:
    """Return whether a text is an address over HTTP, with a host and a port that can be."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def find_key(
    llm: Llm, provider: Provider | None, environment: Mapping[str, str], *, custom: bool
) -> tuple[str | None, str | None]:
    """Return the key to send and the variable it is in; a key in ``llm`` itself has none.

    An address of the agent's own is sent no key but the one that ``llm`` names.
    """
    stated = llm.options.get("api_key")
    if isinstance(stated, str) and stated.strip():
        return usable_key(stated, "llm.api_key"), None
    if custom and "api_key_env" not in llm.options:
        return None, None
    names = key_names(llm, provider)
    name = key_of(names, environment)
    if name is None:
        if "api_key_env" in llm.options:
            raise EngineError(f"`{names[0]}` is not set", fix="it is the key of `llm.api_key_env`")
        return None, None
    return usable_key(environment[name], name), name


def key_names(llm: Llm, provider: Provider | None) -> tuple[str, ...]:
    """Return the variables a model's key may be in."""
    named = llm.options.get("api_key_env")
    if isinstance(named, str):
        return (named,)
    return () if provider is None else provider.keys


def key_of(names: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Return the first variable of ``names`` that holds something."""
    return next((name for name in names if environment.get(name, "").strip()), None)


def usable_key(key: str, name: str) -> str:
    """Return a key without the spaces around it.

    Raises:
        EngineError: If it has characters that no header may carry.
    """
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise EngineError(f"`{name}` has characters that no key has", fix="copy the key again")
    return key


def base_url_name(llm: Llm) -> str:
    """Return the variable that moves a provider elsewhere: ``OPENAI_BASE_URL`` and its like."""
    return f"{llm.provider.upper().replace('-', '_').replace('.', '_')}_BASE_URL"


def ollama_url(host: str) -> str:
    """Return the endpoint that ``OLLAMA_HOST`` means: ``host``, ``host:port`` or a URL.

    As Ollama itself reads it: without a scheme the port is 11434. An address to listen on
    everywhere is reached on this machine.
    """
    text = host.strip().strip("\"'")
    scheme, separator, rest = text.rpartition("://")
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError:
        return text  # no address, which whoever connects there is told
    try:
        port = parts.port
    except ValueError:
        port = None
    name = parts.hostname or "127.0.0.1"
    if name in ("0.0.0.0", "::"):
        name = "127.0.0.1"
    shown = f"[{name}]" if ":" in name else name
    if port is None and not separator:
        port = OLLAMA_PORT
    address = shown if port is None else f"{shown}:{port}"
    return f"{scheme or 'http'}://{address}{parts.path.rstrip('/')}/v1"


@runtime_checkable
class Closable(Protocol):
    """A model that keeps a connection open between requests."""

    async def aclose(self) -> None:
        """Close it."""
        ...


async def close(model: Model) -> None:
    """Close what a model keeps open between requests; the next request opens it again."""
    if isinstance(model, Closable):
        await model.aclose()


@asynccontextmanager
async def closing(
    pieces: AsyncIterator[str | ToolCall],
) -> AsyncIterator[AsyncIterator[str | ToolCall]]:
    """Close a model's stream on leaving, whichever way, and not when it is collected."""
    try:
        yield pieces
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
