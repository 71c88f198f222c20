"""The difference between an agent's file and what a server holds of that agent (pure).

Both sides are brought into one form first: the wire's spelling, tools and channels by name. What
is secret is hidden on both sides before they are compared, so it is never a difference, nor shown.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pinecall_cli.agent.config import MASK, AgentConfig, names_a_secret, payload
from pinecall_cli.protocol.merging import canonical
from pinecall_cli.protocol.payload import PAYLOAD_KEYS, SDK_SPELLINGS
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.protocol.refusal import ConfigRefused

Kind = Literal["added", "removed", "changed"]
KeyPath = tuple[str, ...]
MISSING: Any = object()
SPELLINGS = frozenset((*SDK_SPELLINGS, "tts"))
"""Other names of configuration keys, which `canonical` knows."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs: ``added`` is in the file alone, ``removed`` on the server alone."""

    path: KeyPath
    """``("tools", "lookup_order", "description")``, ``("llm", "rules[2]", "say")``."""
    kind: Kind
    old: Any = None
    """As the server holds it."""
    new: Any = None
    """As the file has it."""

    @property
    def key(self) -> str:
        """The path in one word, as people read it."""
        return ".".join(self.path)

    def as_json(self) -> dict[str, Any]:
        """Return the change as ``agents diff --json`` prints it."""
        return {"key": self.key, "change": self.kind, "old": self.old, "new": self.new}


@dataclass(frozen=True, slots=True)
class Difference:
    """What an agent's file would change on its server."""

    changes: tuple[Change, ...]
    not_compared: tuple[str, ...] = ()
    """Keys whose values are secret, and those that the server does not tell."""

    @property
    def equal(self) -> bool:
        """Whether there is none."""
        return not self.changes

    def names(self, family: Literal["tools", "channels"]) -> dict[Kind, list[str]]:
        """Return the tools or channels by what happened to them."""
        found: dict[Kind, list[str]] = {"added": [], "removed": [], "changed": []}
        for change in self.changes:
            match change.path:
                case (first, name) if first == family:
                    found[change.kind].append(name)
                case (first, name, *_) if first == family and name not in found["changed"]:
                    found["changed"].append(name)
        return found


def compare(
    config: AgentConfig, registered: Mapping[str, Any], *, embedded: bool | None = None
) -> Difference:
    """Return how an agent's file differs from its registration.

    Args:
        config: The agent as its file has it.
        registered: What ``GET /api/sdk/agents/{slug}/config`` answers.
        embedded: Whether the server reads ``local``; None: as its ``llm`` tells, for a script
            is nobody else's.
    """
    held = dict(registered.get("config") or {})
    if embedded is None:
        llm = held.get("llm")
        embedded = isinstance(llm, Mapping) and llm.get("provider") == "script"
    told = "allowed_origins" in registered
    old = document(held, channels_of(registered.get("channels")), registered)
    mine = {"allowed_origins": config.allowed_origins} if told else {}
    sent = as_received(payload(config, embedded=embedded))
    new = document(sent, [settings_of(channel) for channel in config.channels()], mine)
    comparing = Comparing(config.secrets)
    changes = tuple(comparing.walk((), old, new))
    if not told and config.allowed_origins:
        comparing.hidden.append("allowed_origins")
    return Difference(changes, tuple(comparing.hidden))


# --- one form for both ----------------------------------------------------------------------


def document(
    config: Mapping[str, Any], channels: Sequence[Mapping[str, Any]], beside: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a configuration in the form in which both sides are compared."""
    found: dict[str, Any] = canonical(config)
    if "llm" in found:
        found["llm"] = without_places(found["llm"])
    named = {
        channel_name(channel): {k: v for k, v in channel.items() if k not in ("type", "ref")}
        for channel in channels
    }
    origins = beside.get("allowed_origins")
    return {
        **found,
        "tools": by_name(found.get("tools")),
        "skills": by_name(found.get("skills")),
        "allowed_origins": sorted(map(str, origins)) if isinstance(origins, list | tuple) else [],
        "channels": named,
    }


def as_received(value: Any) -> Any:
    """Return a value as it is when JSON has carried it."""
    return json.loads(json.dumps(value, default=dict))


def without_places(llm: Any) -> Any:
    """Return an ``llm`` whose script's rules do not say where in a file they stand."""
    if not isinstance(llm, Mapping) or not isinstance(llm.get("rules"), list):
        return llm
    rules = [
        {k: v for k, v in rule.items() if k != "at"} if isinstance(rule, Mapping) else rule
        for rule in llm["rules"]
    ]
    return {**llm, "rules": rules}


def by_name(items: Any) -> dict[str, Any]:
    """Return tools or skills by their names; a tool is its ``function``."""
    found: dict[str, Any] = {}
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, Mapping):
            continue
        inner = item.get("function", item)
        body = dict(inner) if isinstance(inner, Mapping) else {"function": inner}
        if "tools" in body:
            body["tools"] = by_name(body["tools"])
        found[str(body.pop("name", ""))] = body
    return found


