"""Read server-sent events: bytes in, the data of each event out. No I/O.

Chunks may end anywhere, in the middle of a line, of a CRLF or of a character.
"""

from __future__ import annotations

import codecs

MAX_EVENT = 1024 * 1024
"""Characters of one event; a server that sends more is broken or hostile."""


class EventTooLongError(ValueError):
    """An event grew beyond `MAX_EVENT`."""


class EventStream:
    """The ``data`` of a stream's events; their names and ids are of no use here."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""
        self._data: list[str] = []
        self._after_cr = False
        self._first = True

    def feed(self, chunk: bytes) -> list[str]:
        """Return the events that ``chunk`` completes.

        Raises:
            EventTooLongError: If one does not end.
        """
        return self._take(self._decoder.decode(chunk))

    def close(self) -> list[str]:
        """Return the last event, if the stream ended without the empty line behind it."""
        return self._take(self._decoder.decode(b"", final=True) + "\n\n")

    def _take(self, text: str) -> list[str]:
        if self._first and text:
            text, self._first = text.removeprefix("\ufeff"), False
        if self._after_cr and text:
            text, self._after_cr = text.removeprefix("\n"), False
        self._after_cr = self._after_cr or text.endswith("\r")
        *lines, self._line = (
            (self._line + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        )
        events = [event for line in lines if (event := self._end_line(line)) is not None]
        if len(self._line) + sum(map(len, self._data)) > MAX_EVENT:
            raise EventTooLongError
        return events

    def _end_line(self, line: str) -> str | None:
        """Take one line; return an event's data when it is the empty line that ends it."""
        if not line:
            data, self._data = self._data, []
            return "\n".join(data) if data else None
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
        return None
