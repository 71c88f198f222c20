"""The head of a session: which agents, from which files, on which server."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from pinecall_cli.call.session import AgentState, SessionState
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.rows import Row

STATES = {
    "starting": ("○", "yellow", "starting"),
    "registered": ("●", "green", ""),
    "conflict": ("✗", "red", "name is taken"),
    "error": ("✗", "red", "refused"),
    "removed": ("○", "yellow", "removed"),
}
"""Glyph, style and word of how an agent stands."""


def header_rows(session: SessionState, ink: Ink) -> list[Row]:
    """Return one row per agent and one for the server."""
    width = max((cell_len(agent.slug) for agent in session.agents), default=0)
    rows = [_agent(agent, min(width, 24), ink) for agent in session.agents]
    kind = "local " if session.joined else "embedded "
    where = f"{kind if session.local else ''}server"
    body = Text.assemble((f"{where} ", "dim"), ink.safe(session.server))
    return [*rows, Row(ink.text(("· ", "dim")), body)]


def _agent(agent: AgentState, width: int, ink: Ink) -> Row:
    glyph, style, word = STATES[agent.state]
    slug = ink.safe(agent.slug)
    body = Text.assemble((slug + " " * (width - cell_len(slug)), "bold"))
    phones = ", ".join(ink.safe(phone) for phone in agent.phones) or "no phone"
    for part in (ink.safe(agent.file), phones):
        if part:
            body.append(f"  {part}", "dim")
    if word:
        body.append(f"  {word}", style)
    if agent.detail:
        body.append(f": {ink.safe(agent.detail)}", style)
    return Row(ink.text((f"{glyph} ", style)), body)
