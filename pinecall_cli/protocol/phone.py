"""Telephone numbers: E.164, or a ``sip:`` URI taken as it stands."""

from __future__ import annotations

import re

from pinecall_cli.protocol.refusal import ConfigRefused

DECORATION = re.compile(r"[\s\-()]+")
E164 = re.compile(r"\+[0-9]{7,15}")


def is_sip(text: str) -> bool:
    """Return whether a reference is a SIP URI."""
    return text.strip().lower().startswith("sip:")


def normalise_number(text: str) -> str:
    """Return a number as E.164: spaces, dashes and parentheses out, ``+`` in front.

    Raises:
        ConfigRefused: If what remains is not ``+`` and 7 to 15 digits.
    """
    stripped = text.strip()
    if is_sip(stripped):
        return stripped
    bare = DECORATION.sub("", stripped)
    number = bare if bare.startswith("+") else f"+{bare}"
    if not E164.fullmatch(number):
        raise ConfigRefused(
            "invalid_number",
            f"`{text}` is no telephone number",
            "write it as + and 7 to 15 digits, such as +14155550100, or as a sip: URI",
        )
    return number


def is_number(text: str) -> bool:
    """Return whether ``text`` is a number that can be called, or a SIP URI."""
    try:
        normalise_number(text)
    except ConfigRefused:
        return False
    return True


def looks_like_number(text: str) -> bool:
    """Return whether somebody who wrote this meant a telephone number, a right one or a wrong.

    Agents' names are lower case, so capital letters among digits are a number spelled in letters.
    """
    text = text.strip()
    if re.match(r"\+|sips?:|tel:", text, re.IGNORECASE):
        return True
    digits = sum(char.isdigit() for char in text)
    return digits >= 2 and re.fullmatch(r"[\d(][\d\s().\-/A-Z]*", text) is not None
