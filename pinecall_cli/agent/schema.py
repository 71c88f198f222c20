"""The JSON Schema of agent files, for editors: made from the tables the loader reads by."""

from __future__ import annotations

from typing import Any

from pinecall_cli.agent.keys import AGENT_DOCUMENT


def agent_schema() -> dict[str, Any]:
    """Return the JSON Schema of one document of an ``agent.yaml``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pinecall agent",
        **_nullable(AGENT_DOCUMENT.schema()),
    }


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an object's schema in which every key may be left empty: that warns, at most."""
    properties = {
        name: {"anyOf": [{k: v for k, v in inner.items() if k != "description"}, {"type": "null"}]}
        | ({"description": inner["description"]} if "description" in inner else {})
        for name, inner in schema["properties"].items()
    }
    return {**schema, "properties": properties}
