"""Sessions as the views are given them."""

from __future__ import annotations

from collections.abc import Iterable

from pinecall_cli.call.records import AgentEntry, DevReady, Record
from pinecall_cli.call.session import AgentState, SessionState, advance
from pinecall_cli.protocol.frames import Received
from tests.call.conversations import START

Happened = Received | Record

READY = DevReady(
    at=START,
    agents=(
        AgentEntry(agent="front-desk", file="agents/front_desk.yaml", phones=("+13186330963",)),
    ),
    server="http://127.0.0.1:43211",
    local=True,
)


def after(happened: Iterable[Happened], session: SessionState | None = None) -> SessionState:
    """Return the session after ``happened``, begun with one agent."""
    session = session or SessionState(agents=(AgentState(slug="front-desk"),))
    for one in happened:
        session = step(session, one)
    return session


def step(session: SessionState, one: Happened) -> SessionState:
    """Return the session after one thing."""
    return advance(session, one.frame if isinstance(one, Received) else one)
