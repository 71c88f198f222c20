"""A bounded queue of bytes between the sound card's thread and the event loop."""

from __future__ import annotations

import threading


class Ring:
    """Holds the newest ``capacity`` bytes written; one side writes, the other reads.

    Both sides only copy. The lock is held for a copy of a few hundred bytes, which is less than
    the interpreter's own lock, that a callback written in Python waits for anyway.
    """

    def __init__(self, capacity: int) -> None:
        if capacity <= 0:
            raise ValueError(f"a ring of {capacity} bytes holds nothing")
        self.capacity = capacity
        self.dropped = 0
        """Bytes that were overwritten before anybody read them."""
        self._bytes = bytearray(capacity)
        self._start = 0
        self._size = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``; when it does not fit the oldest bytes go, and are counted."""
        with self._lock:
            excess = len(data) - self.capacity
            if excess > 0:
                self.dropped += self._size + excess
                data = data[excess:]
                self._start = self._size = 0
            else:
                overflow = max(0, self._size + len(data) - self.capacity)
                self.dropped += overflow
                self._start = (self._start + overflow) % self.capacity
                self._size -= overflow
            end = (self._start + self._size) % self.capacity
            before_wrap = min(len(data), self.capacity - end)
            self._bytes[end : end + before_wrap] = data[:before_wrap]
            self._bytes[: len(data) - before_wrap] = data[before_wrap:]
            self._size += len(data)

    def read(self, size: int) -> bytes:
        """Take out the oldest ``size`` bytes, fewer if there are no more."""
        with self._lock:
            size = max(0, min(size, self._size))
            before_wrap = min(size, self.capacity - self._start)
            data = bytes(self._bytes[self._start : self._start + before_wrap])
            data += bytes(self._bytes[: size - before_wrap])
            self._start = (self._start + size) % self.capacity
            self._size -= size
            return data

    def skip(self, size: int) -> None:
        """Forget the oldest ``size`` bytes, all if there are no more; they do not count as lost."""
        with self._lock:
            size = max(0, min(size, self._size))
            self._start = (self._start + size) % self.capacity
            self._size -= size

    def clear(self) -> None:
        """Forget everything; it does not count as lost."""
        self.skip(self.capacity)
