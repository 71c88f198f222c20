"""Where a call's events leave: stamped once, then to the owner, to listeners, to the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import structs

from pinecall_cli.protocol import codec
from pinecall_cli.protocol.frames import Event
from pinecall_cli.server.log.translate import Entry, Translator

if TYPE_CHECKING:
    from pinecall_cli.server.agents.registry import RegisteredAgent


class Stamps:
    """The one counter of a server: sequence numbers and times of everything it sends.

    ``seq`` rises with every stamp and is the clock in microseconds wherever that is ahead. So a
    call log that several servers write, or one server over many runs, rises too, without any of
    them asking the others. (Milliseconds would not do: a burst of words stamps more than one in
    each, runs ahead of the clock for minutes, and the entries of a server beside it would come
    behind every reader's cursor. Microseconds fit a JSON number until the year 2255.)
    """

    def __init__(self, *, wall: Callable[[], float] = time.time, after: int = 0) -> None:
        self._wall = wall
        self._last = after

    def next(self) -> tuple[int, float]:
        """Return the next ``seq`` and ``ts`` (epoch seconds)."""
        ts = self._wall()
        self._last = max(self._last + 1, int(ts * 1_000_000))
        return self._last, ts

    def horizon(self) -> int:
        """Return a number between all that were given out and all that will be.

        Other servers may write to the same log; what they have written beyond it must not move
        a reader's cursor past entries of ours that are still to come.
        """
        self._last = max(self._last, int(self._wall() * 1_000_000))
        return self._last


class Log(Protocol):
    """What an outlet writes to: the journal."""

    def append(self, entry: Entry) -> None:
        """Take an entry; never waits."""
        ...


class Outlet:
    """The one way out for a call's events.

    An event is stamped, encoded once, and that text goes to the agent's owner (if one is
    connected) and to every subscriber; translated, it goes to the call log. After the call's
    last event nothing passes any more, whoever still emits.
    """

    def __init__(self, *, agent: RegisteredAgent, call_id: str, stamps: Stamps, log: Log) -> None:
        self.agent = agent
        self.call_id = call_id
        self.closed = False
        """True after the call's last event."""
        self._stamps = stamps
        self._log = log
        self._translator = Translator(call=call_id, agent=agent.slug, org=agent.org.id)
        self._subscribers: list[Callable[[str], None]] = []

    def emit(self, event: Event) -> None:
        """Send an event of this call to everyone who is to know it."""
        if self.closed:
            return
        stamped, seq, ts = self._stamped(event, self.agent)
        entries = self._translator.entries(stamped, seq=seq, ts=ts, stamps=self._stamps.next)
        self.closed = self._translator.over
        text = codec.encode(stamped)
        post(self.agent, text)
        self._pass_on(text)
        for entry in entries:
            self._log.append(entry)

    def hand_over(self, agent: RegisteredAgent) -> None:
        """Let the call be another owner's: what is emitted from now on is theirs."""
        self.agent = agent
        self._translator.agent = agent.slug

    def emit_for(self, owner: RegisteredAgent, event: Event, *, shown: bool) -> None:
        """Send an event to an owner who has handed the call over; it leaves no trace in the log.

        ``shown`` says whether those who follow the call see it too.
        """
        text = codec.encode(self._stamped(event, owner)[0])
        post(owner, text)
        if shown:
            self._pass_on(text)

    def show(self, event: Event) -> None:
        """Send an event to those who follow the call, and not yet to its owner."""
        self._pass_on(codec.encode(self._stamped(event, self.agent)[0]))

    def _stamped(self, event: Event, owner: RegisteredAgent) -> tuple[Event, int, float]:
        seq, ts = self._stamps.next()
        stamped = structs.replace(
            event,
            agent_id=owner.slug,
            call_id=self.call_id,
            session_id=self.call_id,
            seq=seq,
            ts=ts,
        )
        return stamped, seq, ts

    def _pass_on(self, text: str) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber(text)

    def note(self, type: str, data: Mapping[str, Any]) -> None:
        """Put a fact into the call log that is no event of the agent's owner."""
        if self.closed:
            return
        seq, ts = self._stamps.next()
        agent = self.agent
        self._log.append(Entry(seq, ts, self.call_id, agent.slug, agent.org.id, type, data))

    def subscribe(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Hand every later frame to ``callback``, as its text; returns how to stop that.

        The callback runs on the server's loop and must not wait.
        """
        self._subscribers.append(callback)

        def stop() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return stop


def post(owner: RegisteredAgent, text: str) -> None:
    """Send a frame to an owner, if they are connected."""
    if owner.connection is not None:
        owner.connection.post(text)
