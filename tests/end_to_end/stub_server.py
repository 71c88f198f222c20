"""A voice server that says what a test wants, true or not: for what the real one never says."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve


class StubServer:
    """Takes agent connections on a port of its own. Use as a context manager.

    Args:
        story: Frames that are sent once an agent has been registered.
        deaf: Whether it never accepts a key, nor says that it does not.
        answers: By event: the frames that are sent when an agent's program sends one.
    """

    def __init__(
        self,
        story: Sequence[dict[str, Any]] = (),
        *,
        deaf: bool = False,
        answers: Mapping[str, Sequence[dict[str, Any]]] = MappingProxyType({}),
    ) -> None:
        self.story, self.deaf, self.answers = story, deaf, answers
        self.heard: list[dict[str, Any]] = []
        """What was sent to it."""
        self.greeted = threading.Event()
        """Set when somebody has presented a key."""
        self._server = serve(self._converse, "127.0.0.1", 0, close_timeout=0.1)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it is, as `--server` takes it."""
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"

    def __enter__(self) -> StubServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()

    def _converse(self, socket: ServerConnection) -> None:
        try:
            for text in socket:
                self._answer(socket, json.loads(text))
        except ConnectionClosed:
            return

    def _answer(self, socket: ServerConnection, frame: dict[str, Any]) -> None:
        self.heard.append(frame)
        for event in self.answers.get(frame.get("event", ""), ()):
            socket.send(json.dumps({"agent_id": frame.get("agent_id"), **event}))
        match frame.get("event"):
            case "connect":
                self.greeted.set()
                if not self.deaf:
                    body = {"org_id": "org_1", "connection_id": "conn_1", "protocol_version": "2"}
                    socket.send(json.dumps({"event": "connected", **body}))
            case "agent.create":
                agent = {"agent_id": frame["agent_id"]}
                socket.send(json.dumps({"event": "agent.created", **agent}))
                for event in self.story:
                    socket.send(json.dumps({**agent, **event}))
