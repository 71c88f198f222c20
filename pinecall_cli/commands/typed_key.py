"""A key that is given by hand: typed without being shown, or read from a pipe."""

from __future__ import annotations


def read_key(question: str = "API key: ") -> str:
    """Return one line of standard input; on a terminal it is asked for, and not shown.

    What follows the line is left to the command: `input` would read ahead in a pipe, and after
    the key there may be messages, or a caller's file.
    """
    import os
    import sys

    if sys.stdin.isatty():
        return ask_hidden(question)
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(sys.stdin.fileno(), 1)):
        line += byte
    return line.decode("utf-8", "replace")


def ask_hidden(question: str) -> str:
    """Return what is typed, without showing it; the terminal's echo comes back whatever happens."""
    import getpass
    import signal
    from types import FrameType

    from pinecall_cli.view.text import printable

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)  # on its way out, `getpass` turns the echo on again

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        return getpass.getpass(printable(question))
    except EOFError:
        return ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
