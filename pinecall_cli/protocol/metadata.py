"""What a token seals about a caller: one JSON object, said by whoever holds the key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LARGEST = 2_048
"""Bytes of its JSON text in UTF-8 (protocol: rest.md §2.3)."""


def sealed_text(metadata: Mapping[str, Any]) -> str:
    """Return metadata as it is sent: as short as JSON can be.

    Raises:
        ValueError: If it is more than `LARGEST`, or cannot be written as JSON in UTF-8.
    """
    text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    size = len(text.encode())
    if size > LARGEST:
        raise ValueError(f"it is {size:,} bytes as JSON, and {LARGEST:,} can be sealed")
    return text
