"""Hostile text made harmless: nothing that a caller, tool or server says can steer the terminal.

Whatever came from outside passes through ``printable`` before it is drawn.
"""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len, chop_cells

LIMIT = 4000
"""Characters of one text that are shown; a page of 80 by 50."""
LONGEST_WORD = 200
"""Characters of one word that are shown. The longest in a dictionary has 45; a URL needs more."""
MARKS = 4
"""Combining marks shown on one character: Vietnamese needs 2, Hebrew with points 3."""

_ASIA = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
)
"""Scripts without spaces: a whole sentence of theirs is no word that is too long."""
_LONG_WORD = re.compile(rf"[^\s{_ASIA}]{{{LONGEST_WORD + 1},}}")
_JOINERS = "\u200c\u200d"
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f")
"""Characters that Unicode calls letters, marks or symbols and that draw nothing."""


def printable(text: str, *, lines: bool = False, limit: int = LIMIT) -> str:
    r"""Return ``text`` with everything shown and nothing obeyed.

    Control characters, escapes, bidirectional overrides, zero-width characters and lone
    surrogates become visible (``\x1b``, ``\u202e``). Too long a text or word is clipped, and
    says by how much. Joiners and variation selectors, which only shape their neighbours, are
    dropped, for no two terminals agree on how wide they make them.

    Args:
        text: Anything.
        lines: Whether line breaks stay; otherwise they are shown as ``⏎``.
        limit: How many characters to show at most.
    """
    more = len(text) - limit
    text = text[:limit]
    if not (text.isascii() and text.isprintable()):
        text = _shown(text, lines=lines)
    if len(text) > LONGEST_WORD:
        text = _LONG_WORD.sub(_clipped_word, text)
    return f"{text}… (+{more:,} characters)" if more > 0 else text


def _clipped_word(word: re.Match[str]) -> str:
    found = word.group()
    return f"{found[:LONGEST_WORD]}…(+{len(found) - LONGEST_WORD:,})"


def _shown(text: str, *, lines: bool) -> str:
    shown: list[str] = []
    marks = 0
    before = ""
    for char in text.replace("\r\n", "\n"):
        category = unicodedata.category(char)
        marks = marks + 1 if category[0] == "M" else 0
        if char == "\n":
            shown.append("\n" if lines else " ⏎ ")
        elif char == "\t" or category == "Zs":
            shown.append(" ")
        elif "\ufe00" <= char <= "\ufe0f" or (char in _JOINERS and before > "\x7f"):
            pass
        elif not char.isprintable() or char in _INVISIBLE or marks > MARKS:
            shown.append(escaped(char))
        else:
            shown.append(char)
        before = char
    return "".join(shown)


def escaped(char: str) -> str:
    r"""Return ``char`` as Python would write it: ``\x1b``, ``\u202e``, ``\U000e0001``."""
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def encodable(text: str, encoding: str) -> str:
    """Return ``text`` with what ``encoding`` cannot write spelled as escapes."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def tail(text: str, width: int) -> str:
    """Return ``text`` cut from the left to ``width`` cells, with an ellipsis where it was cut."""
    if cell_len(text) <= width:
        return text
    kept = ""
    for char in reversed(text):
        if cell_len(char + kept) > width - 1:
            break
        kept = char + kept
    return "…" + kept if width > 0 else ""


def head(text: str, width: int) -> str:
    """Return ``text`` cut from the right to ``width`` cells, with an ellipsis where it was cut."""
    if cell_len(text) <= width:
        return text
    return (chop_cells(text, width - 1)[0] if width > 1 else "") + "…" if width > 0 else ""


def short_id(call_id: str) -> str:
    """Return enough of a call's id to tell calls apart: 8 characters, without a kind in front."""
    return re.sub(r"^[a-z]{1,5}[-_](?=.{4})", "", call_id)[:8]
