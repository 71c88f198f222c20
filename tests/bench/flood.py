"""A voice server that has been busy: it sends a long call's events as fast as a socket takes them.

A process of its own, so that what it costs is not in the program's figures. It prints its URL,
takes one agent, and at a line on its input sends the call.

    python -m tests.bench.flood EVENTS
"""

from __future__ import annotations

import json
import struct
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

CALL = str(uuid.UUID(int=0x5CC5F7AE0B8E4C539F0E1F2D3C4B5A69))
START = 1787352100.0
QUESTION = "Could you tell me where my order number seven is right now please"
ANSWER = (
    "Let me look that up for you. Order seven left our warehouse on Tuesday morning and is "
    "with the carrier, so it should be with you by Friday afternoon at the latest."
)


def story(events: int) -> Iterator[dict[str, Any]]:
    """Yield so many events of one call, the last of which is its end."""
    yield {"event": "call.started", "from": "+14155550100", "to": "+13186330963"} | {
        "direction": "inbound",
        "transport": "phone",
        "metadata": {},
    }
    turns = (event for turn in range(1, events) for event in turn_of(turn))
    for _, event in zip(range(events - 2), turns, strict=False):
        yield event
    yield {"event": "call.ended", "reason": "hangup", "direction": "inbound"} | {
        "duration_seconds": events / 50,
        "messages": [],
    }


def turn_of(turn: int) -> Iterator[dict[str, Any]]:
    """Yield the events of one turn: a question, what the model writes, what is heard of it."""
    heard, said = f"u{turn:06}", f"msg_{turn:012}"
    asked, words = QUESTION.split(), ANSWER.split()
    yield {"event": "speech.started", "turn_id": turn, "confidence": 0.73}
    for count in range(2, len(asked) + 1, 2):
        text = " ".join(asked[:count])
        yield {"event": "user.speaking", "turn_id": turn, "text": text, "message_id": heard}
        yield {"event": "audio.metrics", "source": "user", "energy_db": -32.4, "rms": 0.024} | {
            "peak": 0.11,
            "is_speech": True,
            "vad_prob": 0.93,
        }
    yield {"event": "speech.ended", "turn_id": turn, "duration_ms": 2691}
    yield {"event": "turn.pause", "turn_id": turn, "probability": 0.31, "latency_ms": 52.5}
    yield {"event": "user.message", "turn_id": turn, "text": QUESTION, "message_id": heard} | {
        "confidence": 1.0
    }
    yield {"event": "turn.end", "turn_id": turn, "message_id": heard, "text": QUESTION} | {
        "probability": 0.977,
        "latency_ms": 164,
    }
    yield {"event": "llm.start", "turn": turn, "message_id": said, "model": "gpt-5-chat-latest"}
    for count, word in enumerate(words):
        so_far = " ".join(words[: count + 1])
        yield {"event": "llm.token", "token": f" {word}", "text": so_far, "message_id": said}
    yield {"event": "llm.done", "text": ANSWER, "message_id": said}
    yield {"event": "bot.speaking", "message_id": said, "text": ""}
    parts = {"vad": 300, "asr": 60, "eou": 20, "tools": 0, "llm_ttft": 5, "tts_ttfb": 110}
    yield {"event": "turn.latency", "turn_id": turn, "message_id": said, **parts} | {
        "playout": 20,
        "other": 0,
        "e2e": 515,
    }
    for count, word in enumerate(words):
        yield {"event": "bot.word", "message_id": said, "word": word, "word_index": count} | {
            "start_time": 0.3 * count,
            "end_time": 0.3 * count + 0.28,
        }
    yield {"event": "message.confirmed", "message_id": said, "text": ANSWER}
    yield {"event": "bot.finished", "message_id": said, "duration_ms": 8700}


def framed(event: dict[str, Any], agent: str, number: int, call: str = CALL) -> bytes:
    """Return an event as the bytes of a WebSocket text frame, stamped as a server stamps it."""
    stamps = {"agent_id": agent, "call_id": call, "session_id": call}
    told = {**event, **stamps, "seq": number, "ts": START + number / 50}
    body = json.dumps(told, separators=(",", ":")).encode()
    size = len(body)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)
    return b"\x81" + length + body


class Flood:
    """Accepts any key and any agent, and sends the call to whoever registered last."""

    def __init__(self, events: int) -> None:
        self.events = events
        self.told = threading.Event()

    def converse(self, socket: ServerConnection) -> None:
        """Answer a client as far as registering takes."""
        try:
            for text in socket:
                frame = json.loads(text)
                match frame.get("event"):
                    case "connect":
                        who = {"org_id": "org_1", "connection_id": "conn_1"}
                        body = {"event": "connected", **who, "protocol_version": "2"}
                        socket.send(json.dumps(body))
                    case "agent.create":
                        agent = frame["agent_id"]
                        socket.send(json.dumps({"event": "agent.created", "agent_id": agent}))
                        self.send(socket, agent)
        except (ConnectionClosed, OSError):
            return

    def send(self, socket: ServerConnection, agent: str) -> None:
        """Send the call once told to; written past the library, which would be the slower end."""
        numbered = enumerate(story(self.events), start=1)
        whole = b"".join(framed(event, agent, number) for number, event in numbered)
        self.told.wait()
        socket.socket.sendall(whole)


def main() -> None:
    """Serve until the input ends."""
    flood = Flood(int(sys.argv[1]))
    with serve(flood.converse, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.socket.getsockname()[1]}", flush=True)
        for _ in sys.stdin:
            flood.told.set()
        server.shutdown()


if __name__ == "__main__":
    main()
