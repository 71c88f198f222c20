"""What differs between two values, for the eye: old and new of each key, long texts by lines."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from pinecall_cli.agent.diff import word_diff
from pinecall_cli.agent.registered import Change
from pinecall_cli.view.ink import Ink

LONGEST_VALUE = 60
"""Characters of a text that stands in one line with its key."""
LONGEST_LINE = 160
"""Characters of a line that is shown whole; of a longer one the words that differ are."""
CONTEXT = 1
"""Lines shown around those that differ."""
STYLES = {"+": "green", "-": "red", "~": "yellow", " ": "dim"}
SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def print_changes(console: Console, changes: Iterable[Change], *, plain: bool = False) -> None:
    """Print each change: ``+`` is in the new version alone, ``-`` in the old one, ``~`` in both."""
    ink = Ink.of(console)
    for change in changes:
        for sign, text in lines_of(change):
            line = f"  {sign} {ink.safe(text)}".rstrip()
            if plain or not console.is_terminal:
                console.file.write(f"{line}\n")
            else:
                console.print(Text(line, STYLES[sign.strip() or " "]), soft_wrap=True)
    console.file.flush()


def lines_of(change: Change) -> Iterator[tuple[str, str]]:
    """Yield the lines that tell of a change, each with its sign; deeper ones are indented."""
    sign, key = SIGNS[change.kind], change.key
    match change.kind, change.old, change.new:
        case "changed", str() as old, str() as new if is_long(old) or is_long(new):
            yield sign, f"{key}: {word_diff(old, new)}"
            yield from (("  " + mark, line) for mark, line in text_lines(old, new))
        case "added", _, new:
            yield sign, f"{key}: {value_of(new)}" if new != {} else key
        case "removed", old, _:
            yield sign, f"{key}: {value_of(old)}" if old != {} else key
        case _, old, new:
            yield sign, f"{key}: {value_of(old)} → {value_of(new)}"


def is_long(text: str) -> bool:
    """Tell whether a text does not stand in one line with its key."""
    return len(text) > LONGEST_VALUE or "\n" in text


def value_of(value: Any) -> str:
    """Return a value in one line; of a tool, what it says it does."""
    if isinstance(value, Mapping) and isinstance(value.get("description"), str):
        return str(value["description"])
    return json.dumps(value, ensure_ascii=False)


def text_lines(old: str, new: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of two texts that differ, and those around them, as ``diff -u`` does."""
    before, after = old.splitlines(), new.splitlines()
    if before == after:
        yield " ", "only the ends of lines differ"
    groups = difflib.SequenceMatcher(None, before, after).get_grouped_opcodes(CONTEXT)
    for number, group in enumerate(groups):
        if number:
            yield " ", "…"
        for kind, i, j, m, n in group:
            if kind == "equal":
                yield from ((" ", line) for line in before[i:j])
                continue
            gone, come = before[i:j], after[m:n]
            if any(len(line) > LONGEST_LINE for line in (*gone, *come)):
                yield from words(" ".join(gone), " ".join(come))
            else:
                yield from (("-", line) for line in gone)
                yield from (("+", line) for line in come)


def words(old: str, new: str) -> Iterator[tuple[str, str]]:
    """Yield the words that went and came, run by run."""
    found = word_diff(old, new)
    if not found.runs:
        yield " ", str(found) if found.added or found.removed else "only spaces differ"
    for gone, come in found.runs:
        if gone:
            yield "-", f"… {gone} …"
        if come:
            yield "+", f"… {come} …"
