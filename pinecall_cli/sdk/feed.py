"""The events of one client's calls, for those who stream them; costs nothing while nobody does."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event, Unknown
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.reader import Reader
from pinecall_cli.sdk.streamed import StreamEvent, told

if TYPE_CHECKING:
    from pinecall_cli.sdk.client import Pinecall

STARTS = (events.CallStarted, events.LlmChatStarted, events.WhatsappSessionStarted)
SHORTEST_KEY = 8
"""Characters; what is shorter is no key, but may well be a word."""


class Feed:
    """Hands each event to its readers, once it is made; holds none of them alive.

    Args:
        client: Whose calls they are.
        secret: Returns the key, which no page must see.
    """

    def __init__(self, client: Pinecall, secret: Callable[[], str]) -> None:
        self._client = client
        self._secret = secret
        self._readers: tuple[weakref.ref[Reader], ...] = ()
        self._joining = threading.Lock()
        self._known: set[str] = set()
        """Calls whose start was told, or was before our time."""
        self._hear: Callable[..., None] = self._heard  # one object, so that it can be taken off

    def join(self, wants: Callable[[StreamEvent], bool]) -> Reader:
        """Return a new reader, who hears what happens from now on."""
        reader = Reader(wants)
        with self._joining:
            if not self._readers:
                self._known = {call.id for call in self._client.calls()}
                self._client.on("*", self._hear)
            self._readers = (*self._readers, weakref.ref(reader))
        return reader

    def leave(self, reader: Reader | None = None) -> None:
        """Forget a reader, and those that are gone by themselves."""
        with self._joining:
            there = self._readers
            self._readers = tuple(ref for ref in there if ref() not in (None, reader))
            if there and not self._readers:
                self._client.off("*", self._hear)

    def end(self) -> None:
        """Let all readers come to their end: the client has disconnected."""
        for ref in self._readers:
            if (reader := ref()) is not None:
                reader.end()

    def _heard(self, event: Event | Unknown, call: Call | None = None) -> None:
        if isinstance(event, Unknown):
            return
        agent = call.agent_id if call is not None else self._client.local_id(event.agent_id)
        if agent is None:
            return
        if call is not None and self._made_up(event, call):
            # It has begun by this event, which comes again under its own name.
            event = events.CallStarted(from_=call.from_, to=call.to)
            if call.transport == "chat":
                return
        secret = self._secret()
        streamed = told(event, call, agent, secret if len(secret) >= SHORTEST_KEY else "")
        if streamed is None:
            return
        gone = False
        for ref in self._readers:
            reader = ref()
            if reader is None:
                gone = True
            elif reader.wants(streamed):
                reader.put(streamed)
        if gone:
            self.leave()

    def _made_up(self, event: Event, call: Call) -> bool:
        """Return whether an event stands for the start of a call that was not announced."""
        known = call.id in self._known
        if call.status == "ended":
            self._known.discard(call.id)
            return False
        self._known.add(call.id)
        return not known and not isinstance(event, STARTS)
