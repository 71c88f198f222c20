"""How the benches count: percentiles, and one line of the table each bench prints."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that ``share`` percent of ``values`` do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * int(share) // 100) - 1)]


def row(name: str, values: Sequence[float], unit: str, note: str = "") -> str:
    """Return a line with the 50th and 95th percentile of ``values``."""
    if not values:
        return f"{name:<44} {'-':>9} {'-':>9} {unit:<6} n=0  {note}".rstrip()
    p50, p95 = percentile(values, 50), percentile(values, 95)
    digits = 0 if p50 >= 100 else 1 if p50 >= 10 else 2
    return (
        f"{name:<44} {p50:>9.{digits}f} {p95:>9.{digits}f} {unit:<6} n={len(values)}  {note}"
    ).rstrip()


def head(title: str) -> str:
    """Return the heading of a table of such lines."""
    return f"{title}\n{'':<44} {'p50':>9} {'p95':>9}"