def channels_of(listed: Any) -> list[dict[str, Any]]:
    """Return the channels of a registration as ``channel.add`` would carry them.

    A browser's channel without settings says nothing: every agent has one (config.md §12.3).
    """
    found = []
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, Mapping):
            config = item.get("config")
            ringing = {"ringing": True} if item.get("ringing") is True else {}
            channel = settings_of({**(config if isinstance(config, Mapping) else {}), **ringing})
            if channel or item.get("ref") is not None:
                found.append({**channel, "type": item.get("type"), "ref": item.get("ref")})
    return found


def settings_of(channel: Mapping[str, Any]) -> dict[str, Any]:
    """Return a channel's fields as JSON carries them, its configuration in wire spelling."""
    fields: dict[str, Any] = as_received(channel)
    own = {k: v for k, v in fields.items() if k not in PAYLOAD_KEYS and k not in SPELLINGS}
    return {**canonical(fields), **own}


def channel_name(channel: Mapping[str, Any]) -> str:
    """Return what a channel is called: ``phone:+14155550100``."""
    kind, ref = str(channel.get("type")), channel.get("ref")
    if ref is None:
        return kind
    try:
        return f"{kind}:{normalise_number(ref) if kind == 'phone' else ref}"
    except ConfigRefused:
        return f"{kind}:{ref}"


# --- walking along both ---------------------------------------------------------------------


class Comparing:
    """Walks along two documents; what it meets of secrets is noted and not told."""

    def __init__(self, secrets: frozenset[str]) -> None:
        self.secrets = sorted(filter(None, secrets), key=len, reverse=True)
        self.hidden: list[str] = []

    def walk(self, path: KeyPath, old: Any, new: Any) -> Iterator[Change]:
        """Yield the changes from ``old`` to ``new``, depth first.

        Args:
            path: Where both stand.
            old: The server's; `MISSING` if it has none.
            new: The file's, likewise.
        """
        if old is MISSING or new is MISSING:
            kind: Kind = "added" if old is MISSING else "removed"
            yield Change(path, kind, self.shown(path, old), self.shown(path, new))
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in dict.fromkeys((*new, *old)):
                inner = (*path, str(key))
                yield from self.walk(inner, old.get(key, MISSING), new.get(key, MISSING))
        elif isinstance(old, list) and isinstance(new, list):
            yield from self._lists(path, old, new)
        elif isinstance(old, str) and isinstance(new, str):
            yield from self._texts(path, old, new)
        elif not same(old, new):
            yield Change(path, "changed", self.shown(path, old), self.shown(path, new))

    def shown(self, path: KeyPath, value: Any) -> Any:
        """Return a value with what is secret in it hidden; None for a missing one."""
        match value:
            case _ if value is MISSING:
                return None
            case str():
                return MASK if value and is_secret(path) else self._masked(value)
            case Mapping():
                return {key: self.shown((*path, str(key)), inner) for key, inner in value.items()}
            case list():
                return [self.shown(path, inner) for inner in value]
        return value

    def _texts(self, path: KeyPath, old: str, new: str) -> Iterator[Change]:
        if is_secret(path) or old == MASK:
            self.hidden.append(".".join(path))
            return
        masked = self._masked(new)
        if masked != new:
            # The server may hold an older secret in that place: all around it is compared.
            self.hidden.append(".".join(path))
            if not fits(old, masked.split(MASK)):
                yield Change(path, "changed", MASK, masked)
        elif old != new:
            yield Change(path, "changed", self._masked(old), new)

    def _masked(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text

    def _lists(self, path: KeyPath, old: list[Any], new: list[Any]) -> Iterator[Change]:
        before, after = list(map(spelled, old)), list(map(spelled, new))
        matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
        for kind, i, j, m, n in matcher.get_opcodes():
            if kind == "equal":
                continue
            paired = min(j - i, n - m)
            for at in range(paired):
                yield from self.walk(indexed(path, m + at), old[i + at], new[m + at])
            for at in range(i + paired, j):
                yield from self.walk(indexed(path, at), old[at], MISSING)
            for at in range(m + paired, n):
                yield from self.walk(indexed(path, at), MISSING, new[at])


def indexed(path: KeyPath, at: int) -> KeyPath:
    """Return the path of a list's item."""
    *above, last = path
    return (*above, f"{last}[{at}]")


def is_secret(path: KeyPath) -> bool:
    """Tell whether what stands at a path is nobody's to read."""
    return bool(path) and names_a_secret(path[-1].partition("[")[0])


def fits(text: str, parts: Sequence[str]) -> bool:
    """Tell whether a text is these parts in order, with anything between them."""
    first, *middle, last = parts
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def spelled(value: Any) -> str:
    """Return a value as a text that is equal for equal values."""
    return json.dumps(value, sort_keys=True)


def same(old: Any, new: Any) -> bool:
    """Tell whether two JSON values are equal; ``true`` is not 1, and 60 is 60.0."""
    return isinstance(old, bool) == isinstance(new, bool) and bool(old == new)
