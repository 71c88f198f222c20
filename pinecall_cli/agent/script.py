"""Scripts: the rules that stand in for a model, read and checked here, played by the server.

A rule leaves as the JSON object the wire carries, with the place it was written at under ``at``,
so that a server that trips over it can say where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinecall_cli.agent.kinds import (
    Anything,
    Either,
    Kind,
    ListOf,
    MapOf,
    Number,
    Schema,
    Text,
    refuse,
)
from pinecall_cli.agent.nodes import Mapping, Node, Scalar, Sequence
from pinecall_cli.agent.objects import Key, Object
from pinecall_cli.agent.problems import AgentFileProblems, Problem, shown_path
from pinecall_cli.agent.reader import FAILED, Reader, read_text
from pinecall_cli.agent.yaml_nodes import MAX_YAML_BYTES, documents
from pinecall_cli.errors import Where

Rules = tuple[dict[str, Any], ...]

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)(?:\.[A-Za-z0-9_-]+|\[[0-9]+\])*")
BUILT_IN = frozenset({"text", "prompt", "instructions"})
RESULTS = frozenset({"result", "results"})

SAY: Kind = Either("text or a list of texts", scalars=(Text(),), sequence=ListOf(Text()))


@dataclass(frozen=True, slots=True)
class Calls:
    """The tools of one rule with their arguments; a bare name calls without any."""

    wanted: str = "a tool's name, or a mapping of tools to their arguments"

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return ``{tool: arguments}``."""
        if isinstance(node, Scalar) and not node.is_null and node.form in {"plain", "quoted"}:
            return {node.text: {}}
        if not isinstance(node, Mapping) or not node.pairs:
            return refuse(self, node, reader, path)
        calls: dict[str, Any] = {}
        for name, arguments in node.pairs:
            empty = isinstance(arguments, Scalar) and arguments.is_null
            place = f"{path}.{name.text}"
            reader.places[place] = name.where
            value = {} if empty else MapOf(Anything()).read(arguments, reader, place)
            if value is not FAILED:
                calls[name.text] = value
        return calls

    def schema(self) -> Schema:
        """Return the JSON Schema of ``call``."""
        return {"type": ["string", "object"], "additionalProperties": {"type": ["object", "null"]}}


RULE = Object(
    {
        "on": Key(Text(), "Regular expression searched in the caller's turn, ignoring case."),
        "call": Key(Calls(), "Tools to call, each with its arguments."),
        "say": Key(SAY, "What to answer; a list is used in turn."),
        "first_token_ms": Key(Number(minimum=0), "Milliseconds until the first word."),
        "tokens_per_s": Key(Number(minimum=0.1), "Words per second; at once if left out."),
    },
    wanted="a rule: a mapping with `on`, `call`, `say`",
)


@dataclass(frozen=True, slots=True)
class Script:
    """A list of rules."""

    wanted: str = "a list of rules"

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the rules in the form the wire carries."""
        if not isinstance(node, Sequence):
            return refuse(self, node, reader, path, "start each rule with `- on:` or `- say:`")
        rules: list[dict[str, Any]] = []
        always = ""
        for n, item in enumerate(node.items):
            place = f"{path}[{n}]"
            rule = RULE.read(item, reader, place)
            if rule is FAILED:
                continue
            if always:
                reader.problems.warning(
                    "unreachable_rule",
                    f"this rule is never reached: the one in line {always} always matches",
                    item.where,
                    "put it first, or give that rule an `on`",
                )
            elif "on" not in rule and not _has(item, "on"):
                always = str(item.where.line)
            self._check(rule, item, reader, place)
            rules.append({**rule, "at": f"{item.where.file}:{item.where.line}"})
        return tuple(rules)

    def _check(self, rule: dict[str, Any], item: Node, reader: Reader, place: str) -> None:
        if not (_has(item, "say") or _has(item, "call")):
            reader.problems.error(
                "empty_rule",
                "this rule neither says nor calls anything",
                item.where,
                "add `say: …` or `call: {tool: {…}}`",
            )
        groups = self._groups(rule, reader, place, item)
        if groups is None:
            return
        known = groups | BUILT_IN | (RESULTS if "call" in rule else frozenset())
        for text in _texts({key: rule[key] for key in ("say", "call") if key in rule}):
            for match in PLACEHOLDER.finditer(text.replace("{{", "  ").replace("}}", "  ")):
                name = NAME.fullmatch(match[1])
                if name is None or name[1] in known:
                    continue  # a brace that opens no placeholder stands for itself
                reader.problems.warning(
                    "unknown_placeholder",
                    f"nothing sets `{match[0]}` in this rule, so it stays empty",
                    _find(item, match[0]) or item.where,
                    f"known here: {', '.join(f'`{{{name}}}`' for name in sorted(known))}; "
                    "`{{` and `}}` are braces",
                )

    @staticmethod
    def _groups(
        rule: dict[str, Any], reader: Reader, place: str, item: Node
    ) -> frozenset[str] | None:
        """Return the named groups of a rule's pattern; None when it is no pattern."""
        pattern = rule.get("on", "")
        try:
            return frozenset(re.compile(pattern, re.IGNORECASE).groupindex)
        except (re.error, ValueError, OverflowError, RecursionError) as problem:
            reader.problems.error(
                "bad_pattern",
                f"`on` is not a regular expression: {problem}",
                reader.place(f"{place}.on", item.where),
                "in YAML, write patterns in single quotes: backslashes then stay single",
            )
            return None

    def schema(self) -> Schema:
        """Return the JSON Schema of a script."""
        return {"type": "array", "items": RULE.schema()}


