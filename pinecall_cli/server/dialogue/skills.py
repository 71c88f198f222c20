"""Which skills of a session are active, and what that means for prompt and tools. Pure.

A skill is instructions and tools that the model (``activation: model``), the application
(``manual``) or nobody (``always``) switches on (protocol: config.md §7).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pinecall_cli.server.dialogue.prompt import Skill

LOAD = "loadSkill"
UNLOAD = "unloadSkill"


class Skills:
    """The skills of one session, over whatever its configuration says at the moment."""

    def __init__(self) -> None:
        self._loaded: list[str] = []

    def load(self, config: Mapping[str, Any], name: str, *, by_model: bool) -> bool | None:
        """Switch a skill on: True if that changed something, None if there is none such."""
        skill = defined(config).get(name)
        if skill is None or (by_model and activation(skill) != "model"):
            return None
        if name in self._loaded or activation(skill) == "always":
            return False
        self._loaded.append(name)
        return True

    def unload(self, config: Mapping[str, Any], name: str, *, by_model: bool) -> bool | None:
        """Switch a skill off: True if that changed something, None if there is none such."""
        skill = defined(config).get(name)
        if skill is None or (by_model and activation(skill) != "model"):
            return None
        if name not in self._loaded:
            return False
        self._loaded.remove(name)
        return True

    def active(self, config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the active skills' definitions: those always on, then as they were loaded."""
        skills = defined(config)
        always = [skill for skill in skills.values() if activation(skill) == "always"]
        return always + [skills[name] for name in self._loaded if name in skills]

    def loadable(self, config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the skills that the model may switch on now."""
        return [
            skill
            for name, skill in defined(config).items()
            if activation(skill) == "model" and name not in self._loaded
        ]

    def tools(self, config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the tools on offer; a skill's tool stands for a global one of the same name."""
        tools = {tool_name(tool): tool for tool in listed(config.get("tools"))}
        for skill in self.active(config):
            tools |= {tool_name(tool): tool for tool in listed(skill.get("tools"))}
        loadable = [str(skill["name"]) for skill in self.loadable(config)]
        unloadable = [
            str(skill["name"]) for skill in self.active(config) if activation(skill) == "model"
        ]
        if loadable:
            tools[LOAD] = switch(LOAD, "Load a skill: its instructions and tools.", loadable)
        if unloadable:
            tools[UNLOAD] = switch(UNLOAD, "Unload a skill that is done with.", unloadable)
        return list(tools.values())

    def answers(self, config: Mapping[str, Any], tool: str) -> bool:
        """Return whether a tool is one of ours, to be answered here and not by the client."""
        return tool in (LOAD, UNLOAD) and any(
            activation(skill) == "model" for skill in defined(config).values()
        )


def defined(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the skills of a configuration by name."""
    skills = listed(config.get("skills"))
    return {skill["name"]: skill for skill in skills if isinstance(skill.get("name"), str)}


def activation(skill: Mapping[str, Any]) -> str:
    """Return who switches a skill on: ``model``, ``manual`` or ``always``."""
    return str(skill.get("activation") or "model")


def described(skills: Iterable[Mapping[str, Any]]) -> Sequence[Skill]:
    """Return what the prompt says of skills."""
    return [
        Skill(
            str(skill["name"]),
            str(skill.get("description") or ""),
            str(skill.get("instructions") or ""),
        )
        for skill in skills
    ]


def listed(entries: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list that came over the wire."""
    return [entry for entry in entries or () if isinstance(entry, Mapping)]


def tool_name(tool: Mapping[str, Any]) -> str:
    """Return the name of a tool in OpenAI's shape."""
    function = tool.get("function")
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""


def switch(name: str, description: str, skills: list[str]) -> Mapping[str, Any]:
    """Return the definition of one of the two tools that switch skills."""
    parameters = {
        "type": "object",
        "properties": {"name": {"type": "string", "enum": skills}},
        "required": ["name"],
    }
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}
