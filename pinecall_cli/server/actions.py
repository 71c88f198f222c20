"""What a caller does besides talking: the actions of a microphone or a page (sessions.md §3.1)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pinecall_cli.protocol import events, mic
from pinecall_cli.protocol.config import browser_overrides
from pinecall_cli.protocol.frames import Event, Unknown
from pinecall_cli.server.agents.registry import Refused
from pinecall_cli.server.agents.sessions import Session
from pinecall_cli.server.voice.keys import MOST_KEYS
from pinecall_cli.server.voice.session import VoiceSession

LONGEST_MESSAGE = 16_000
"""Characters of one message: whoever holds a token may be anybody, and models cost money."""
LONGEST_KEY = 200


def obey(
    text: str,
    call: Session | None,
    emit: Callable[[Event], None],
    *,
    phone: bool,
    longest: int = LONGEST_MESSAGE,
) -> None:
    """Do what a message of the caller's asks for; ``call`` may still ring.

    Args:
        text: The message.
        call: Their call.
        emit: Where its events leave.
        phone: Whether it is a phone call.
        longest: Characters that a typed text may have.

    Raises:
        Refused: If it cannot be done.
    """
    match mic.decode_mic(text):
        case mic.MicPing():
            pass
        case mic.Hangup():
            if call is not None:
                call.end("hangup")
        case Unknown(event=name, problem=problem):
            told = f"{name[:80] or 'a message'}: {problem or 'unknown'}"
            raise Refused("UNKNOWN_ACTION", told)
        case action if isinstance(call, VoiceSession):
            obey_in_call(action, call, emit, phone=phone, longest=longest)
        case _:
            pass  # the other side has not answered yet: nothing is there to be changed


def obey_in_call(
    action: mic.MicMessage,
    session: VoiceSession,
    emit: Callable[[Event], None],
    *,
    phone: bool,
    longest: int,
) -> None:
    """Do in a call what its caller asks for.

    Raises:
        Refused: If it cannot be done.
    """
    match action:
        case mic.Mute():
            session.mute(True)
        case mic.Unmute():
            session.mute(False)
        case mic.InjectText(text=said) if not 0 < len(said.strip()) <= longest:
            raise Refused("BAD_TEXT", f"a message has 1 to {longest} characters")
        case mic.InjectText(text=said):
            session.inject(said)
        case mic.SetContext(key=key) if not 0 < len(key) <= LONGEST_KEY:
            raise Refused("BAD_KEY", f"a `key` has 1 to {LONGEST_KEY} characters")
        case mic.SetContext(key=key, value=value):
            session.conversation.set_context(key, value)
        case mic.Configure():
            configure(action, session, emit)
        case mic.Dtmf() if not phone:
            raise Refused("NOT_PHONE", "keys can be pressed on phone calls only (`to`)")
        case mic.Dtmf(digits=digits) if len(digits) > MOST_KEYS:
            raise Refused("INVALID_DIGITS", f"at most {MOST_KEYS} keys can be pressed at once")
        case mic.Dtmf(digits=digits):
            session.pressed(digits)
        case _:
            name = type(action).__name__
            raise Refused("UNKNOWN_ACTION", f"{name} has no place in a call")


def configure(action: mic.Configure, session: VoiceSession, emit: Callable[[Event], None]) -> None:
    """Change of a call what its caller may change."""
    session.configure(browser_overrides(msgspec.to_builtins(action))[0])
    if isinstance(action.language, str):
        emit(events.CallUpdated(language=action.language))
