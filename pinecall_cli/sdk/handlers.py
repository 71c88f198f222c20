"""Who wants to hear of what: handlers by event name, each kept apart from the others' faults."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast, overload

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)


class Handlers:
    """The handlers of one object; sync or async, called in the order in which they came."""

    def __init__(self) -> None:
        self._by_event: dict[str, list[tuple[Handler, bool]]] = {}

    @overload
    def on(self, event: str) -> Callable[[H], H]: ...
    @overload
    def on(self, event: str, handler: H) -> H: ...
    def on(self, event: str, handler: H | None = None) -> H | Callable[[H], H]:
        """Call ``handler`` at every ``event``; without a handler, a decorator."""
        return self._add(event, handler, once=False)

    @overload
    def once(self, event: str) -> Callable[[H], H]: ...
    @overload
    def once(self, event: str, handler: H) -> H: ...
    def once(self, event: str, handler: H | None = None) -> H | Callable[[H], H]:
        """Call ``handler`` at the next ``event`` alone; without a handler, a decorator."""
        return self._add(event, handler, once=True)

    def off(self, event: str, handler: Handler | None = None) -> None:
        """Forget ``handler``, or every handler of ``event``; nothing happens if there is none."""
        kept = [] if handler is None else self._by_event.get(event, [])
        self._by_event[event] = [entry for entry in kept if entry[0] is not handler]

    def take(self, event: str) -> tuple[Handler, ...]:
        """Return the handlers to call for one occurrence; those of `once` are then forgotten."""
        entries = self._by_event.get(event)
        if not entries:
            return ()
        self._by_event[event] = [entry for entry in entries if not entry[1]]
        return tuple(handler for handler, _ in entries)

    def _add(self, event: str, handler: H | None, *, once: bool) -> H | Callable[[H], H]:
        def add(handler: H) -> H:
            self._by_event.setdefault(event, []).append((handler, once))
            return handler

        return add if handler is None else add(handler)


def begin(handler: Handler, *args: object) -> Coroutine[Any, Any, Any] | None:
    """Call a handler; return what is left to await, if it is async. What it raises comes out."""
    result = handler(*args)
    if result is None:  # by far the most: what follows would take longer than the handler
        return None
    if not inspect.isawaitable(result):
        return None
    if inspect.iscoroutine(result):
        return cast("Coroutine[Any, Any, Any]", result)
    return finish(result)


async def finish(result: Awaitable[Any]) -> Any:
    """Await anything awaitable, as a coroutine that a task can be made of."""
    return await result