@dataclass(frozen=True, slots=True)
class ScriptOrFile:
    """Rules, written in place or in the file that is named."""

    wanted: str = "the name of a script file, or a list of rules"

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return the rules in the form the wire carries."""
        if isinstance(node, Sequence):
            return Script().read(node, reader, path)
        if not isinstance(node, Scalar) or node.form not in {"plain", "quoted"} or node.is_null:
            return refuse(self, node, reader, path)
        rules = rules_of_file(reader.resolve(node.text), node.where, reader, path)
        return FAILED if rules is None else rules

    def schema(self) -> Schema:
        """Return the JSON Schema of ``local.script``."""
        return {"anyOf": [{"type": "string"}, Script().schema()]}


def load_script(file: Path) -> tuple[Rules, tuple[Problem, ...]]:
    """Return the rules of a script file that no agent names, and what is odd about them.

    Raises:
        AgentFileProblems: With everything that is wrong, each thing at its place.
    """
    reader = Reader(file.parent, {}, interpolates=False)
    rules = rules_of_file(file, Where(shown_path(file)), reader, "script")
    if rules is None or reader.problems.failed:
        raise AgentFileProblems(reader.problems.sorted())
    return rules, reader.problems.sorted()


def rules_of_file(file: Path, named: Where, reader: Reader, path: str) -> Rules | None:
    """Return the rules of a script file, or note what is wrong with it, in the file itself.

    ``named`` is where somebody names it: for a file that cannot be read.
    """
    text = read_text(file, named, reader.problems, reader.watched, MAX_YAML_BYTES)
    if text is None:
        return None
    shown = shown_path(file)
    before = len(reader.problems.items)
    found = documents(text, shown, reader.problems)
    if len(reader.problems.items) > before:
        return None
    if len(found) != 1:
        message = "a script is one list of rules" if found else "this script is empty"
        where = found[1].where if found else Where(shown, 1, 1)
        reader.problems.error("bad_script", message, where, "start each rule with `- on:`")
        return None
    scope = Reader(
        file.parent,
        reader.environ,
        reader.problems,
        interpolates=False,
        places=reader.places,
        watched=reader.watched,
    )
    rules = Script().read(found[0], scope, path)
    return None if rules is FAILED else rules


def _has(node: Node, key: str) -> bool:
    """Tell whether a rule was written with this key, readable or not."""
    return isinstance(node, Mapping) and any(name.text == key for name, _ in node.pairs)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _find(node: Node, part: str) -> Any:
    """Return where ``part`` is written below ``node``."""
    match node:
        case Scalar() if part in node.text:
            return node.locate(part)
        case Sequence(items):
            return next((w for item in items if (w := _find(item, part))), None)
        case Mapping(pairs):
            return next((w for _, inner in pairs if (w := _find(inner, part))), None)
    return None
