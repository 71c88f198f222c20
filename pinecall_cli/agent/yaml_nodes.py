"""YAML text as nodes with places; the one module here that knows PyYAML.

Events are read one by one and never constructed, so no tag makes an object, no scalar becomes
anything but text, and depth, aliases and size are bounded while reading, not afterwards.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from pinecall_cli.agent.nodes import MAX_DEPTH, Mapping, Node, Scalar, Sequence, Span
from pinecall_cli.agent.problems import Problems
from pinecall_cli.errors import Where

MAX_YAML_BYTES = 1024 * 1024
"""An agent file's limit; a prompt of 256 KiB fits in it more than once."""
MAX_NODES = 50_000
"""Values in one file, counting what aliases repeat: a bomb reaches this at its first level."""

CORE = "tag:yaml.org,2002:"


class _StopReading(Exception):
    """The rest of the text cannot be read."""


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come."""

    is_mapping: bool
    where: Where
    anchor: str | None
    items: list[Node] = field(default_factory=list)
    size: int = 1


def documents(text: str, shown: str, problems: Problems) -> list[Node]:
    """Return the documents of ``text`` that are not empty.

    What is wrong is noted in ``problems``; what came before a syntax error is not returned, since
    half a document would only earn it wrong messages.
    """
    builder = _Builder(text, shown, problems)
    try:
        builder.run()
    except _StopReading:
        return []
    except yaml.MarkedYAMLError as problem:
        mark, message = problem.problem_mark, problem.problem or "it breaks off"
        if "end of stream" in message and "quoted scalar" in (problem.context or ""):
            mark, message = problem.context_mark, "this quotation mark is never closed"
        builder.syntax(message, problem.context, mark or problem.context_mark)
        return []
    except yaml.reader.ReaderError as problem:
        character = f"U+{problem.character:04X}" if isinstance(problem.character, int) else "it"
        problems.error(
            "control_character",
            f"the character {character} has no place in YAML",
            builder.place(problem.position),
            "delete it, or write it as an escape in double quotes",
        )
        return []
    except (ValueError, OverflowError):  # "\U99999999": PyYAML checks no range
        problems.error("yaml_syntax", "this is not YAML: a number is out of range", builder.last)
        return []
    return builder.roots


class _Builder:
    """Turns the events of one text into nodes."""

    def __init__(self, text: str, shown: str, problems: Problems) -> None:
        self.text, self.shown, self.problems = text, shown, problems
        self.starts = [0, *(n + 1 for n, c in enumerate(text) if c == "\n")]
        self.roots: list[Node] = []
        self.last = Where(shown, 1, 1)
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.open_anchors: set[str] = set()
        self.total = 0

    def place(self, index: int) -> Where:
        """Return the place of a character; PyYAML's own lines count breaks editors do not."""
        line = bisect.bisect_right(self.starts, index)
        return Where(self.shown, line, index - self.starts[line - 1] + 1)

    def syntax(self, message: str, context: str | None, mark: Any) -> None:
        """Note a syntax error in words for people."""
        where = self.last if mark is None else self.place(mark.index)
        if "'\\t'" in message:
            self.problems.error("tab", "a tab cannot indent YAML", where, "indent with spaces")
            return
        hint = context
        if "mapping values are not allowed" in message:
            hint = "put quotation marks around a text that holds `: `"
        elif "never closed" in message:
            hint = "close it, or write a quotation mark inside twice"
        elif "could not find expected ':'" in message:
            hint = "write `key: value`, or indent a text that goes on"
        elif "expected ',' or" in message:
            hint = "put quotation marks around a text that holds `?`, `:`, commas or brackets"
        elif "expected <block end>" in message:
            hint = "check that the keys of one mapping are indented alike"
        self.problems.error("yaml_syntax", f"this is not YAML: {message}", where, hint)

    def stop(self, code: str, message: str, where: Where, hint: str | None = None) -> None:
        """Note a problem after which reading on makes no sense."""
        self.problems.error(code, message, where, hint)
        raise _StopReading

    def run(self) -> None:
        for event in self._events():
            match event:
                case yaml.DocumentStartEvent():
                    self.anchors.clear()
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    self._start(event)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    self._end()

    def _events(self) -> Iterator[Any]:
        for event in yaml.parse(self.text, Loader=yaml.SafeLoader):
            mark: Any = event.start_mark
            self.last = self.place(mark.index)
            yield event

    def _alias(self, event: Any) -> None:
        name = event.anchor
        if name in self.open_anchors:
            self.stop("alias_cycle", f"`*{name}` holds itself", self.last, "write the value out")
        if name not in self.anchors:
            self.stop("unknown_alias", f"`*{name}` names no anchor above", self.last)
        node, size = self.anchors[name]
        self._add(node, size)

    def _scalar(self, event: Any) -> None:
        where, tag, form = self.last, None, "plain" if event.style is None else "quoted"
        match event.tag:
            case None | "!":
                form = "quoted" if event.tag == "!" else form
            case "!file":
                tag, form = "!file", "quoted"
            case str() as given if given == f"{CORE}str":
                form = "quoted"
            case str() as given if given in {f"{CORE}{n}" for n in ("int", "float", "bool")}:
                form = "plain"
            case str() as given:
                self._unknown_tag(given)
        span = Span(self.text, event.start_mark.index, event.end_mark.index)
        node = Scalar(event.value, "plain" if form == "plain" else "quoted", where, tag, span)
        self._keep(event.anchor, node, 1)
        self._add(node, 1)

    def _unknown_tag(self, tag: str) -> None:
        shown = tag.replace(CORE, "!!")
        hint = (
            "`!file path` takes a text"
            if shown.startswith("!file")
            else "the only tag is `!file path`"
        )
        self.problems.error("unknown_tag", f"unknown tag `{shown}`", self.last, hint)

    def _start(self, event: Any) -> None:
        if len(self.stack) >= MAX_DEPTH:
            self.stop("too_deep", f"this is nested deeper than {MAX_DEPTH} levels", self.last)
        if event.tag not in {None, "!", f"{CORE}seq", f"{CORE}map"}:
            self._unknown_tag(event.tag)
        if event.anchor:
            self.open_anchors.add(event.anchor)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self.stack.append(_Open(is_mapping, self.last, event.anchor))

    def _end(self) -> None:
        done = self.stack.pop()
        node: Node
        if done.is_mapping:
            node = Mapping(self._pairs(done.items), done.where)
        else:
            node = Sequence(tuple(done.items), done.where)
        if done.anchor:
            self.open_anchors.discard(done.anchor)
        self._keep(done.anchor, node, done.size)
        self._add(node, done.size, counted=done.size - 1)

    def _keep(self, anchor: str | None, node: Node, size: int) -> None:
        if anchor:
            self.anchors[anchor] = (node, size)

    def _add(self, node: Node, size: int, counted: int = 0) -> None:
        """Put a finished node where it belongs; ``counted`` of its size is in the total already."""
        self.total += size - counted
        if self.total > MAX_NODES:
            self.stop(
                "too_large",
                f"more than {MAX_NODES} values, aliases written out",
                self.last,
                "name tables of data in a tool, not in the agent",
            )
        if self.stack:
            self.stack[-1].items.append(node)
            self.stack[-1].size += size
        elif not (isinstance(node, Scalar) and node.is_null):
            self.roots.append(node)

    def _pairs(self, items: list[Node]) -> tuple[tuple[Scalar, Node], ...]:
        """Return keys and values, noting keys that are no text or come twice."""
        pairs: dict[str, tuple[Scalar, Node]] = {}
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, Scalar):
                self.problems.error("bad_key", "a key must be text", key.where)
            elif key.text == "<<" and key.form == "plain":
                self.problems.error(
                    "merge_key",
                    "merge keys (`<<`) are not part of YAML 1.2",
                    key.where,
                    "write the keys out, or use an alias for each value",
                )
            elif key.text in pairs:
                first = pairs[key.text][0].where.line
                self.problems.error(
                    "duplicate_key",
                    f"`{key.text}` is here a second time",
                    key.where,
                    f"the first is in line {first}",
                )
            else:
                pairs[key.text] = (key, value)
        return tuple(pairs.values())
