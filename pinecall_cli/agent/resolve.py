"""From a node to an agent: read by the tables, checked, and put together as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pinecall_cli.agent.checks import Checks, normalised
from pinecall_cli.agent.config import (
    AgentConfig,
    Local,
    PhoneNumber,
    SkillSpec,
    ToolSpec,
    WhatsApp,
)
from pinecall_cli.agent.keys import SHARED
from pinecall_cli.agent.nodes import Node
from pinecall_cli.agent.objects import Object
from pinecall_cli.agent.reader import FAILED, Reader
from pinecall_cli.agent.tools import Tool
from pinecall_cli.errors import Where
from pinecall_cli.protocol.ids import slugify

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resolved:
    """An agent's configuration, and the functions behind its tools."""

    config: AgentConfig
    tools: Mapping[str, Tool]
    """By name, those of skills among them."""


def resolve(
    node: Node,
    kind: Object,
    reader: Reader,
    default_name: str,
    known_tools: frozenset[str] = frozenset(),
) -> Resolved | None:
    """Return the agent a node describes, or None when ``reader.problems`` says why there is none.

    Args:
        node: The agent.
        kind: Its keys: those of a file, or those of Python.
        reader: Reads what the node names, and collects problems.
        default_name: The name of an agent that gives none; empty when it must give one.
        known_tools: Tools it has besides those the node names.
    """
    before = len(reader.problems.items)
    values = kind.read(node, reader, "")
    if values is FAILED:
        return None
    check(values, reader, node.where, default_name, known_tools)
    config = _config(values, reader, node.where, default_name)
    if any(problem.severity == "error" for problem in reader.problems.items[before:]):
        return None
    return Resolved(config, _functions(values))


def check(
    values: Values,
    reader: Reader,
    where: Where,
    default_name: str,
    known_tools: frozenset[str] = frozenset(),
) -> None:
    """Note everything that is wrong, or looks wrong, with an agent's values."""
    checks = Checks(values, reader, "", where)
    name = values.get("name", default_name)
    if not name and "name" not in reader.places:
        reader.problems.error(
            "missing_key", "`name` is missing", where, "every document after the first needs one"
        )
    elif not slugify(name):
        reader.problems.error(
            "bad_name", f"`{name}` leaves no name", checks.at("name"), "use a-z, 0-9 and `-`"
        )
    elif "name" in values and slugify(name) != name:
        reader.problems.warning(
            "name_changed", f"`{name}` registers as `{slugify(name)}`", checks.at("name")
        )
    checks.grammars()
    checks.places()
    checks.tools()
    for n, skill in enumerate(values.get("skills") or ()):
        Checks(skill, reader, f"skills[{n}].", where).tools()
    for n, number in enumerate(values.get("phone_numbers") or ()):
        if isinstance(number, dict):
            Checks(number, reader, f"phone_numbers[{n}].", where).grammars()
    if not reader.tools_failed:
        checks.script(known_tools | {item.name for item in _tool_list(values)})
    if not reader.code_sets_variables:
        checks.variables()


def _tool_list(values: Values) -> list[Tool | ToolSpec]:
    found = list(values.get("tools") or ())
    for skill in values.get("skills") or ():
        found += skill.get("tools") or ()
    return found


def _functions(values: Values) -> dict[str, Tool]:
    """Return the tools by name; a skill's replaces a global one, as the protocol has it."""
    return {item.name: item for item in _tool_list(values) if isinstance(item, Tool)}


def _config(values: Values, reader: Reader, where: Where, default_name: str) -> AgentConfig:
    simple = {
        key: values[key]
        for key in (*SHARED, *SIMPLE)
        if key in values and values[key] is not FAILED
    }
    knowledge = values.get("knowledge_base")
    origins = values.get("allowed_origins")
    local = values.get("local") or {}
    rules = local.get("script")
    return AgentConfig(
        name=slugify(values.get("name", default_name)),
        **simple,
        tools=None if "tools" not in values else _specs(values["tools"]),
        skills=None if "skills" not in values else tuple(map(_skill, values["skills"])),
        knowledge_base=knowledge[0] if knowledge and len(knowledge) == 1 else _tuple(knowledge),
        allowed_origins=_tuple(origins),
        phone_numbers=_numbers(values, reader, where),
        whatsapp=_whatsapp(values.get("whatsapp")),
        local=Local(local.get("llm", "script" if rules is not None else None), rules),
        secrets=frozenset(reader.secrets),
    )


SIMPLE = (
    "prompt",
    "prompt_vars",
    "greeting",
    "greeting_in_chat",
    "memory",
    "timezone",
    "preparing",
    "raw_prompt",
    "session_limits",
    "mode",
    "media",
)


def _tuple(values: list[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _specs(found: list[Tool | ToolSpec]) -> tuple[ToolSpec, ...]:
    return tuple(item.spec if isinstance(item, Tool) else item for item in found)


def _skill(values: Values) -> SkillSpec:
    rest = {key: value for key, value in values.items() if key != "tools"}
    return SkillSpec(
        **{"name": "", "description": "", **rest}, tools=_specs(values.get("tools") or [])
    )


def _numbers(values: Values, reader: Reader, where: Where) -> tuple[PhoneNumber, ...]:
    """Return the agent's numbers; a single ``phone_number`` wins over the list."""
    path, given = "phone_numbers", values.get("phone_numbers") or []
    if (single := values.get("phone_number")) is not None:
        path, given = "phone_number", [single]
    found: dict[str, PhoneNumber] = {}
    for n, entry in enumerate(given):
        place = reader.place(f"{path}[{n}]" if path == "phone_numbers" else path, where)
        options = entry if isinstance(entry, dict) else {"number": entry}
        if "number" not in options:
            continue
        number = normalised(options["number"], place, reader)
        if number is None:
            continue
        if number in found:
            reader.problems.error("duplicate_number", f"`{number}` is listed twice", place)
        overrides = {key: value for key, value in options.items() if key != "number"}
        if overrides.get("ringing") is False:
            del overrides["ringing"]  # on the wire only when true
        found[number] = PhoneNumber(number, overrides)
    return tuple(found.values())


def _whatsapp(values: Values | None) -> WhatsApp | None:
    own = ("phone_number_id", "access_token", "verify_token", "app_secret", "phone")
    if values is None or not {"phone_number_id", "access_token"} <= values.keys():
        return None  # what is missing has been noted
    overrides = {key: value for key, value in values.items() if key not in own}
    return WhatsApp(**{k: values[k] for k in own if k in values}, overrides=overrides)
