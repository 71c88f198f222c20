"""How a voice call comes to be and how it is held, whatever line it comes over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pinecall_cli.server.agents.outlet import Outlet
from pinecall_cli.server.agents.registry import Connection, RegisteredAgent
from pinecall_cli.server.dialogue.conversation import Conversation
from pinecall_cli.server.voice.details import CallDetails
from pinecall_cli.server.voice.line_part import LinePart
from pinecall_cli.server.voice.lines import Line
from pinecall_cli.server.voice.opening import Opening
from pinecall_cli.server.voice.recording import longest_of, recorded
from pinecall_cli.server.voice.session import VoiceSession

if TYPE_CHECKING:
    from pinecall_cli.server.app import VoiceServer


def language_of(config: Mapping[str, Any]) -> str:
    """Return the language that a call of this configuration begins in."""
    language = config.get("language")
    return language if isinstance(language, str) else "en"


def open_conversation(
    server: VoiceServer,
    agent: RegisteredAgent,
    outlet: Outlet,
    details: CallDetails,
    config: Mapping[str, Any],
) -> Conversation:
    """Return the history and prompt that a call begins with."""
    return Conversation(
        config=config,
        channel=details.transport,
        model=server.choose_model(config.get("llm")),
        emit=outlet.emit,
        now=partial(datetime.now, UTC),
        metadata=details.metadata,
        taken_over=lambda: agent.takeover.paused(details.call_id, details.contact),
    )


def open_session(
    server: VoiceServer,
    agent: RegisteredAgent,
    outlet: Outlet,
    details: CallDetails,
    config: Mapping[str, Any],
    *,
    conversation: Conversation | None = None,
    opening: Opening | None = None,
    opener: Connection | None = None,
) -> VoiceSession:
    """Return a call, ready to be held. One to a phone line begins with its extension window.

    Args:
        server: Whose engines and models serve it.
        agent: The agent or phone line that talks.
        outlet: Where its events leave.
        details: Who calls whom.
        config: The call's own configuration, layers merged.
        conversation: One that was begun while it rang.
        opening: What the agent says first in a call that it made.
        opener: Who had it made.
    """
    line = agent.line
    session = VoiceSession(
        details,
        agent=agent,
        config=config,
        conversation=conversation or open_conversation(server, agent, outlet, details, config),
        choose_model=server.choose_model,
        engines=server.engines,
        emit=outlet.emit,
        wall=server.wall,
        opening=opening,
        forward=lambda session, command: server.switchboard.forward(session, outlet, command),
        line_part=None if line is None else LinePart(line.extension_window_ms, server.wall),
    )
    session.opener = opener
    return session


async def hold(server: VoiceServer, session: VoiceSession, outlet: Outlet, line: Line) -> None:
    """Hold a call to its end, in real time: on the books, and recorded where that is asked for."""
    server.registry.opened(session)
    try:
        with ExitStack() as kept:

            def keep() -> None:
                """Record from now on, unless that has begun or nobody asks for it."""
                folder = server.recording_folder(session.config)
                if folder is None:
                    return
                session.on_hand_over = nothing
                asked_for = folder == server.recordings  # else every call is kept, and wholly
                recording = recorded(
                    folder,
                    session.call_id,
                    session.tape,
                    outlet.subscribe,
                    recordings=server.recordings,
                    longest_s=longest_of(session.config.get("media")) if asked_for else None,
                    failed=server.recording_failed,
                )
                kept.enter_context(recording)

            session.on_hand_over = keep
            keep()
            if not session.announced:
                # The caller is connected already, and may key in an extension.
                outlet.show(session.details.started())
            await session.run(line, paced())
    finally:
        server.registry.closed(session)


def nothing() -> None:
    """Do nothing."""


def paced() -> Callable[[int], Coroutine[Any, Any, None]]:
    """Return a pace in real time, from now on; a step that is late is not made up by a pause."""
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def wait(position_ms: int) -> None:
        await asyncio.sleep(max(0.0, begun + position_ms / 1000 - loop.time()))

    return wait
