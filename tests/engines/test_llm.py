from __future__ import annotations

from typing import Any

import pytest

from pinecall_cli.engines.llm import UnusableModel, choose_model, close, ollama_url
from pinecall_cli.engines.openai import Endpoint, OpenAIModel
from pinecall_cli.engines.script import BuiltInScript, ScriptModel
from pinecall_cli.engines.types import Model, ModelRequest
from pinecall_cli.errors import EngineError, NotAuthorisedError, PinecallError

RULES = [{"say": "Hi"}]


class Choice:
    """What was chosen, and what was said about it."""

    def __init__(self, llm: Any, environment: dict[str, str] | None = None, **options: Any) -> None:
        self.notices: list[str] = []
        self.model: Model | None = choose_model(
            llm, environment=environment or {}, notice=self.notices.append, **options
        )

    @property
    def endpoint(self) -> Endpoint:
        assert isinstance(self.model, OpenAIModel)
        assert self.notices == []
        return self.model._endpoint

    @property
    def error(self) -> PinecallError:
        assert isinstance(self.model, UnusableModel)
        return self.model.error


@pytest.mark.parametrize("llm", [None, {"provider": "openai", "model": "m", "enabled": False}])
def test_without_an_llm_the_application_answers(llm: Any) -> None:
    choice = Choice(llm, {"OPENAI_API_KEY": "k"}, server_script=RULES)
    assert choice.model is None
    assert choice.notices == []


def test_a_script_is_its_own_rules_or_the_servers_or_the_built_in_one() -> None:
    carried = Choice({"provider": "script", "rules": RULES}, server_script=[])
    assert isinstance(carried.model, ScriptModel)
    assert len(carried.model.rules) == 1
    servers = Choice("script", server_script=RULES * 2)
    assert isinstance(servers.model, ScriptModel)
    assert len(servers.model.rules) == 2
    assert isinstance(Choice("script").model, BuiltInScript)
    assert carried.notices == servers.notices == []


@pytest.mark.parametrize(
    ("llm", "reason"),
    [
        ("openai/gpt-5", "OPENAI_API_KEY is not set"),
        ("gpt-5", "OPENAI_API_KEY is not set"),
        ("anthropic/claude", "ANTHROPIC_API_KEY is not set"),
        ("google/gemini", "GEMINI_API_KEY or GOOGLE_API_KEY is not set"),
        ({"provider": "groq", "model": "m", "api_key_env": "MY_KEY"}, "MY_KEY is not set"),
        ("pinecall/gpt-realtime", "cannot reach it"),
    ],
)
def test_the_built_in_script_stands_in_for_a_model_without_its_key(llm: Any, reason: str) -> None:
    choice = Choice(llm, {"OPENAI_API_KEY": " "})
    assert isinstance(choice.model, BuiltInScript)
    (notice,) = choice.notices
    assert notice.startswith("llm ")
    assert "→ built-in script" in notice
    assert reason in notice


