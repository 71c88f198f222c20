"""Compose the system prompt of one generation (protocol: config.md §8). Pure: time is an argument.

The order is: base prompt, house style of the channel, skills, knowledge, memory, context blocks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}")

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)
# Our own names, since strftime's follow the locale of the process.

SPOKEN_STYLE = (
    "## Style\n"
    "You are heard, not read. Answer in short, natural sentences as people speak them. "
    "No markdown, lists, emoji or symbols; say numbers, dates and codes so that they can be "
    "understood by ear."
)
HOUSE_STYLE: Mapping[str, str] = {
    "chat": (
        "## Style\n"
        "You are read in a chat window. Keep answers brief; simple Markdown (bold, lists, links) "
        "is shown as such."
    ),
    "whatsapp": (
        "## Style\n"
        "You are read in WhatsApp. Keep answers brief and format as WhatsApp does: *bold*, "
        "_italic_, ~struck~; no headings, tables or Markdown links."
    ),
}


@dataclass(frozen=True, slots=True)
class Skill:
    """What the prompt says of a skill."""

    name: str
    description: str
    instructions: str


@dataclass(frozen=True, slots=True)
class PromptParts:
    """Everything a system prompt is made of."""

    base: str
    """The template: the application's own over the channel's over the agent's."""
    channel: str
    raw: bool = False
    """Nothing of ours is added: no house style, no note on skills."""
    loadable: Sequence[Skill] = ()
    """Skills the model may load now."""
    active: Sequence[Skill] = ()
    context: Sequence[str] = ()
    """Texts of ``history.add_context``, oldest first."""
    keyed_context: Mapping[str, Any] = field(default_factory=dict)
    """Values of ``set_context`` by key."""


def render(parts: PromptParts, values: Mapping[str, str]) -> str:
    """Return the system prompt; ``values`` fill its ``{{names}}``.

    A value is never expanded again, and context blocks are not templates: they come from outside.
    """
    return "\n\n".join(section for section in sections(parts, values) if section.strip())


def sections(parts: PromptParts, values: Mapping[str, str]) -> Iterable[str]:
    """Yield the sections of a prompt in order; some may be empty."""
    yield expand(parts.base, values)
    if not parts.raw:
        yield HOUSE_STYLE.get(parts.channel, SPOKEN_STYLE)
        yield skills_note(parts.loadable)
    for skill in parts.active:
        if skill.instructions.strip():
            yield f"## Skill: {skill.name}\n{expand(skill.instructions, values)}"
    yield from parts.context
    if parts.keyed_context:
        blocks = (f"### {key}\n{as_block(value)}" for key, value in parts.keyed_context.items())
        yield "\n\n".join(("## UI Context", *blocks))


def skills_note(loadable: Sequence[Skill]) -> str:
    """Return how the model is told of the skills that it may load; empty without any."""
    if not loadable:
        return ""
    lines = (f"- {skill.name}: {skill.description}" for skill in loadable)
    return "\n".join(
        (
            "## Skills",
            "Before you help with one of these, call `loadSkill` with its name; it brings "
            "instructions and tools. Call `unloadSkill` when the matter is closed.",
            *lines,
        )
    )


def as_block(value: Any) -> str:
    """Return a context value as it stands in the prompt: a text as it is, else JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def expand(template: str, values: Mapping[str, str]) -> str:
    """Return ``template`` with each ``{{name}}`` replaced; a name without a value is empty."""
    return VARIABLE.sub(lambda found: values.get(found[1], ""), template)


def variables(
    now: datetime,
    timezone: str | None,
    *layers: Mapping[str, Any] | None,
) -> dict[str, str]:
    """Return the values for a prompt's names: the built-in ones under ``layers``, last wins.

    ``now`` is aware; dates and times are told in ``timezone``, an IANA name, or in UTC where
    that is missing or unknown.
    """
    values = built_in(now.astimezone(zone(timezone)))
    for layer in layers:
        for name, value in (layer or {}).items():
            values[name] = "" if value is None else as_block(value)
    return values


def built_in(local: datetime) -> dict[str, str]:
    """Return the names that always have a value, at a local time."""
    day = DAYS[local.weekday()]
    date = f"{local:%Y-%m-%d}"
    time = f"{local:%H:%M}"
    spelled = f"{day}, {local.day} {MONTHS[local.month - 1]} {local.year}"
    where = getattr(local.tzinfo, "key", None) or "UTC"
    return {
        "date": date,
        "time": time,
        "day": day,
        "datetime": f"{date} {time}",
        "date_block": f"Today is {spelled}. It is {time} ({where}).",
        # Nothing is retrieved or remembered here, so these are there and empty.
        "RAG_CONTEXT": "",
        "MEMORY": "",
    }


def zone(name: str | None) -> tzinfo:
    """Return the time zone called ``name``; UTC for one that is missing or unknown."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # unknown, not a key, the name of a folder
        return UTC
