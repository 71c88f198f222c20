"""`Skill`: instructions, tools and knowledge that a call takes in when it needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pinecall_cli.agent.tools import Function, Tool


@dataclass(frozen=True, slots=True)
class Skill:
    """One thing an agent can do besides its prompt (protocol: config.md §7).

    The model sees name and description, and loads the rest when it needs it: instructions are
    added to the prompt, tools are on offer, the knowledge base is searched, until it is unloaded.
    """

    name: str
    """What the model loads it by."""
    description: str
    """When to load it."""
    instructions: str | None = None
    """Added to the prompt while it is loaded."""
    tools: Sequence[Tool | Function | Mapping[str, Any]] = ()
    """On offer while it is loaded."""
    knowledge_base: str | None = None
    """The id of what is searched while it is loaded."""
    rag_top_k: int | None = None
    """Passages to take from it."""
    activation: Literal["model", "manual", "always"] = "model"
    """Who loads it: the model, `Call.load_skill` alone, or nobody needs to."""

    def options(self) -> dict[str, Any]:
        """Return it as agent files have it; what is not set is left out."""
        optional = {
            "instructions": self.instructions,
            "knowledge_base": self.knowledge_base,
            "rag_top_k": self.rag_top_k,
        }
        return {
            "name": self.name,
            "description": self.description,
            **{key: value for key, value in optional.items() if value is not None},
            "tools": list(self.tools),
            "activation": self.activation,
        }
