"""Keeps what the sound libraries write to stderr off the terminal while devices are open."""

from __future__ import annotations

import ctypes
import os
import threading
from types import TracebackType
from typing import Self

_lock = threading.Lock()
_open = 0
_kept: int | None = None
_nowhere: int | None = None


def _variable() -> ctypes.c_void_p | None:
    """Return C's variable ``stderr`` if it may be set, else None.

    The GNU C library says it may ("Standard Streams" in its manual); musl keeps it in read-only
    memory, and PortAudio on macOS and Windows hardly speaks.
    """
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return None
        return ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr")
    except (AttributeError, OSError, ValueError):
        return None


class Quiet:
    """While entered, C libraries print to nowhere; Python's own ``sys.stderr`` is untouched.

    ALSA reports every under-run, and PortAudio three lines of its source when a device is
    unplugged, from a thread of theirs and at any time. Redirecting descriptor 2 for a whole call
    would silence us as well, so C's stream is replaced instead. May be entered and left from any
    thread, by several at once.
    """

    def __init__(self) -> None:
        self._entered = False

    def __enter__(self) -> Self:
        global _open, _kept, _nowhere
        variable = _variable()
        with _lock:
            if self._entered or variable is None:
                return self
            if _nowhere is None:
                libc = ctypes.CDLL(None)
                libc.fopen.restype = ctypes.c_void_p
                # Never closed: another thread may be writing to it when the last of us leaves.
                _nowhere = libc.fopen(b"/dev/null", b"w")
            if _nowhere is None:
                return self
            if _open == 0:
                _kept, variable.value = variable.value, _nowhere
            _open += 1
            self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        global _open
        variable = _variable()
        with _lock:
            if not self._entered or variable is None:
                return
            self._entered = False
            _open -= 1
            if _open == 0:
                variable.value = _kept
