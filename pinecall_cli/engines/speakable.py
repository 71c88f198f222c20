"""What of a text can be said: its words as written, each with the form to be spoken.

Models write Markdown, emoji and worse even when told not to. None of it is read aloud, but every
written word stays in the list, so that captions and `bot.word` show the text as it was written.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

LONGEST_WORD = 80
"""Characters of a word that are spoken: nobody listens to the rest of a base64 string."""
LONGEST_TEXT = 5_000
"""Characters that are spoken, about 5 minutes; a sentence is what is meant to come."""

_MARKUP = re.compile(
    r"</?[A-Za-z][^<>]{0,300}>"  # a tag
    r"|!?\[(?=[^\[\]]{0,300}\]\()|\]\([^()\s]{0,2000}\)"  # a link or picture around its text
    r"|`+|~~"  # code, struck out
    r"|\*(?!(?<=\d\*)\d)"  # emphasis and bullets, but not 2*3
    r"|(?<!\w)_+(?=\S)|(?<=\S)_+(?!\w)"  # emphasis, but not snake_case
    r"|^[ \t]*(?:\#{1,6}|>+|[-+•])(?=[ \t])",  # heading, quotation, bullet
    re.MULTILINE,
)
_SEPARATORS = str.maketrans(dict.fromkeys("_[]{}\\|", " ") | {"⁄": "/"})
_LONG_NUMBER = re.compile(r"\d{10,}|\d(?:,?\d){12,}")
_UNSPOKEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Mn", "Me", "Sk", "So"}
_SPOKEN_SYMBOLS = "°"


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text: as it stands there, and what a voice should read; empty for nothing."""

    written: str
    spoken: str


def speakable(text: str) -> list[Word]:
    """Return the words of ``text``, split at white space; never fails, whatever it holds."""
    kept = bytearray(b"\1") * len(text)
    for mark in _MARKUP.finditer(text[:LONGEST_TEXT]):
        kept[mark.start() : mark.end()] = bytes(mark.end() - mark.start())
    words = []
    for found in re.finditer(r"\S+", text):
        first, last = found.start(), min(found.end(), found.start() + LONGEST_WORD, LONGEST_TEXT)
        spoken = "".join(text[at] for at in range(first, last) if kept[at])
        words.append(Word(found.group(), _spoken(spoken)))
    return words


def _spoken(word: str) -> str:
    """Return ``word`` without what has no sound, its letters in their plain forms."""
    # A fraction sign would grow together with the number before it: 5½ is not 51/2.
    apart = "".join(
        f" {letter}" if unicodedata.decomposition(letter).startswith("<fraction>") else letter
        for letter in word
        if unicodedata.category(letter) not in _UNSPOKEN - {"Mn"} or letter in _SPOKEN_SYMBOLS
    )
    plain = unicodedata.normalize("NFKC", apart)[: 2 * LONGEST_WORD].translate(_SEPARATORS)
    plain = "".join(str(unicodedata.digit(letter, letter)) for letter in plain)  # ٣ and ➂ too
    # What composes (é) has composed; a mark that is left over is decoration.
    plain = "".join(
        letter
        for letter in plain
        if unicodedata.category(letter) not in _UNSPOKEN or letter in _SPOKEN_SYMBOLS
    )
    # A number of ten digits is a telephone's or an account's: nobody says it in billions.
    plain = _LONG_NUMBER.sub(lambda digits: " ".join(digits.group().replace(",", "")), plain)
    if not any(letter.isalnum() for letter in plain) and len(plain) > 3:
        plain = plain[:3]  # "!!!!!!!!" and "--------" are one pause
    return " ".join(plain.split())
