"""Optional fields of a frame, read with a default."""

from __future__ import annotations

from typing import TypeVar

from msgspec import UnsetType

T = TypeVar("T")
D = TypeVar("D")


def given(value: T | UnsetType, default: D) -> T | D:
    """Return ``value``, or ``default`` when the field was not on the wire."""
    return default if isinstance(value, UnsetType) else value
