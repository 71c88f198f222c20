"""The call log's entries: what ``/v1/attach`` sends and the journal keeps.

Its vocabulary is not the agent socket's: ``user.speaking`` with ``active``, ``tool.call``,
``turn.end`` with latencies.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pinecall_cli.protocol.codec import REMOTE_FAULTS, object_of, problem_of, to_bytes
from pinecall_cli.protocol.frames import Frame, JsonObject, Unknown
from pinecall_cli.protocol.log_types import EPHEMERAL_TYPES as EPHEMERAL_TYPES
from pinecall_cli.protocol.log_types import LOG_TYPES as LOG_TYPES
from pinecall_cli.protocol.log_types import MARKER_TYPES as MARKER_TYPES


class LogEntry(Frame):
    """One fact about a call."""

    seq: int
    """Rises strictly in every log, with holes; the cursor."""
    ts: float
    """Epoch seconds."""
    type: str
    call: str | None = None
    """None in an agent's log; there it is ``data["call"]``."""
    agent: str | None = None
    """Slug."""
    ephemeral: bool = False
    data: JsonObject = msgspec.field(default_factory=dict)


class EntryPage(Frame):
    """Some of a call's entries, in order."""

    entries: list[msgspec.Raw] = msgspec.field(default_factory=list)
    last_seq: int = 0
    has_more: bool = False

    def read(self) -> list[LogEntry]:
        """Return the entries; what is none is left out, as a reader of the socket would."""
        read = (decode_entry(bytes(raw)) for raw in self.entries)
        return [entry for entry in read if isinstance(entry, LogEntry)]


ENTRIES: msgspec.json.Decoder[Any] = msgspec.json.Decoder(LogEntry)
PAGES: msgspec.json.Decoder[EntryPage] = msgspec.json.Decoder(EntryPage)


def decode_entry(raw: bytes | str) -> LogEntry | Unknown:
    """Return an entry of a call log. Never raises."""
    data = to_bytes(raw)
    try:
        entry: LogEntry = ENTRIES.decode(data)
    except REMOTE_FAULTS as fault:
        fields = object_of(data) or {}
        name = fields.get("type")
        return Unknown(name if isinstance(name, str) else "", fields, problem_of(fault))
    return entry


def decode_page(raw: bytes) -> EntryPage | None:
    """Return a page of a call's entries, or None if it is none. Never raises."""
    try:
        return PAGES.decode(raw)
    except REMOTE_FAULTS:
        return None


def of_call(entry: LogEntry) -> LogEntry:
    """Return an entry as its call's own log has it: an agent's log names the call in ``data``."""
    call = entry.data.get("call")
    if entry.call is not None or not isinstance(call, str):
        return entry
    data = {key: value for key, value in entry.data.items() if key != "call"}
    return msgspec.structs.replace(entry, call=call, data=data)
