"""Keeps a call's conversation in its agent's `HistoryStore`, and brings back the earlier ones.

Saved at once when a call starts and when it ends, and 200 ms after what is said in between
(protocol: events.md §15). Nothing here holds up a call, and a store that fails does not end one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from pinecall_cli.agent.history import ConversationRecord, HistoryStore, Message
from pinecall_cli.protocol import commands
from pinecall_cli.protocol.frames import Event
from pinecall_cli.sdk.answers import RequestRejectedError
from pinecall_cli.sdk.call import SPEAKERS, Call, ask_history
from pinecall_cli.sdk.handlers import finish
from pinecall_cli.sdk.office import Office

DEBOUNCE_S = 0.2
CONVERSATIONS, MESSAGES = 5, 20
"""How much of the past comes back (protocol: README §12)."""
NOBODY = frozenset({"", "webrtc", "chat", "unknown", "anonymous"})
"""What a caller is called who does not say who they are: many people, who share no past."""
CHANGES = (
    "user.message",
    "message.confirmed",
    "llm.tool_call",
    "chat.message",
    "chat.response",
    "whatsapp.message",
    "whatsapp.response",
)
"""Events after which a conversation is longer."""


def keep(office: Office, call: Call) -> None:
    """Keep a call that has just started, if its agent has a history."""
    agent = office.agents.get(call.agent_id)
    if agent is not None and agent.history is not None:
        Keeper(office, call, agent.history).begin()


class Keeper:
    """One call and its record. Lives on the client's loop, as long as the call does."""

    def __init__(
        self,
        office: Office,
        call: Call,
        store: HistoryStore,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._office, self._call, self._store = office, call, store
        self._wall = wall
        self._started_at = wall()
        self._past: list[Message] = []
        """What of earlier conversations the model was given; it is no part of this one."""
        self._before: list[Message] = []
        """What was said in this call before its agent came back to it."""
        self._new = True
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._over = False

    def begin(self) -> None:
        """Hear what happens in the call, and begin to write it down."""
        for name in CHANGES:
            self._call.on(name, self._more)
        self._call.on("call.ended", self._ended)
        self._office.crew.spawn(self._run(), f"the history of call {self._call.id}")

    def _more(self, event: Event) -> None:
        if self._timer is None and not self._over:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(DEBOUNCE_S, self._due)

    def _due(self) -> None:
        self._timer = None
        self._changed.set()

    def _ended(self, event: Event) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._due()

    async def _run(self) -> None:
        """Save whenever there is something new, one after the other, until the end is saved."""
        crew, name = self._office.crew, f"the history store of {self._call.agent_id}"
        # Each step is a task of its own, whose failure is told, and is no end of the others.
        await crew.spawn(self._look_back(), name)
        if self._new and self._past:
            crew.spawn(self._restore(), name)
        while True:
            self._changed.clear()
            over = self._over
            await crew.spawn(finish(self._store.save(self.record())), name)
            if over:
                return
            await self._changed.wait()

    async def _look_back(self) -> None:
        """Find what was said with this contact before.

        A call that has a record already is one that went on while we were away: it is not new to
        its model, and its record goes on.
        """
        known = await self._store.get(self._call.id)
        if known is not None:
            self._started_at, self._new = known.started_at, False
            self._before = list(known.messages)
        contact = contact_of(self._call)
        if contact is not None:
            agent, limit = self._call.agent_id, CONVERSATIONS + 1
            records = await self._store.recent(agent, contact, limit=limit)
            self._past = past(records, self._call.id, self._started_at)

    async def _restore(self) -> None:
        """Give the model what was said before, and after it what has been said meanwhile.

        The request replaces all that the model knows of the conversation (events.md §4.1).
        """
        call = self._call
        messages = [*self._past, *call.messages]
        try:
            await ask_history(
                self._office, call.agent_id, call.id, commands.HistorySet, messages=messages
            )
        except RequestRejectedError:
            if not self._over:  # else there is nobody left to remember
                raise

    def record(self) -> ConversationRecord:
        """Return the conversation as it is now."""
        call = self._call
        messages = without(self._past, call.messages)
        if self._before and not starts_with(messages, self._before):
            messages = [*self._before, *messages]
        user = call.metadata.get("userId")
        return ConversationRecord(
            call_id=call.id,
            agent_id=call.agent_id,
            channel=call.transport,
            direction=call.direction,
            from_=user if isinstance(user, str) and user else call.from_,
            to=call.to,
            started_at=call.started_at or self._started_at,
            ended_at=(call.ended_at or self._wall()) if self._over else None,
            duration=call.duration,
            reason=call.reason,
            status=call.status,
            transcript=[m for m in messages if m.get("role") in SPEAKERS and m.get("content")],
            messages=messages,
            metadata=call.metadata,
        )


def contact_of(call: Call) -> str | None:
    """Return by whom a contact's earlier conversations are found; None for nobody in particular.

    Who calls or writes by telephone is known by the number. Of a web page only what was sealed
    into a chat's token counts: what a page says of itself in a call could be anybody's name
    (protocol: commands.md §7).
    """
    if call.transport == "chat":
        user = call.metadata.get("userId")
        return user if isinstance(user, str) and user else None
    return None if call.from_ in NOBODY else call.from_


def past(records: Sequence[ConversationRecord], call_id: str, before: float) -> list[Message]:
    """Return what was said in earlier conversations: the latest of it, oldest first."""
    earlier = [r for r in records if r.call_id != call_id and r.started_at <= before]
    said: list[Message] = [
        {"role": message["role"], "content": message["content"]}
        for record in reversed(earlier[:CONVERSATIONS])
        for message in record.messages
        if message.get("role") in SPEAKERS and message.get("content")
    ]
    return said[-MESSAGES:]


def without(past: Sequence[Message], messages: Sequence[Message]) -> list[Message]:
    """Return a conversation without the earlier ones that it was begun with."""
    if past and starts_with(messages, past):
        return list(messages[len(past) :])
    return list(messages)


def starts_with(messages: Sequence[Message], first: Sequence[Message]) -> bool:
    """Return whether a conversation begins with these messages."""

    def said(message: Message) -> tuple[Any, Any]:
        return message.get("role"), message.get("content")

    return [said(m) for m in messages[: len(first)]] == [said(m) for m in first]
