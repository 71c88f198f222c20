"""The machine's twin of the views: every frame and every record of ours, one JSON object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from pinecall_cli.call.records import EngineNotice, Record
from pinecall_cli.call.session import SessionState
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.protocol.ids import match_agent_id
from pinecall_cli.protocol.log import LogEntry
from pinecall_cli.view.output import Output

RENAMED = {"type": "wire_type", "agent": "wire_agent"}
"""A frame's own fields that would hide ours."""

_FRAME = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STEERING = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
"""In UTF-8: DEL, the C1 controls (some terminals obey them) and Unicode's two line separators."""


class NdjsonView:
    """Prints what happened as NDJSON. Takes no notice of the state but for the agents' names."""

    def __init__(self, out: Output) -> None:
        self.out = out

    def show(
        self, session: SessionState, happened: Received | Record | None = None, *, at: float
    ) -> None:
        """Print ``happened``; ``at`` is the time for a frame that carries none."""
        if isinstance(happened, Received):
            if not isinstance(happened.frame, (events.Ping, events.Pong)):
                slugs = [agent.slug for agent in session.agents]
                self.out.write(frame_line(happened, at=at, agents=slugs))
        elif happened is not None and not isinstance(happened, EngineNotice):
            self.out.write(record_line(happened))

    def close(self) -> None:
        """Do nothing: every line is out."""


def frame_line(received: Received, *, at: float, agents: Iterable[str] = ()) -> bytes:
    """Return the line of a wire frame: its own bytes, value by value, under our envelope.

    Args:
        received: The frame; a declared one and an unknown one come out the same way.
        at: Seconds since the epoch, for a frame that has no usable ``ts``.
        agents: Slugs of ours, for an ``agent_id`` that says ``org:slug``.
    """
    try:
        fields = _FRAME.decode(received.raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = received.raw.decode("utf-8", "backslashreplace")
        return _line({"type": "unknown", "ts": iso(at), "agent": None, "raw": text})
    parts = {
        "type": bytes(fields.pop("event", msgspec.Raw(b"null"))),
        "ts": _encoded(_when(fields.pop("ts", None), at)),
        "agent": _encoded(_slug(fields.get("agent_id"), agents)),
    }
    for key, value in fields.items():
        parts[RENAMED.get(key, key)] = bytes(value)
    body = b",".join(_encoded(key) + b":" + value for key, value in parts.items())
    return _one_line(b"{" + body + b"}")


def record_line(record: Record) -> bytes:
    """Return the line of a record of ours."""
    head = {"type": record.type, "ts": iso(record.at), "agent": record.agent}
    return _line(head | record.fields())


def entry_line(entry: LogEntry) -> bytes:
    """Return the line of a call log's entry: as it is stored, but for its time."""
    head = {"seq": entry.seq, "ts": _log_time(entry.ts), "call": entry.call, "agent": entry.agent}
    return _line(head | {"type": entry.type, "data": entry.data})


def _log_time(ts: float) -> str | float:
    try:
        return iso(ts)
    except ValueError:
        return ts  # another server's idea of a time: better that than none


def iso(at: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, with milliseconds.

    Raises:
        ValueError: If no calendar has that day.
    """
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"not a time: {at}") from error
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _when(raw: msgspec.Raw | None, at: float) -> str:
    try:
        return iso(msgspec.json.decode(raw, type=float) if raw is not None else at)
    except (msgspec.DecodeError, ValueError):
        return iso(at)


def _slug(raw: msgspec.Raw | None, agents: Iterable[str]) -> str | None:
    if raw is None:
        return None
    try:
        incoming = msgspec.json.decode(raw, type=str)
    except msgspec.DecodeError:
        return None
    return match_agent_id(incoming, list(agents)) or incoming


def _line(body: dict[str, object]) -> bytes:
    return _one_line(_encoded(body))


def _encoded(value: object) -> bytes:
    # A file's name may hold lone surrogates (bytes that are no UTF-8): as an escape they are JSON.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def _one_line(line: bytes) -> bytes:
    """Return ``line`` on one line, with what could steer a terminal spelled as JSON escapes."""
    line = line.replace(b"\r", b" ").replace(b"\n", b" ")
    return _STEERING.sub(_escape, line) + b"\n"


def _escape(found: re.Match[bytes]) -> bytes:
    return f"\\u{ord(found.group().decode()):04x}".encode()
