"""Cut a text that comes in pieces into what is spoken in one go, as early as is safe.

A sentence ends at ``. ! ? …`` (and their CJK forms) or at a line's end. A full stop after an
abbreviation, an initial or a list number, or before a small letter, ends nothing; inside ``3.5``
or ``example.com`` it is followed by no space, so it ends nothing either. A sentence that grows
long is cut at a comma, so that speech can begin.
"""

from __future__ import annotations

import re

LONG = 200
"""Characters after which a comma is good enough; about 13 s of speech."""

HARD = 300
"""Characters after which any space is; without one, the text is cut in the middle of a word."""

ENDS = re.compile(
    r"[.!?…]+[\"'”’»)\]}*_]*(?=\s)|[。！？｡]+[」』”’）】]*(?=[^。！？｡」』”’）】])|\n"
)
PAUSES = re.compile(r"[,;:–—](?=\s)|[，、；：]")

PLAIN = re.compile(r"(?:^|[\s\"'“‘(])(?!www$)[^\W\d_]{3,}$")
"""A word after which a full stop ends a sentence, whatever may follow."""

NEVER_ENDS = frozenset(
    "dr mr mrs ms mx prof st sr gen col capt lt sgt rev hon vs cf e.g i.e".split()  # noqa: SIM905
)
"""Abbreviations that something always follows."""

BEFORE_NUMBER = frozenset(
    "no nr art ch fig p pp sec vol ext approx ca".split()  # noqa: SIM905 - a list of words
)
"""Abbreviations only when a number follows: `No. 5`, but `No. Not today.`"""

INITIALS = re.compile(r"[A-Z](?:\.[A-Z])*")


class Sentences:
    """A splitter fed by `push`; what comes out, joined, is what went in, but for spaces."""

    def __init__(self) -> None:
        self._rest = ""

    def push(self, text: str) -> list[str]:
        """Return the sentences that ``text`` completes, however a text is cut into pushes."""
        self._rest += text
        done = []
        at = 0
        while (end := next_cut(self._rest, at)) is not None:
            done.append(self._rest[at:end].strip())
            at = end
        self._rest = self._rest[at:].lstrip()
        return [sentence for sentence in done if sentence]

    def flush(self) -> list[str]:
        """Return what is left, the text being over; the next push begins anew."""
        # The end of a line decides whatever the last characters left open.
        done = self.push("\n")
        self._rest = ""
        return done


def next_cut(text: str, start: int) -> int | None:
    """Return where the sentence that begins at ``start`` ends; None if that is not known yet."""
    while start < len(text) and text[start].isspace():
        start += 1
    long = start + LONG
    # One window, so that a text of any length is cut in linear time.
    window = text[: start + HARD + 1]
    pause = None
    if len(text) > long:
        early = [found.end() for found in PAUSES.finditer(window, start, long + 1)]
        late = PAUSES.search(window, long)
        pause = early[-1] if early else late.end() if late else None
    for found in ENDS.finditer(window, start):
        if pause is not None and found.end() > max(long, pause):
            break
        ended = is_end(text, start, found)
        if ended is None:
            return None
        if ended:
            return found.end()
    if pause is not None or len(text) <= start + HARD:
        return pause
    spaces = [at for at in range(start, start + HARD) if text[at].isspace()]
    return spaces[-1] + 1 if spaces else start + HARD


def looks_whole(text: str) -> bool:
    """Return whether ``text`` ends as a sentence does, as far as can be said without the next.

    A full stop that no space follows yet may stand inside a number, a time or an address.
    """
    spaced, text = text[-1:].isspace(), text.rstrip()
    ends = [found for found in ENDS.finditer(text + " ") if found.end() <= len(text)]
    if not ends or ends[-1].end() != len(text):
        return False
    found = ends[-1]
    if found[0] != ".":
        return True
    start = ends[-2].end() if len(ends) > 1 else 0
    start += len(text[start:]) - len(text[start:].lstrip())
    if not spaced and not PLAIN.search(text[start : found.start()]):
        return False
    return not is_abbreviation(text, start, found, "A")


def is_end(text: str, start: int, found: re.Match[str]) -> bool | None:
    """Return whether a sentence ends at ``found``; None if what comes next must be known first."""
    mark = found[0]
    if mark[-1] in "!?\n" or mark[0] in "。！？｡":
        return True
    after = found.end()
    while after < len(text) and text[after].isspace():
        if text[after] == "\n":
            return True
        after += 1
    if after == len(text):
        return None
    if text[after].islower():
        return False
    return (
        mark[0] != "." or mark[1:2] == "." or not is_abbreviation(text, start, found, text[after])
    )


def is_abbreviation(text: str, start: int, found: re.Match[str], follows: str) -> bool:
    """Return whether the word before a single full stop only looks like a sentence's last."""
    before = text[start : found.start()]
    word = re.split(r"[\s()\[\]\"'“‘«*_]", before)[-1]
    if word.isdigit() and word == before:
        return True  # `1. First do this`
    if INITIALS.fullmatch(word) and word != "I":
        return True  # `J. Smith`, `U.S. Mail`
    if word.lower() in NEVER_ENDS:
        return True
    return word.lower() in BEFORE_NUMBER and follows.isdigit()
