"""How many voice calls a server holds: each has its place from when it is let in to its end."""

from __future__ import annotations

from collections.abc import Callable

from pinecall_cli.server.agents.registry import Connection, Refused


class Places:
    """The places of a server's voice calls. Taken at once, so that a burst finds no more."""

    def __init__(self, *, calls: int, per_connection: int) -> None:
        """There are ``calls`` all together; one connection has ``per_connection`` calls made."""
        self._calls, self._per_connection = calls, per_connection
        self._taken: dict[object, tuple[int, Connection | None]] = {}
        """How many, and for whom."""

    def take(self, opener: Connection | None = None, *, sides: int = 1) -> Callable[[], None]:
        """Take a place for a call that is to begin; returns how to give it back, once or twice.

        Args:
            opener: Who has the call made, if a connection does.
            sides: How many agents of ours talk in it; each needs a place.

        Raises:
            Refused: If there is none left.
        """
        made = sum(by is opener for _, by in self._taken.values())
        if opener is not None and made >= self._per_connection:
            raise Refused("TOO_MANY_CALLS", f"this connection has {made} calls already")
        held = sum(many for many, _ in self._taken.values())
        if held + sides > self._calls:
            raise Refused("SERVER_AT_CAPACITY", f"{held} calls are held already")
        place = object()
        self._taken[place] = sides, opener

        def leave() -> None:
            self._taken.pop(place, None)

        return leave
