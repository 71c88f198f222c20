"""The frozen configuration, as the wire and as people get to see it."""

from __future__ import annotations

from dataclasses import fields

import pytest

from pinecall_cli.agent.config import (
    FIELDS,
    WIRE_KEYS,
    AgentConfig,
    Local,
    PhoneNumber,
    SkillSpec,
    ToolSpec,
    WhatsApp,
    names_a_secret,
    payload,
    shown,
)
from pinecall_cli.protocol.config import PAYLOAD_KEYS

PING = ToolSpec("ping", "Pings.", {"type": "object"}, body="b1")
RULES = ({"say": "Hi", "at": "a.yaml:1"},)


def test_the_payload_has_the_wires_keys_in_the_wires_order():
    assert tuple(WIRE_KEYS.values()) == PAYLOAD_KEYS
    assert WIRE_KEYS.keys() < set(FIELDS)
    assert set(FIELDS) - WIRE_KEYS.keys() == {
        *("name", "allowed_origins", "phone_numbers", "whatsapp", "local", "secrets"),
    }


def test_keys_that_are_not_set_are_left_out_and_falsy_ones_are_sent():
    config = AgentConfig(name="a", flash=False, prompt="", tools=(), session_limits={})
    assert payload(config, embedded=False) == {
        "flash": False,
        "prompt": "",
        "tools": [],
        "session_limits": {},
    }


def test_renamed_and_shortened_values_travel_as_the_wire_wants_them():
    config = AgentConfig(
        name="a",
        stt="deepgram:nova-3:he",
        prompt_vars={"a": "b"},
        greeting={"text": "Hi", "addToHistory": True},
        greeting_in_chat=True,
        tools=(PING,),
        skills=(SkillSpec("s", "d", (PING,)),),
        knowledge_base=("kb_1", "kb_2"),
    )
    assert payload(config, embedded=True) == {
        "stt": {"provider": "deepgram", "model": "nova-3", "language": "he"},
        "vars": {"a": "b"},
        "greeting": "Hi",
        "greetingInChat": True,
        "tools": [PING.wire()],
        "skills": [
            {"name": "s", "description": "d", "tools": [PING.wire()], "activation": "model"}
        ],
        "knowledge_base": ["kb_1", "kb_2"],
    }


def test_the_local_section_replaces_the_model_on_the_embedded_server_alone():
    def model(local: Local, *, embedded: bool = True):
        return payload(AgentConfig(name="a", llm="openai/x", local=local), embedded=embedded)["llm"]

    assert model(Local()) == "openai/x"
    assert model(Local(llm="ollama/qwen")) == "ollama/qwen"
    assert model(Local(llm="script")) == "script"
    assert model(Local("script", RULES)) == {"provider": "script", "rules": list(RULES)}
    assert model(Local("ollama/qwen", RULES)) == "ollama/qwen"
    assert model(Local("script", RULES), embedded=False) == "openai/x"


def test_what_is_shown_hides_keys_and_values_of_secret_variables():
    config = AgentConfig(
        name="a",
        llm={"provider": "openai", "model": "m", "api_key": "k", "max_tokens": 5},
        prompt="Call https://crm/?t=hush now.",
        memory={"contactKey": "phone"},
        tools=(ToolSpec("t", "d", {"properties": {"token": {"type": "string"}}}),),
        allowed_origins=("https://a.com",),
        phone_numbers=(PhoneNumber("+13186330963"),),
        whatsapp=WhatsApp("1", "secret-token", app_secret="s", phone="+34600123456"),
        secrets=frozenset({"hush"}),
    )
    document = shown(config, embedded=False)
    assert document["agent_id"] == "a"
    assert document["llm"] == {
        "provider": "openai",
        "model": "m",
        "api_key": "***",
        "max_tokens": 5,
    }
    assert document["prompt"] == "Call https://crm/?t=*** now."
    assert document["memory"] == {"contactKey": "phone"}
    token = document["tools"][0]["function"]["parameters"]["properties"]["token"]
    assert token == {"type": "string"}
    assert document["allowed_origins"] == ["https://a.com"]
    assert document["channels"] == [
        {"type": "phone", "ref": "+13186330963"},
        {
            "type": "whatsapp",
            "ref": "1",
            "accessToken": "***",
            "appSecret": "***",
            "phone": "+34600123456",
        },
    ]


def test_a_name_tells_whether_it_holds_a_secret():
    secret = {"api_key", "OPENAI_API_KEY", "accessToken", "DB_PASSWORD", "key", "client_secret"}
    plain = {"model", "max_tokens", "contactKey", "keyterms", "monkey", "first_token_ms"}
    assert {name for name in secret | plain if names_a_secret(name)} == secret


def test_no_repr_shows_a_secret():
    config = AgentConfig(
        name="a", whatsapp=WhatsApp("1", "secret-token"), secrets=frozenset({"hush"})
    )
    assert "secret-token" not in repr(config)
    assert "hush" not in repr(config)


def test_secrets_do_not_make_two_agents_different():
    assert AgentConfig(name="a", secrets=frozenset({"x"})) == AgentConfig(name="a")
    assert [f.name for f in fields(AgentConfig) if not f.compare] == ["secrets"]


@pytest.mark.parametrize("key", ["add_to_history", "addToHistory"])
def test_a_greeting_that_stays_out_of_the_history_stays_here(key: str):
    config = AgentConfig(name="a", greeting={"text": "Hi", key: False})
    assert payload(config, embedded=True) == {}
