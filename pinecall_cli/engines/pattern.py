"""Search a rule's regular expression in what a caller said, in bounded time.

Python's ``re`` backtracks without a limit and cannot be stopped from outside: one ``(a+)+$`` in a
script would hang every call of the server. So the steps a search may take are estimated first.
A cheap one runs here; one that might be dear runs in a process of its own, which can be killed.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

MAX_TEXT = 2000
"""Characters of a turn that are searched, from its start: over two minutes of speech."""

STEPS_HERE = 5_000_000
"""Steps a search may take on the event loop. CPython takes about 100 million in a second (measured
on a shared 2-core machine), so this is 50 ms at worst."""

PATIENCE = 2.0
"""Seconds given to a search in a process of its own, its start (about 30 ms) included."""

# SIGALRM ends the child in the middle of a search, also when our own process is killed first.
CHILD = """
import json, re, signal, sys
if hasattr(signal, "alarm"):
    signal.alarm(5)
source, text = json.load(sys.stdin)
found = re.search(source, text, re.IGNORECASE)
json.dump(None if found is None else found.groupdict(), sys.stdout)
"""

QUANTIFIER = re.compile(r"(\*|\+|\?|\{(\d*)(?:(,)(\d*))?\})[?+]?")


class Pattern:
    """A case-insensitive regular expression, searched anywhere in a turn.

    Raises:
        re.error: If ``source`` is not a regular expression.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._compiled = re.compile(source, re.IGNORECASE)
        self._cost = Cost.of(source)

    async def search(self, text: str) -> dict[str, str | None] | None:
        """Return the named groups of the first match, or None where nothing matches.

        Only the first `MAX_TEXT` characters are looked at.

        Raises:
            TimeoutError: If the search was given up after `PATIENCE` seconds.
        """
        text = text[:MAX_TEXT]
        if self._cost.steps(len(text)) > STEPS_HERE:
            return await self._search_apart(text)
        found = self._compiled.search(text)
        return None if found is None else found.groupdict()

    async def _search_apart(self, text: str) -> dict[str, str | None] | None:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", CHILD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                out, _ = await child.communicate(json.dumps([self.source, text]).encode())
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode != 0:
            raise TimeoutError
        groups: dict[str, str | None] | None = json.loads(out)
        return groups


class Cost:
    """How the steps of a search grow with the text: a rough bound from above, cheap to make."""

    def __init__(self, *, repeats: int, options: int, nested: bool) -> None:
        self.repeats = repeats
        self.options = options
        self.nested = nested

    @classmethod
    def of(cls, source: str) -> Cost:
        """Return the cost of a pattern that compiles.

        A group that can match in several ways and is itself repeated takes exponential time; k
        repeats in a row take n^(k+1) steps on n characters; each ``?`` may double them.
        """
        repeats = options = 0
        nested = False
        open_groups = [False]  # per open group: can it match one text in several ways?
        atom_varies = False  # the same of the atom that a quantifier would repeat
        at = 0
        while at < len(source):
            char = source[at]
            if char == "(":
                open_groups.append(False)
                at += 2 if source.startswith("(?", at) else 1  # its `?` is no quantifier
            elif char == ")":
                atom_varies = open_groups.pop() if len(open_groups) > 1 else False
                open_groups[-1] |= atom_varies
                at += 1
            elif char == "|":
                open_groups[-1] = True
                at += 1
            elif (found := QUANTIFIER.match(source, at)) is not None:
                most, varies = quantity(found)
                nested |= atom_varies and most > 1
                if varies:
                    open_groups[-1] = True
                    repeats += most > 1
                    options += most <= 1
                atom_varies = False
                at = found.end()
            else:
                at = class_end(source, at) if char == "[" else at + 1 + (char == "\\")
                atom_varies = False
        return cls(repeats=repeats, options=options, nested=nested)

    def steps(self, length: int) -> float:
        """Return about how many steps a search through ``length`` characters takes at worst."""
        if self.nested:
            return float("inf")
        return float(max(length, 1)) ** min(self.repeats + 1, 40) * 2.0 ** min(self.options, 60)


def quantity(found: re.Match[str]) -> tuple[float, bool]:
    """Return the most often a quantifier repeats, and whether it leaves a choice."""
    symbol, least, comma, most = found.groups()
    if symbol == "?":
        return 1, True
    if symbol in "*+" or (comma and not most):
        return float("inf"), True
    upper = int(most or least or 0)
    return upper, comma is not None and upper != int(least or 0)


def class_end(source: str, at: int) -> int:
    """Return the index behind the character class that opens at ``at``."""
    at += 2 if source.startswith("[^", at) else 1
    if source.startswith("]", at):  # a bracket right at the start stands for itself
        at += 1
    while at < len(source) and source[at] != "]":
        at += 2 if source[at] == "\\" else 1
    return at + 1
