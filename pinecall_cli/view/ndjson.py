"""The machine's twin of the views: every frame and every record of ours, one JSON object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from math import modf

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
_TIME = msgspec.json.Decoder(float)
_TEXT = msgspec.json.Decoder(str)
_KEYS: dict[str, bytes] = {}
"""Keys as they stand in a line, with the comma before and the colon behind; some hundred."""
KEYS_KEPT, LONGEST_KEY = 1000, 64
"""What is kept of the keys that a server sends: never more than 64 KB of them."""
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
                self.out.add(frame_line(happened, at=at, agents=slugs))
        elif happened is not None and not isinstance(happened, EngineNotice):
            self.out.add(record_line(happened))

    def close(self) -> None:
        """Write what is owed."""
        self.out.finish()


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
    parts: list[bytes | msgspec.Raw] = [b'{"type":', fields.pop("event", b"null"), b',"ts":"']
    parts += (_when(fields.pop("ts", None), at).encode(), b'","agent":')
    parts.append(_agent(bytes(fields.get("agent_id", b"null")), tuple(agents)))
    if "type" in fields or "agent" in fields:
        fields = {RENAMED.get(key, key): value for key, value in fields.items()}
    for key, value in fields.items():
        parts += (_KEYS.get(key) or _spelled(key), value)
    parts.append(b"}")
    return _one_line(b"".join(parts))


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
    fraction, whole = modf(at)
    carry, micros = divmod(round(fraction * 1e6), 1_000_000)
    try:
        return f"{_second(int(whole) + carry)}.{micros // 1000:03}Z"
    except (OverflowError, OSError) as error:
        raise ValueError(f"not a time: {at}") from error


@lru_cache(maxsize=16)
def _second(whole: int) -> str:
    """Return a whole second as far as its digits go: a burst has thousands of events in one."""
    return datetime.fromtimestamp(whole, UTC).isoformat().removesuffix("+00:00")


def _when(raw: msgspec.Raw | None, at: float) -> str:
    try:
        return iso(_TIME.decode(raw) if raw is not None else at)
    except (msgspec.DecodeError, ValueError):
        return iso(at)


@lru_cache(maxsize=16)
def _agent(raw: bytes, agents: tuple[str, ...]) -> bytes:
    """Return the value of ``agent`` for an ``agent_id`` as it came."""
    try:
        incoming = _TEXT.decode(raw)
    except msgspec.DecodeError:
        return b"null"
    return _encoded(match_agent_id(incoming, agents) or incoming)


def _spelled(key: str) -> bytes:
    spelled = b"," + _encoded(key) + b":"
    if len(key) <= LONGEST_KEY and len(_KEYS) < KEYS_KEPT:
        _KEYS[key] = spelled
    return spelled


def _line(body: dict[str, object]) -> bytes:
    return _one_line(_encoded(body))


def _encoded(value: object) -> bytes:
    # A file's name may hold lone surrogates (bytes that are no UTF-8): as an escape they are JSON.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def _one_line(line: bytes) -> bytes:
    """Return ``line`` on one line, with what could steer a terminal spelled as JSON escapes."""
    line = line.replace(b"\r", b" ").replace(b"\n", b" ")
    if b"\x7f" in line or not line.isascii():
        line = _STEERING.sub(_escape, line)
    return line + b"\n"


def _escape(found: re.Match[bytes]) -> bytes:
    return f"\\u{ord(found.group().decode()):04x}".encode()
