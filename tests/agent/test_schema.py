"""The JSON Schema says what the loader accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pinecall_cli.agent.config import FIELDS
from pinecall_cli.agent.keys import AGENT_DOCUMENT
from pinecall_cli.agent.schema import agent_schema


def walk(schema: Any):
    if isinstance(schema, dict):
        yield schema
        for inner in schema.values():
            yield from walk(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from walk(inner)


def test_every_key_is_there_with_a_sentence_for_editors():
    properties = agent_schema()["properties"]
    assert properties.keys() == AGENT_DOCUMENT.keys.keys()
    assert set(FIELDS) - {"secrets"} <= properties.keys()
    for name, schema in properties.items():
        assert schema["description"].endswith("."), name


def test_it_is_json_and_closed():
    schema = agent_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["additionalProperties"] is False
    assert schema["$schema"].startswith("https://json-schema.org/")


def test_nested_settings_are_described_too():
    limits = agent_schema()["properties"]["session_limits"]["anyOf"][0]
    assert limits["additionalProperties"] is False
    assert limits["properties"]["max_duration_seconds"]["minimum"] == 0


def test_what_is_required_exists():
    for schema in walk(agent_schema()):
        if isinstance(schema.get("required"), list):
            assert set(schema["required"]) <= schema["properties"].keys()


@pytest.mark.parametrize("key", ["voice", "stt", "llm"])
def test_engines_may_be_named_or_described(key: str):
    kinds = agent_schema()["properties"][key]["anyOf"][0]["anyOf"]
    assert [kind["type"] for kind in kinds] == ["string", "object"]
