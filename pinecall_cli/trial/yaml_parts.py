"""The parts of a spec that are no steps: expectations, mocks and variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from pinecall_cli.agent import nodes
from pinecall_cli.agent.kinds import Anything
from pinecall_cli.agent.problems import closest
from pinecall_cli.agent.reader import FAILED, Reader
from pinecall_cli.caller.yaml_file import CallerReader, listed
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event, wire_name
from pinecall_cli.trial.judge import between_slashes, compiled
from pinecall_cli.trial.spec import (
    TEXT_TIMES,
    VOICE_TIMES,
    CallsTool,
    Case,
    Expectation,
    Happens,
    Mock,
    Mode,
    Says,
    Within,
)

KINDS = ("says", "not_says", "tool", "not_tool", "event", "not_event", "within_ms")
EXAMPLE = 'for example `- says: "(?i)welcome"`'
EVENTS: Mapping[str, tuple[str, ...]] = {
    wire_name(one): one.__struct_encode_fields__
    for one in vars(events).values()
    if isinstance(one, type) and issubclass(one, Event) and one is not Event
}
"""The events there are, with their fields."""
LONGEST_MS = 3_600_000


def expectations(reader: CallerReader, node: nodes.Node, mode: Mode) -> tuple[Expectation, ...]:
    """Return what a list expects; a single expectation counts as a list of one."""
    items = node.items if isinstance(node, nodes.Sequence) else (node,)
    found = [_expectation(reader, item, mode) for item in items]
    return tuple(one for one in found if one is not None)


def _expectation(reader: CallerReader, node: nodes.Node, mode: Mode) -> Expectation | None:
    if not isinstance(node, nodes.Mapping):
        reader.wrong(node, "an expectation is a mapping", EXAMPLE)
        return None
    given = {key.text: value for key, value in node.pairs}
    kinds = [key for key in given if key in KINDS]  # no event has a field of such a name
    if len(kinds) != 1:
        if kinds:
            said = f"an expectation is one thing, not {listed(kinds)}"
            reader.problems.error("several_kinds", said, node.where, "make it a list of them")
        else:
            known = reader.mapping(node, "an expectation", KINDS)
            if known == {} and not node.pairs:
                said = f"an expectation is one of {listed(KINDS)}"
                reader.problems.error("missing_key", said, node.where, EXAMPLE)
        return None
    kind, value = kinds[0], given[kinds[0]]
    wanted = not kind.startswith("not_")
    match kind.removeprefix("not_"):
        case "says":
            pattern = _pattern(reader, value) if _alone(reader, node, (kind,)) else None
            return None if pattern is None else Says(pattern, wanted, node.where)
        case "tool":
            name = reader.text(value, f"`{kind}`")
            args = None
            if _alone(reader, node, (kind, "args")) and "args" in given:
                args = _mapping(reader, given["args"], "`args`")
            return None if name is None else CallsTool(name, args, wanted, node.where)
        case "event":
            return _event(reader, node, value, wanted)
    limits = _limits(reader, value, mode) if _alone(reader, node, (kind,)) else None
    return None if limits is None else Within(limits, node.where)


def _alone(reader: CallerReader, node: nodes.Node, known: tuple[str, ...]) -> bool:
    """Note keys that do not belong to this kind of expectation."""
    before = len(reader.problems.items)
    reader.mapping(node, "an expectation", known)
    return len(reader.problems.items) == before


def _pattern(reader: CallerReader, node: nodes.Node) -> str | None:
    text = reader.text(node, "a regular expression")
    if text is None:
        return None
    return text if _compiles(reader, text, node) else None


def _compiles(reader: CallerReader, text: str, node: nodes.Node) -> bool:
    """Note a text that is no regular expression."""
    try:
        compiled(text)
    except (re.error, ValueError, OverflowError, RecursionError) as problem:
        said = f"`{text}` is no regular expression: {problem}"
        hint = "a backslash takes the meaning of `( ) [ ] . ? * + |` away"
        reader.problems.error("bad_pattern", said, node.where, hint)
        return False
    return True


def _event(
    reader: CallerReader, node: nodes.Mapping, value: nodes.Node, wanted: bool
) -> Expectation | None:
    name = reader.text(value, "`event`")
    if name is None:
        return None
    # A server may have events and fields that we do not know; what nearly is a known one is a slip.
    if name not in EVENTS and (near := closest(name, EVENTS)) is not None:
        said = f"no event is named `{name}`"
        reader.problems.error("unknown_event", said, value.where, f"did you mean `{near}`?")
        return None
    pairs = tuple(pair for pair in node.pairs if pair[0].text not in {"event", "not_event"})
    there = EVENTS.get(name, ())
    for key, _ in pairs:
        if key.text not in there and (near := closest(key.text, there)) is not None:
            said = f"`{name}` has no field `{key.text}`"
            reader.problems.error("unknown_key", said, key.where, f"did you mean `{near}`?")
    fields = _mapping(reader, nodes.Mapping(pairs, node.where), "the fields")
    return None if fields is None else Happens(name, fields, wanted, node.where)


def _limits(reader: CallerReader, node: nodes.Node, mode: Mode) -> Mapping[str, float] | None:
    known = VOICE_TIMES if mode == "voice" else TEXT_TIMES
    if isinstance(node, nodes.Mapping):
        for key, _ in node.pairs:
            if key.text in {*VOICE_TIMES, *TEXT_TIMES} - {*known}:
                said = f"`{key.text}` is not measured in a {mode} spec"
                hint = f"there is {listed(known)}"
                reader.problems.error("wrong_mode", said, key.where, hint)
                return None
    keys = reader.mapping(node, "`within_ms`", known)
    if keys is None:
        return None
    limits = {key: reader.within(value, 0, LONGEST_MS) for key, value in keys.items()}
    if not limits and isinstance(node, nodes.Mapping) and not node.pairs:
        said = f"`within_ms` needs one of {listed(known)}"
        reader.problems.error("missing_key", said, node.where)
    return {key: limit for key, limit in limits.items() if limit is not None} or None


# --- mocks and variables --------------------------------------------------------------------


def mocks(reader: CallerReader, node: nodes.Node) -> tuple[Mock, ...]:
    """Return the tools that are not run, each with what it returns."""
    if not isinstance(node, nodes.Mapping):
        reader.wrong(node, "`mocks` is a mapping of tools", "`mocks: {lookup: {status: sent}}`")
        return ()
    return tuple(
        Mock(key.text, cases, key.where)
        for key, value in node.pairs
        if (cases := _cases(reader, value)) is not None
    )


def _cases(reader: CallerReader, node: nodes.Node) -> tuple[Case, ...] | None:
    """Return one result, or the cases of a list whose items all have a ``result``."""
    if not isinstance(node, nodes.Sequence) or not (node.items and all(map(_is_case, node.items))):
        result = _value(reader, node)
        return None if result is FAILED else (Case(result),)
    found = []
    for item in node.items:
        keys = reader.mapping(item, "a case", ("args", "result"), required="result") or {}
        args = _mapping(reader, keys["args"], "`args`") if "args" in keys else None
        result = _value(reader, keys["result"]) if "result" in keys else FAILED
        if result is not FAILED:
            found.append(Case(result, args))
    return tuple(found) or None


def _is_case(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Mapping) and any(key.text == "result" for key, _ in node.pairs)


def variables(reader: CallerReader, node: nodes.Node) -> Mapping[str, str] | None:
    """Return prompt variables by name."""
    if not isinstance(node, nodes.Mapping):
        reader.wrong(node, "`vars` is a mapping", "for example `vars: {company: Acme}`")
        return None
    read = {key.text: reader.text(value, f"`{key.text}`") for key, value in node.pairs}
    return {name: text for name, text in read.items() if text is not None}


def _mapping(reader: CallerReader, node: nodes.Node, what: str) -> Mapping[str, Any] | None:
    if not isinstance(node, nodes.Mapping):
        reader.wrong(node, f"{what} is a mapping")
        return None
    before = len(reader.problems.items)
    for text in _texts(node):
        if (pattern := between_slashes(text.text)) is not None:
            _compiles(reader, pattern, text)
    value = _value(reader, node)
    return None if len(reader.problems.items) > before else value


def _texts(node: nodes.Node) -> Iterator[nodes.Scalar]:
    """Yield every value in a node that is no list and no mapping."""
    match node:
        case nodes.Scalar():
            yield node
        case nodes.Sequence(items):
            yield from chain.from_iterable(map(_texts, items))
        case nodes.Mapping(pairs):
            yield from chain.from_iterable(_texts(value) for _, value in pairs)


def _value(reader: CallerReader, node: nodes.Node) -> Any:
    """Return what JSON would hold; ``!file`` reads a text from beside the spec."""
    before = len(reader.problems.items)
    values = Reader(reader.folder, {}, reader.problems, interpolates=False)
    value = Anything().read(node, values, "")
    return FAILED if len(reader.problems.items) > before else value
