"""The difference between two versions of an agent, and what of it goes where (pure).

Which frames carry what is the table of flows.md §7.1; sending them is `reload`'s business.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from pinecall_cli.agent.config import (
    WIRE_KEYS,
    AgentConfig,
    Local,
    PhoneNumber,
    SkillSpec,
    ToolSpec,
    payload,
)

MAX_ALIGNED_WORDS = 1500
"""Words of a prompt aligned exactly; aligning is quadratic, and a save should show in 120 ms."""


class Family(Enum):
    """How a changed key reaches sessions."""

    SESSION = "session"
    """``agent.configure``, and ``session.configure`` for each live call."""
    PROMPT = "prompt"
    """``agent.configure``, and ``history.set_instructions``."""
    VARS = "vars"
    """``agent.configure``, and ``history.set_vars``."""
    TOOLS = "tools"
    """Whole lists: ``agent.configure``, and ``session.configure``."""
    NEXT_CALL = "next_call"
    """``agent.configure`` alone: live calls keep what they began with."""
    CHANNELS = "channels"
    """``channel.add``, ``.configure``, ``.remove``."""
    RECREATE = "recreate"
    """``agent.create`` again, whole."""


FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        ("voice", "language", "stt", "llm", "interruption", "flash", "config", "local"),
        Family.SESSION,
    ),
    "prompt": Family.PROMPT,
    "prompt_vars": Family.VARS,
    "tools": Family.TOOLS,
    "skills": Family.TOOLS,
    **dict.fromkeys(
        (
            *("greeting", "greeting_in_chat", "session_limits", "media", "memory", "timezone"),
            *("preparing", "raw_prompt", "knowledge_base", "mode"),
        ),
        Family.NEXT_CALL,
    ),
    "phone_numbers": Family.CHANNELS,
    "whatsapp": Family.CHANNELS,
    "allowed_origins": Family.RECREATE,
}
"""The family of every key but ``name``, which is an agent of its own."""


@dataclass(frozen=True, slots=True)
class WordDiff:
    """How many words a prompt gained and lost, and the words themselves in runs."""

    added: int
    removed: int
    runs: tuple[tuple[str, str], ...] = ()
    """Pairs of what stood there and what stands there now, in order; either may be empty."""

    def __str__(self) -> str:
        return f"+{self.added} −{self.removed} words"

    def in_words(self, limit: int = 60) -> str:
        """Return the words that went and came, or how many if they fill over ``limit`` cells."""
        signed = [
            (f"−{gone}" if gone else "", f"+{come}" if come else "") for gone, come in self.runs
        ]
        said = " ".join(word for pair in signed for word in pair if word)
        return said if 0 < len(said) <= limit else str(self)


@dataclass(frozen=True, slots=True)
class ToolChanges:
    """Tool names by what happened to them; those of skills are among them."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    schema: tuple[str, ...] = ()
    """Name kept; description or parameters changed."""
    body: tuple[str, ...] = ()
    """Only the code changed: nothing goes on the wire."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every tool that is not as it was."""
        return tuple(sorted({*self.added, *self.removed, *self.schema, *self.body}))


