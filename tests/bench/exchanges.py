"""A voice server in the middle of 20 calls: it sends what happens in them as fast as it is taken.

A process of its own, as `flood` is. It says in each acknowledgement when it got the request, by a
clock that all processes of a machine share.

    python -m tests.bench.exchanges CALLS EXCHANGES
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.bench.flood import framed

ASKED = ["Could", "you", "tell", "me", "where", "order", "seven", "is"]
ANSWER = [
    "It",
    "left",
    "our",
    "warehouse",
    "on",
    "Tuesday",
    "and",
    "is",
    "with",
    "the",
    "van",
    "now",
]
"""8 partials and 12 words: an exchange has 20 of both, and 3 frames beside them."""


def call_id(number: int) -> str:
    """Return the id of a call."""
    return str(uuid.UUID(int=number + 1))


def exchange(turn: int) -> Iterator[dict[str, Any]]:
    """Yield what is told of a question and its answer."""
    heard, said = f"u{turn:06}", f"msg_{turn:012}"
    for count in range(1, len(ASKED) + 1):
        text = " ".join(ASKED[:count])
        yield {"event": "user.speaking", "turn_id": turn, "text": text, "message_id": heard}
    about = {"turn_id": turn, "message_id": heard, "text": " ".join(ASKED)}
    yield {"event": "user.message", "confidence": 1.0, **about}
    yield {"event": "turn.end", "probability": 0.977, "latency_ms": 164, **about}
    yield {"event": "bot.speaking", "message_id": said, "text": ""}
    for count, word in enumerate(ANSWER):
        times = {"start_time": 0.3 * count, "end_time": 0.3 * count + 0.28}
        yield {"event": "bot.word", "message_id": said, "word": word, "word_index": count, **times}


PIECE = 64
"""Frames that are sent in one go: between two of them the server hears what it is told."""


def burst(calls: int, exchanges: int, agent: str) -> list[bytes]:
    """Return the frames of all calls, which go on side by side, in pieces."""
    number = 0
    frames = []
    for turn in range(1, exchanges + 1):
        for events in zip(*(exchange(turn) for _ in range(calls)), strict=True):
            for call, event in enumerate(events):
                number += 1
                frames.append(framed(event, agent, number, call_id(call)))
    return [b"".join(frames[at : at + PIECE]) for at in range(0, len(frames), PIECE)]


class Busy:
    """Accepts any key and any agents; the calls are those of the agent that came first."""

    def __init__(self, calls: int, exchanges: int) -> None:
        self.calls, self.exchanges = calls, exchanges
        self.told = threading.Event()

    def converse(self, socket: ServerConnection) -> None:
        """Answer a client, and send it the burst once told to."""
        first: str | None = None
        try:
            for text in socket:
                at = time.monotonic_ns()
                frame = json.loads(text)
                agent = frame.get("agent_id")
                match frame.get("event"):
                    case "connect":
                        body = {"event": "connected", "org_id": "org_1", "protocol_version": "2"}
                        socket.send(json.dumps(body))
                    case "agent.create":
                        socket.send(json.dumps({"event": "agent.created", "agent_id": agent}))
                        if first is None:
                            first = agent
                            self.begin(socket, agent)
                    case "agent.configure":
                        told = {"event": "agent.configured", "agent_id": agent, "at": at}
                        socket.send(json.dumps(told))
        except (ConnectionClosed, OSError):
            return

    def begin(self, socket: ServerConnection, agent: str) -> None:
        """Start every call, and send the burst when told to, beside what is answered."""
        about = {"from": "+14155550100", "to": "+13186330963", "direction": "inbound"}
        for call in range(self.calls):
            event = {"event": "call.started", **about, "transport": "phone", "metadata": {}}
            socket.send(json.dumps({**event, "agent_id": agent, "call_id": call_id(call)}))
        pieces = burst(self.calls, self.exchanges, agent)

        def send() -> None:
            self.told.wait()
            for piece in pieces:
                with socket.protocol_mutex:  # no frame in the middle of another
                    socket.socket.sendall(piece)
                time.sleep(0)  # locks are not fair: the thread that listens must get it, too

        threading.Thread(target=send, daemon=True).start()


def main() -> None:
    """Serve until the input ends."""
    busy = Busy(int(sys.argv[1]), int(sys.argv[2]))
    with serve(busy.converse, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.socket.getsockname()[1]}", flush=True)
        for _ in sys.stdin:
            busy.told.set()
        server.shutdown()


if __name__ == "__main__":
    main()
