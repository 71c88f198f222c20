"""The paragraphs of the protocol's pages, and how a test says which one it holds.

    @holds("commands", "6.3")
    async def test_cancel_ends_what_is_said(): ...

`python -m tests.conformance.paragraphs` prints each paragraph with the tests that hold it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@dataclass(frozen=True)
class NotOurs:
    """A paragraph that asks nothing of a server."""

    title: str
    why: str


PAGES: dict[str, dict[str, str | NotOurs]] = {
    "README": {
        "0": NotOurs("Index", "an index"),
        "0.1": NotOurs("Sources and how to read the tags", "how the page is read"),
        "1": "Frame conventions",
        "1.1": "Fields that are camelCase on purpose",
        "1.2": "Fields the server stamps on everything it sends",
        "2": NotOurs("Identifiers", "a heading: its parts follow"),
        "2.1": "Shapes",
        "2.2": "Agent ids, compound ids, slugs",
        "3": NotOurs("URLs", "a heading: its parts follow"),
        "3.1": "Base URL derivation",
        "3.2": NotOurs(
            "Environment variables read by the library itself", "the client's environment"
        ),
        "4": "Handshake",
        "4.1": "Authentication failure",
        "4.2": "Legacy registration",
        "5": "Heartbeat",
        "6": "Closing",
        "7": "Reconnection",
        "8": "Agent registration lifecycle",
        "8.1": "Messages",
        "8.2": "Readiness",
        "8.3": "Registration errors",
        "8.4": "Removal, displacement, kick",
        "9": "Conflict handling and retry budget",
        "10": "Capacity",
        "11": NotOurs(
            "Where docs and source disagree (follow the bold column)",
            "each row is held where its subject is",
        ),
        "12": NotOurs("Numbers at a glance", "each figure is held where its subject is"),
        "13": NotOurs(
            "Behaviours confirmed by running SDK 0.14.0 against a stub server", "what a client does"
        ),
    },
    "commands": {
        "0": "General rules",
        "0.1": NotOurs("Master list", "an index"),
        "1": "connect",
        "2": "ping, pong",
        "3": NotOurs("Agents", "a heading: its parts follow"),
        "3.1": "agent.create",
        "3.2": "agent.configure",
        "3.3": "agent.resume",
        "4": NotOurs("Channels", "a heading: its parts follow"),
        "4.1": "channel.add",
        "4.2": "channel.configure",
        "4.3": "channel.remove",
        "4.4": "dev.config",
        "5": NotOurs("Session configuration", "a heading: its parts follow"),
        "5.1": "session.configure — two variants",
        "6": NotOurs("Speaking", "a heading: its parts follow"),
        "6.1": "bot.reply",
        "6.2": "bot.reply.stream",
        "6.3": "bot.cancel, bot.clear",
        "7": "History, prompt, variables, context",
        "8": NotOurs("Tools, skills, LLM control", "a heading: its parts follow"),
        "8.1": "llm.tool_result",
        "8.2": "skill.load, skill.unload",
        "8.3": "llm.ready",
        "8.4": "llm.chat",
        "9": "Call control",
        "9.1": "call.accept, call.reject",
        "9.2": "call.dial",
        "9.3": "call.bridge",
        "10": "Human takeover",
        "11": NotOurs("Phone lines", "a heading: its parts follow"),
        "11.1": "line.create",
        "11.2": "line.destroy",
        "11.3": "call.route",
        "11.4": "set_context",
        "12": "Legacy frames",
    },
    "events": {
        "1": "Envelope",
        "2": NotOurs(
            "Routing in the client (what the server must include)",
            "how a client finds a handler; what that asks for is held below",
        ),
        "2.1": "Requirements per family",
        "2.2": "Lines",
        "2.3": "Fallback (unknown or unmatched events)",
        "2.4": NotOurs("Proxying call → agent → client", "how a client hands events on"),
        "3": "Connection, registration, errors",
        "4": NotOurs("Call lifecycle", "a heading; its parts are held below"),
        "4.1": "call.started",
        "4.2": "call.ended",
        "4.3": "call.dialing",
        "4.4": "call.error",
        "4.5": "call.ringing, call.rejected",
        "4.6": "call.updated",
        "4.7": "call.forwarded, call.dtmf_sent, call.dtmf_received",
        "4.8": "call.held, call.unheld, call.muted, call.unmuted",
        "4.9": "End reasons",
        "4.10": "call.recording",
        "5": "Speech and transcripts",
        "6": "Turns",
        "7": NotOurs("Bot speech", "a heading; its parts are held below"),
        "7.1": "bot.speaking",
        "7.2": "bot.word",
        "7.3": "bot.finished",
        "7.4": "bot.interrupted",
        "7.5": "Barge-in rule and barge_in",
        "7.6": "message.confirmed, message.aborted, reply.rejected",
        "7.7": "audio.metrics",
        "7.8": "turn.latency (ours: other clients meet it in their Fallback)",
        "8": "Ordering guarantees to respect",
        "9": NotOurs("LLM, tools, skills, memory, barrier", "a heading; its parts are held below"),
        "9.1": "llm.tool_call  (SDK: llm.toolCall)",
        "9.2": "llm.before , llm.preparing_timeout",
        "9.3": "skill.loaded, skill.unloaded",
        "9.4": "memory.ops",
        "9.5": "Other llm.*",
        "10": NotOurs("Chat", "a heading; its parts are held below"),
        "10.1": "Agent-owner family",
        "10.2": "Sender family (answers to an llm.chat command; sdk/src/api/chat-client.ts)",
        "11": "Phone lines",
        "12": "Session limits, takeover, acks",
        "13": "WhatsApp",
        "14": "History acks",
        "15": NotOurs(
            "Per-call state the client derives (for tests of our own client)",
            "what a client derives",
        ),
    },
    "sessions": {
        "1": "Browser chat socket",
        "1.1": "Connection",
        "1.2": "Server → browser",
        "1.3": "Browser → server",
        "1.4": "Mirror to the agent process",
        "2": "WebRTC voice negotiation",
        "3": "The events data channel",
        "3.1": "Browser → server",
        "3.2": "Server → browser",
        "3.3": "Language switch",
        "3.4": "Where browser events come from",
        "3.5": "Context injection format",
        "4": "Live listening",
        "5": "Event streams towards the developer's own browsers (in-process)",
        "5.1": NotOurs("SSE", "in the application's process: tests/sdk"),
        "5.2": NotOurs("Call SSE (call.streamSSE)", "in the application's process: tests/sdk"),
        "5.3": NotOurs(
            "Agent WebSocket (agent.ws(socket))", "in the application's process: tests/sdk"
        ),
        "5.4": "Event-stream client",
        "6": "The call log",
        "7": "Streaming transcription socket",
        "7.1": 'Dictation socket ("scribe")',
        "7.2": "Microphone socket (ours; the hosted server has none)",
        "8": "WhatsApp webhook",
    },
    "rest": {
        "1": "Endpoint list",
        "1.1": "Voice server",
        "1.2": "Management API (relative to /api)",
        "2": "Tokens",
        "2.1": "Request",
        "2.2": "Response",
        "2.3": "Properties and allowedOrigins",
        "3": "/api/sdk/*",
        "3.1": "GET /api/sdk/agents → 200",
        "3.2": "DELETE /api/sdk/agents/{slug}",
        "3.3": "GET /api/sdk/agent-info/{agent} (public)",
        "3.4": "GET /api/sdk/phone-numbers",
        "3.5": "GET /api/sdk/voices?provider=<p>&language=<code> (public)",
        "3.6": "GET /api/sdk/voice-preview?provider&voice&lang",
        "3.7": "GET /api/sdk/twilio-balance",
        "4": "Memory",
        "5": "Audio API",
        "5.1": "POST /v1/audio/speech",
        "5.2": "GET /v1/audio/voices?provider&language",
        "5.3": "POST /v1/audio/transcriptions",
        "5.4": "Streaming transcription",
        "6": "Call log (HTTP part)",
        "7": "Knowledge (management API)",
        "8": "Models, rates, credentials",
        "9": "Account endpoints (as read by the CLI)",
        "10": "Rest-adjacent checks",
    },
    "config": {
        "1": "Layers and precedence",
        "2": "The payload: SDK key → wire key",
        "3": "Shortcut grammars",
        "3.1": "STT",
        "3.2": "Voice (TTS)",
        "3.3": "LLM",
        "4": "Turn detection and VAD are derived, never configured",
        "4.1": "Interruption (barge-in)",
        "5": "Greeting",
        "6": "Tools",
        "7": "Skills",
        "8": "Prompt composition",
        "9": "Knowledge base, memory, media",
        "10": "The nested config object (SessionConfig)",
        "11": "Pre-turn barrier (preparing)",
        "12": "Channels",
        "12.1": "Phone",
        "12.2": "WhatsApp",
        "12.3": "WebRTC and chat",
        "12.4": "What a browser may override",
        "12.5": "allowed_origins grammar",
        "13": "Line config",
        "14": "Hot reload matrix",
    },
    "flows": {
        "1": "Boot and registration",
        "2": "Inbound phone call, server LLM",
        "3": "Tool call round trip (voice)",
        "4": "Client-side LLM with reply stream and barge-in abort",
        "5": "Outbound dial",
        "6": "Chat session (browser)",
        "7": "Mid-call hot reload",
        "7.1": "What pinecall dev sends (ours)",
        "8": "Token mint and browser voice connect",
        "9": "Live listening",
        "10": "Reconnect in the middle of a call",
        "11": "Human takeover (WhatsApp)",
        "12": "Agent conflict and kick",
        "13": "Call ringing accept / reject",
        "14": "Phone line and hand-over",
        "15": "CLI chat / test over the agent socket",
    },
    "open-questions": {
        "A": "Connection and registration",
        "B": "Sessions and calls",
        "C": "LLM, tools, context",
        "D": "HTTP and tokens",
        "E": "Media and transports",
        "F": NotOurs("CLI", "the commands"),
        "G": "Facts observed only once (treat as weak)",
    },
}
"""By page and number: a title, or why no test of the server can hold it."""


def holds(page: str, *numbers: str) -> pytest.MarkDecorator:
    """Mark a test with the paragraphs of one page that would be broken if it failed."""
    for number in numbers:
        if not isinstance(PAGES[page][number], str):
            raise ValueError(f"{page} §{number} asks nothing of a server")
    return pytest.mark.holds(page, *numbers)


@dataclass(frozen=True)
class Held:
    """A test, and a paragraph that it holds."""

    page: str
    number: str
    test: str


def held() -> Iterator[Held]:
    """Yield what the tests of this folder say that they hold, read from their source."""
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "holds":
                    page, *numbers = (ast.literal_eval(argument) for argument in mark.args)
                    for number in numbers:
                        yield Held(page, number, f"{path.name}::{node.name}")


def main() -> None:
    """Print the pages' paragraphs and the tests of each."""
    tests = list(held())
    for page, paragraphs in PAGES.items():
        for number, title in paragraphs.items():
            if isinstance(title, NotOurs):
                print(f"{page} §{number} {title.title}: {title.why}")
                continue
            print(f"{page} §{number} {title}")
            for one in tests:
                if (one.page, one.number) == (page, number):
                    print(f"    {one.test}")


if __name__ == "__main__":
    main()
