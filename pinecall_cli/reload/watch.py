"""Sees files change: an agent's files, wherever they lie, however an editor saves them.

Folders are watched, not files: a watch on a file is lost at the first save by rename. What
counts as a change is the file's own stamp, so events that come twice, for neighbours, or for a
save that changed nothing are not passed on; and a change that no event told of (the moment in
which a new folder is not watched yet) is found at the next look, a second later at most.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from watchfiles import awatch

STEP_MS = 15
"""Quiet that ends a batch of events; the save-to-applied goal is 120 ms."""
DEBOUNCE_MS = 60
"""The longest a batch is collected while events keep coming."""
LOOK_MS = 1_000
"""How often the stamps are compared without an event."""
POLL_MS = 200

Stamp = tuple[int, int, int, int] | None


def stamp(path: Path) -> Stamp:
    """Return what changes when a file is written, replaced or removed; None if it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


def folders(files: Iterable[Path]) -> frozenset[Path]:
    """Return the folders to watch: each file's, its target's if it is a link, or the nearest."""
    found = set()
    for file in files:
        for path in (file, file.resolve()):
            folder = path.parent
            while not folder.is_dir() and folder != folder.parent:
                folder = folder.parent
            found.add(folder)
    return frozenset(found)


async def watch(
    files: Callable[[], frozenset[Path]], *, poll: bool = False
) -> AsyncIterator[frozenset[Path]]:
    """Yield those of ``files()`` that were written, replaced, removed or came back.

    ``files`` is asked again after each batch: a reload may name new files. ``poll`` is for
    network and container mounts, which send no events.
    """
    seen = {file: stamp(file) for file in files()}
    while True:
        watched = folders(files())
        async for _ in awatch(
            *watched,
            recursive=False,
            step=STEP_MS,
            debounce=DEBOUNCE_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            force_polling=True if poll else None,
            poll_delay_ms=POLL_MS,
            watch_filter=None,
            ignore_permission_denied=True,
        ):
            now = {file: stamp(file) for file in files()}
            changed = frozenset(file for file in now if file in seen and seen[file] != now[file])
            seen = now
            if changed:
                yield changed
                # Files that the reload brought in: known from now on, not from the next event.
                seen = {file: stamp(file) for file in files() if file not in seen} | seen
            if folders(files()) != watched:
                break
