"""What a server in this process holds on to: objects of ours, tables, tasks, timers, threads."""

from __future__ import annotations

import asyncio
import gc
import threading
import types
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

OURS = "pinecall_cli."
DEEPEST = 8
"""Objects between the server and a table."""


def held(root: object) -> Counter[str]:
    """Return how many there are of everything that must not pile up, once garbage is collected.

    ``objects …`` counts what the collector sees of each of our types, ``table …`` the entries of
    each container that is found from ``root`` on by way of attributes of our objects.
    """
    gc.collect()
    count: Counter[str] = Counter()
    for one in gc.get_objects():
        kind = type(one)
        if is_ours(kind):
            count[f"objects {kind.__module__.removeprefix(OURS)}.{kind.__name__}"] += 1
        elif isinstance(one, types.FunctionType) and str(one.__module__).startswith(OURS):
            count["functions"] += 1  # closures that something keeps
    loop = asyncio.get_running_loop()
    count["tasks"] = len(asyncio.all_tasks(loop))
    timers = getattr(loop, "_scheduled", ())
    count["timers"] = sum(not timer.cancelled() for timer in timers)
    names = (thread.name for thread in threading.enumerate())
    # asyncio's pool grows to a bound of its own, when name look-ups overlap.
    count["threads"] = sum(not name.startswith("asyncio_") for name in names)
    for path, size in tables(root):
        count[f"table {path}"] += size
    return count


def tables(root: object) -> Iterator[tuple[str, int]]:
    """Yield path and size of each container that objects of ours hold, from ``root`` on.

    Objects in a container are looked at too; their containers share a path, ``calls[].tasks``.
    """
    seen: set[int] = set()
    todo: deque[tuple[str, object, int]] = deque([("", root, 0)])
    while todo:
        path, one, depth = todo.popleft()
        if id(one) in seen or depth > DEEPEST:
            continue
        seen.add(id(one))
        if is_ours(type(one)):
            for name, value in attributes(one).items():
                todo.append((f"{path}.{name}".lstrip("."), value, depth + 1))
        if isinstance(one, Sized) and not isinstance(one, str | bytes):
            yield path, len(one)
        inside: Iterable[object] = ()
        if isinstance(one, Mapping):
            inside = one.values()
        elif isinstance(one, list | tuple | set | frozenset | deque):
            inside = one
        todo.extend((f"{path}[]", item, depth + 1) for item in inside if is_ours(type(item)))


def is_ours(kind: type) -> bool:
    """Tell whether a type is one of this package."""
    module = kind.__module__  # of some built-in types it is a descriptor
    return isinstance(module, str) and module.startswith(OURS)


def attributes(one: object) -> dict[str, Any]:
    """Return the attributes of an object, those in slots too."""
    found: dict[str, Any] = dict(getattr(one, "__dict__", {}))
    for kind in type(one).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(one, name):
                found[name] = getattr(one, name)
    return found


def grown(before: Mapping[str, int], after: Mapping[str, int], least: int) -> dict[str, int]:
    """Return what there are ``least`` more of, or more still, and how many more."""
    more = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: by for name, by in more.items() if by >= least}