@dataclass(frozen=True, slots=True)
class ChannelChanges:
    """Channels (fields of ``channel.add``) by what is to be done with them."""

    add: tuple[dict[str, Any], ...] = ()
    configure: tuple[dict[str, Any], ...] = ()
    """Kept, with other settings: the whole new ``channel.add``."""
    remove: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed from one version of an agent to the next."""

    old: AgentConfig
    new: AgentConfig
    keys: tuple[str, ...]
    """Keys that changed, as agent files spell them; ``tools`` only if the wire notices."""
    taken_out: tuple[str, ...]
    """Those among them that are set no longer."""
    prompt: WordDiff | None
    tools: ToolChanges
    channels: ChannelChanges

    @property
    def renamed(self) -> bool:
        """Whether the name changed: then it is another agent, and nothing else counts."""
        return self.old.name != self.new.name

    @property
    def empty(self) -> bool:
        """Whether nothing changed at all."""
        return not (self.keys or self.tools.body)

    @property
    def recreate(self) -> bool:
        """Whether only a whole ``agent.create`` carries the change."""
        return any(
            key in self.taken_out and FAMILIES.get(key) is not Family.CHANNELS for key in self.keys
        ) or any(FAMILIES.get(key) is Family.RECREATE for key in self.keys)

    @property
    def changed(self) -> tuple[str, ...]:
        """What a receipt lists: the keys, and the tools whose bodies alone changed."""
        return (*self.keys, *(name for name in self.tools.names if name not in self.keys))

    def of(self, family: Family) -> tuple[str, ...]:
        """Return the changed keys of one family."""
        return tuple(key for key in self.keys if FAMILIES.get(key) is family)

    def configure(self, *, embedded: bool) -> dict[str, Any]:
        """Return the payload of ``agent.configure``: each changed key with its new value."""
        return self._wire(tuple(self.keys), embedded)

    def session(self, *, embedded: bool) -> dict[str, Any]:
        """Return the payload of ``session.configure`` for a live call.

        A key that was taken out is not in it; what holds for the call then is the server's
        default, which only the server knows.
        """
        return self._wire((*self.of(Family.SESSION), *self.of(Family.TOOLS)), embedded)

    def _wire(self, keys: tuple[str, ...], embedded: bool) -> dict[str, Any]:
        before = payload(self.old, embedded=embedded)
        after = payload(self.new, embedded=embedded)
        names = {WIRE_KEYS[key] for key in keys if key in WIRE_KEYS}
        if "local" in keys and before.get("llm") != after.get("llm"):
            names.add("llm")
        elif "llm" in names and before.get("llm") == after.get("llm"):
            names.discard("llm")  # `local` hides it
        return {name: value for name, value in after.items() if name in names}


def diff(old: AgentConfig, new: AgentConfig) -> Changes:
    """Return what changed from ``old`` to ``new``."""
    tools = _tools(
        {tool.name: tool for tool in old.all_tools()}, {tool.name: tool for tool in new.all_tools()}
    )
    keys: list[str] = []
    for field in fields(AgentConfig):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.compare and field.name != "name" and _as_sent(before) != _as_sent(after):
            keys.append(field.name)
    taken_out = tuple(
        key for key in keys if getattr(new, key) in (None, ()) and getattr(old, key) is not None
    )
    words = word_diff(old.prompt or "", new.prompt or "") if "prompt" in keys else None
    return Changes(old, new, tuple(keys), taken_out, words, tools, _channels(old, new))


def _as_sent(value: Any) -> Any:
    """Return a value without what no server ever sees: tool bodies and places in scripts."""
    match value:
        case ToolSpec():
            return value.wire()
        case SkillSpec():
            return value.wire()
        case Local():
            rules = [{k: v for k, v in rule.items() if k != "at"} for rule in value.rules or ()]
            return (value.llm, value.rules is None, rules)
        case tuple():
            return [_as_sent(item) for item in value]
        case PhoneNumber():
            return value.channel()
    return value


def _tools(old: dict[str, ToolSpec], new: dict[str, ToolSpec]) -> ToolChanges:
    kept = sorted(old.keys() & new.keys())
    schema = [name for name in kept if old[name].wire() != new[name].wire()]
    return ToolChanges(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        schema=tuple(schema),
        body=tuple(n for n in kept if n not in schema and old[n].body != new[n].body),
    )


def _channels(old: AgentConfig, new: AgentConfig) -> ChannelChanges:
    before = {(c["type"], c["ref"]): c for c in old.channels()}
    after = {(c["type"], c["ref"]): c for c in new.channels()}
    kept = [key for key in after if key in before]
    return ChannelChanges(
        add=tuple(after[key] for key in after if key not in before),
        configure=tuple(after[key] for key in kept if before[key] != after[key]),
        remove=tuple(before[key] for key in before if key not in after),
    )


def word_diff(old: str, new: str) -> WordDiff:
    """Return the words that ``new`` gained and lost against ``old``."""
    before, after = old.split(), new.split()
    start = _common(before, after)
    before, after = before[start:], after[start:]
    end = _common(before[::-1], after[::-1])
    before, after = before[: len(before) - end], after[: len(after) - end]
    if len(before) + len(after) > MAX_ALIGNED_WORDS:
        gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
        return WordDiff(come.total(), gone.total())
    runs = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, i, j, m, n in matcher.get_opcodes():
        if kind != "equal":
            runs.append((before[i:j], after[m:n]))
    return WordDiff(
        added=sum(len(run[1]) for run in runs),
        removed=sum(len(run[0]) for run in runs),
        runs=tuple((" ".join(gone), " ".join(come)) for gone, come in runs),
    )


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words two lists begin with alike."""
    for n, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return n
    return min(len(one), len(other))
