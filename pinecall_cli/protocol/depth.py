"""How deep JSON from a stranger may be nested: what reads it further on may be recursive."""

from __future__ import annotations

from itertools import accumulate

DEEPEST = 64
"""Objects and arrays within one another; a tool's schema has some ten."""
ALL_ELSE = bytes(set(range(256)) - set(b"[]{}"))
STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def too_deep(raw: bytes) -> bool:
    """Tell whether JSON is nested deeper than `DEEPEST`; what is no JSON may get either answer.

    Nearly every frame is decided by the first line, in a microsecond; of 1 MiB that is made of
    brackets alone each is looked at, which takes some 50 ms.
    """
    if raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return False
    # Without what is escaped, every quotation mark opens or ends a string.
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(plain.split(b'"')[::2]).translate(None, ALL_ELSE)
    return max(accumulate(map(STEP.__getitem__, brackets)), default=0) > DEEPEST
