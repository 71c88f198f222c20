"""The client library: what an agent's code imports, and what the commands drive.

Here live the connection, registrations, live calls, and the REST side. Nothing here draws, parses
a command line or watches files; `socket` alone imports websockets, `rest` alone httpx. What this
module exports is the SDK's promise, entered through the package's root; the rest is internal.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    from pinecall_cli.agent.define import Agent, tool
    from pinecall_cli.agent.history import ConversationRecord, HistoryStore
    from pinecall_cli.agent.skill import Skill
    from pinecall_cli.agent.tools import Tool
    from pinecall_cli.errors import (
        AgentFileError,
        ConflictError,
        NotAuthorisedError,
        NotFoundError,
        PinecallError,
        ServerUnreachableError,
        UsageError,
    )
    from pinecall_cli.protocol import events
    from pinecall_cli.protocol.log import LogEntry
    from pinecall_cli.protocol.tokens import Token
    from pinecall_cli.sdk.answers import Answer, RequestRejectedError, RequestTimeoutError
    from pinecall_cli.sdk.audio import AudioError
    from pinecall_cli.sdk.call import Call, Said
    from pinecall_cli.sdk.client import Pinecall
    from pinecall_cli.sdk.dials import DialError
    from pinecall_cli.sdk.observe import CallLogStream, create_event_stream
    from pinecall_cli.sdk.reader import SlowReaderError
    from pinecall_cli.sdk.registration import CapacityError, RegistrationRefusedError
    from pinecall_cli.sdk.reply_stream import ReplyStream
    from pinecall_cli.sdk.ringing import RingingCall
    from pinecall_cli.sdk.signatures import verify_whatsapp_signature
    from pinecall_cli.sdk.spoken import Piece, Segment, SpeechAudio, Transcript, Voice, Word
    from pinecall_cli.sdk.sqlite_history import SqliteHistory
    from pinecall_cli.sdk.streamed import StreamEvent
    from pinecall_cli.sdk.streams import EventStream
    from pinecall_cli.sdk.token_endpoint import KeyExposedError
else:
    HOMES = {
        "Agent": "agent.define",
        "AgentFileError": "errors",
        "Answer": "sdk.answers",
        "AudioError": "sdk.audio",
        "Call": "sdk.call",
        "CallLogStream": "sdk.observe",
        "CapacityError": "sdk.registration",
        "ConflictError": "errors",
        "ConversationRecord": "agent.history",
        "DialError": "sdk.dials",
        "EventStream": "sdk.streams",
        "HistoryStore": "agent.history",
        "KeyExposedError": "sdk.token_endpoint",
        "LogEntry": "protocol.log",
        "NotAuthorisedError": "errors",
        "NotFoundError": "errors",
        "Piece": "sdk.spoken",
        "Pinecall": "sdk.client",
        "PinecallError": "errors",
        "RegistrationRefusedError": "sdk.registration",
        "ReplyStream": "sdk.reply_stream",
        "RequestRejectedError": "sdk.answers",
        "RequestTimeoutError": "sdk.answers",
        "RingingCall": "sdk.ringing",
        "Said": "sdk.call",
        "Segment": "sdk.spoken",
        "ServerUnreachableError": "errors",
        "Skill": "agent.skill",
        "SlowReaderError": "sdk.reader",
        "SpeechAudio": "sdk.spoken",
        "SqliteHistory": "sdk.sqlite_history",
        "StreamEvent": "sdk.streamed",
        "Token": "protocol.tokens",
        "Tool": "agent.tools",
        "Transcript": "sdk.spoken",
        "UsageError": "errors",
        "Voice": "sdk.spoken",
        "Word": "sdk.spoken",
        "create_event_stream": "sdk.observe",
        "events": "protocol.events",
        "tool": "agent.define",
        "verify_whatsapp_signature": "sdk.signatures",
    }

    def __getattr__(name: str) -> Any:
        """Load what is asked for: a command that lists agents needs no agent's code (90 ms)."""
        if name in HOMES:
            home = import_module(f"pinecall_cli.{HOMES[name]}")
            return home if HOMES[name].endswith(f".{name}") else getattr(home, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