@pytest.mark.parametrize(
    ("llm", "variable", "url"),
    [
        ("openai/gpt-5", "OPENAI_API_KEY", "https://api.openai.com/v1"),
        ("groq/m", "GROQ_API_KEY", "https://api.groq.com/openai/v1"),
        ("deepseek/m", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1"),
        ("mistral/m", "MISTRAL_API_KEY", "https://api.mistral.ai/v1"),
        ("openrouter/qwen/qwen3-8b", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
        ("cerebras/m", "CEREBRAS_API_KEY", "https://api.cerebras.ai/v1"),
        ("grok/m", "XAI_API_KEY", "https://api.x.ai/v1"),
        ("claude/m", "ANTHROPIC_API_KEY", "https://api.anthropic.com/v1"),
        ("gemini/m", "GOOGLE_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ],
)
def test_a_provider_is_reached_at_its_address_with_its_key(
    llm: str, variable: str, url: str
) -> None:
    endpoint = Choice(llm, {variable: " k \n"}).endpoint
    assert (endpoint.base_url, endpoint.key, endpoint.key_name) == (url, "k", variable)


def test_the_model_of_a_router_keeps_its_own_slash() -> None:
    choice = Choice("openrouter/qwen/qwen3-8b", {"OPENROUTER_API_KEY": "k"})
    assert choice.model is not None
    assert choice.model.name == "openrouter/qwen/qwen3-8b"


def test_only_openai_itself_gets_the_newer_name_of_the_limit() -> None:
    key = {"OPENAI_API_KEY": "k"}
    assert Choice("openai/m", key).endpoint.limit_name == "max_completion_tokens"
    moved = {**key, "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    assert Choice("openai/m", moved).endpoint.limit_name == "max_tokens"


def test_local_servers_need_no_key() -> None:
    endpoint = Choice("ollama/llama3").endpoint
    assert (endpoint.base_url, endpoint.key) == ("http://127.0.0.1:11434/v1", None)
    assert endpoint.start == "start it with `ollama serve`"
    assert Choice("vllm/m", {"VLLM_API_KEY": "k"}).endpoint.key == "k"
    assert Choice("llamacpp/m").endpoint.base_url == "http://127.0.0.1:8080/v1"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1:9999", "http://127.0.0.1:9999/v1"),
        ("box.local", "http://box.local:11434/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("[::]:5", "http://127.0.0.1:5/v1"),
        ("[::1]", "http://[::1]:11434/v1"),
        ("https://box.local", "https://box.local/v1"),
        ("http://box.local:8/ollama/", "http://box.local:8/ollama/v1"),
        (":99", "http://127.0.0.1:99/v1"),
        ('"box"', "http://box:11434/v1"),
        ("box:port", "http://box:11434/v1"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert ollama_url(host) == url
    assert Choice("ollama/m", {"OLLAMA_HOST": host}).endpoint.base_url == url


# -- whose address gets whose key -------------------------------------------------------------


def test_an_address_and_a_key_from_the_environment_belong_together() -> None:
    environment = {"OPENAI_BASE_URL": "https://proxy.example/v1", "OPENAI_API_KEY": "k"}
    endpoint = Choice("openai/m", environment).endpoint
    assert (endpoint.base_url, endpoint.key) == ("https://proxy.example/v1", "k")


def test_an_address_from_the_project_never_gets_a_key_from_the_environment() -> None:
    environment = {"OPENAI_BASE_URL": "https://evil.example/v1", "OPENAI_API_KEY": "k"}
    error = Choice("openai/m", environment, from_project={"OPENAI_BASE_URL"}).error
    assert isinstance(error, NotAuthorisedError)
    assert error.fix
    own = {"provider": "openai", "model": "m", "base_url": "https://evil.example/v1"}
    named = {**own, "api_key_env": "OPENAI_API_KEY"}
    assert isinstance(Choice(named, environment).error, NotAuthorisedError)
    assert Choice(own, environment).endpoint.key is None


def test_an_address_from_the_project_gets_the_projects_key() -> None:
    environment = {"OPENAI_BASE_URL": "https://llm.example/v1", "OPENAI_API_KEY": "k", "MY": "m"}
    both = {"OPENAI_BASE_URL", "OPENAI_API_KEY", "MY"}
    assert Choice("openai/m", environment, from_project=both).endpoint.key == "k"
    llm = {"provider": "acme", "model": "m", "base_url": "https://llm.example/v1"}
    assert Choice({**llm, "api_key_env": "MY"}, environment, from_project=both).endpoint.key == "m"
    assert Choice({**llm, "api_key": "inline"}, environment).endpoint.key == "inline"


def test_an_endpoint_of_ones_own_may_need_no_key() -> None:
    llm = {"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:8080/v1"}
    assert Choice(llm).endpoint.key is None
    assert Choice("openai/m", {"OPENAI_BASE_URL": "http://127.0.0.1:8080/v1"}).endpoint.key is None


# -- what cannot be used --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("llm", "environment", "problem"),
    [
        ("nobody/m", {}, "unknown model provider"),
        ({"provider": "script", "rules": [{"on": "("}]}, {}, "not a regular expression"),
        ({"provider": "script", "rules": "x"}, {}, "a list of rules"),
        ({"provider": "acme", "model": "m", "base_url": "file:///etc"}, {}, "no address"),
        ({"provider": "acme", "model": "m", "base_url": "http://[::1"}, {}, "no address"),
        ({"provider": "acme", "model": "m", "base_url": "http://h:port/v1"}, {}, "no address"),
        ({"provider": "acme", "model": "m", "base_url": "http://ℂ／x"}, {}, "no address"),
        ({"provider": "acme", "model": "m", "base_url": "https://"}, {}, "no address"),
        ({"provider": "acme", "model": "m", "base_url": 5}, {}, "no address"),
        ("openai/m", {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://["}, "no address"),
        ("ollama/m", {"OLLAMA_HOST": "[::1"}, "no address"),
        ({"provider": "a", "model": "m", "base_url": "http://x", "api_key_env": "K"}, {}, "`K`"),
        ("openai/m", {"OPENAI_API_KEY": "ключ"}, "no key has"),
        ("openai/m", {"OPENAI_API_KEY": "a\nb"}, "no key has"),
    ],
)
async def test_what_cannot_be_used_says_why_when_it_is_asked(
    llm: Any, environment: dict[str, str], problem: str
) -> None:
    choice = Choice(llm, environment)
    assert problem in choice.error.message
    assert choice.model is not None
    with pytest.raises(EngineError) as failed:
        await anext(choice.model.stream(ModelRequest([])))
    assert failed.value.message == choice.error.message
    assert failed.value.code == choice.error.code


async def test_closing_a_model_closes_what_it_keeps_open() -> None:
    for choice in (Choice("ollama/m"), Choice("script")):
        assert choice.model is not None
        await close(choice.model)
