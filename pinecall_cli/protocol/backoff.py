"""How long to wait before each attempt to reconnect."""

from __future__ import annotations

from collections.abc import Callable, Iterator

INITIAL_S = 1.0
FACTOR = 2.0
CAP_S = 30.0
JITTER = 0.25


def backoff(
    random: Callable[[], float],
    *,
    initial: float = INITIAL_S,
    factor: float = FACTOR,
    cap: float = CAP_S,
    jitter: float = JITTER,
) -> Iterator[float]:
    """Yield the seconds to wait before attempt 1, 2, 3, … without end.

    ``random`` returns 0 to 1; up to ``jitter`` of a delay is added on top of it, so that the
    clients of a server that restarted do not all come back at once. Start anew once connected.
    """
    delay = min(initial, cap)
    while True:
        yield delay * (1 + jitter * random())
        delay = min(delay * factor, cap)
