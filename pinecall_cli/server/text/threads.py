"""Conversations in writing that can be taken up again, each by the id of its thread.

A browser that comes back names its thread, and finds what was said. In memory: a server that
starts anew starts them anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pinecall_cli.server.dialogue.history import Message, copied

MOST = 1_000
"""Threads of one organisation that are kept; the one that rested longest goes first."""
MOST_BYTES = 64 * 1024
"""Of one thread, as JSON; older messages go first."""
LONGEST_ID = 200


@dataclass(frozen=True, slots=True)
class Thread:
    """Whose thread it is, and its id."""

    org: str
    agent: str
    """Slug."""
    id: str
    sealed: bool
    """Whether whoever holds the key chose the id. Ids that pages choose are another set: no page
    gets at a sealed thread by naming it."""


class Threads:
    """What was said in each thread."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: defaultdict[str, dict[Thread, list[Message]]] = defaultdict(dict)
        """By organisation; of each the one that rested longest first."""

    def history(self, thread: Thread) -> Sequence[Message]:
        """Return the messages of a thread; none for a new one."""
        return tuple(self._kept[thread.org].get(thread, ()))

    def keep(
        self,
        thread: Thread,
        history: Sequence[Mapping[str, Any]],
        known: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Put down what has been said in a thread by now.

        ``known`` is what the session found there, or put down last: only what it has added since
        is appended, for another tab of the same page may be in the thread too. A history that was
        replaced meanwhile replaces the thread.
        """
        kept = self._kept[thread.org]
        before = kept.pop(thread, None)  # None too where it had rested too long, and went
        if before is not None and list(history[: len(known)]) == list(known):
            history = [*before, *history[len(known) :]]
        kept[thread] = newest(history)
        if len(kept) > self._most:
            del kept[next(iter(kept))]


def thread_of(
    org: str, agent: str, metadata: Mapping[str, Any], asked: str | None
) -> Thread | None:
    """Return the thread that a session belongs to: the sealed one, else the one asked for."""
    sealed = metadata.get("threadId")
    id = sealed if isinstance(sealed, str) and sealed else asked
    if not id or len(id) > LONGEST_ID:
        return None
    return Thread(org, agent, id, sealed=id is sealed)


def newest(history: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Return copies of the newest messages, from a user's on, that fit into `MOST_BYTES`."""
    size, first = 0, len(history)
    for at in range(len(history) - 1, -1, -1):
        size += len(msgspec.json.encode(history[at]))
        if size > MOST_BYTES:
            break
        if history[at].get("role") == "user" or at == 0:
            first = at
    return [copied(message) for message in history[first:]]


def told(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return role and text of what people see of a conversation."""
    return [
        (message["role"], message["content"])
        for message in history
        if message.get("role") in ("user", "assistant")
        and isinstance(message.get("content"), str)
        and message["content"].strip()
    ]
