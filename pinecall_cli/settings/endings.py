"""Which signals end this process, as whoever started it has settled that."""

from __future__ import annotations

import signal
import sys


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return Ctrl-C's, SIGTERM, and SIGHUP (the terminal is gone) unless `nohup` has us ignore it.

    To be asked before handlers are set: they are what tells.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return numbers
    return (*numbers, signal.SIGHUP)
