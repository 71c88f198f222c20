"""pinecall: the terminal of the voice-agent developer, and the SDK that agents import.

The command line lives in `app` and `commands`; what agents import (`Agent`, `Call`, `tool`)
is entered through this module and loaded only when touched, so that starting the program
stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Agent",
    "AgentFileError",
    "Answer",
    "AudioError",
    "Call",
    "CallLogStream",
    "CapacityError",
    "ConflictError",
    "ConversationRecord",
    "DialError",
    "EventStream",
    "HistoryStore",
    "KeyExposedError",
    "LogEntry",
    "NotAuthorisedError",
    "NotFoundError",
    "Piece",
    "Pinecall",
    "PinecallError",
    "RegistrationRefusedError",
    "ReplyStream",
    "RequestRejectedError",
    "RequestTimeoutError",
    "RingingCall",
    "Said",
    "Segment",
    "ServerUnreachableError",
    "Skill",
    "SlowReaderError",
    "SpeechAudio",
    "SqliteHistory",
    "StreamEvent",
    "Token",
    "Tool",
    "Transcript",
    "UsageError",
    "Voice",
    "Word",
    "create_event_stream",
    "events",
    "tool",
    "verify_whatsapp_signature",
]

if TYPE_CHECKING:
    from pinecall_cli.sdk import (
        Agent,
        AgentFileError,
        Answer,
        AudioError,
        Call,
        CallLogStream,
        CapacityError,
        ConflictError,
        ConversationRecord,
        DialError,
        EventStream,
        HistoryStore,
        KeyExposedError,
        LogEntry,
        NotAuthorisedError,
        NotFoundError,
        Piece,
        Pinecall,
        PinecallError,
        RegistrationRefusedError,
        ReplyStream,
        RequestRejectedError,
        RequestTimeoutError,
        RingingCall,
        Said,
        Segment,
        ServerUnreachableError,
        Skill,
        SlowReaderError,
        SpeechAudio,
        SqliteHistory,
        StreamEvent,
        Token,
        Tool,
        Transcript,
        UsageError,
        Voice,
        Word,
        create_event_stream,
        events,
        tool,
        verify_whatsapp_signature,
    )
else:

    def __getattr__(name: str) -> Any:
        """Load the SDK when one of its names is first asked for."""
        if name in __all__:
            return getattr(import_module("pinecall_cli.sdk"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
