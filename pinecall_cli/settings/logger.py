"""The log of an agent's program: ``logging.getLogger("pinecall")``, without keys and tokens in it.

``PINECALL_LOG`` sets its level. Where the program has set up no logging of its own, the lines then
go to standard error.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import deque
from collections.abc import Mapping
from typing import TextIO

LOG_VARIABLE = "PINECALL_LOG"
LEVELS = ("debug", "info", "warning", "error")
NAME = "pinecall"
CHILDREN = ("server", "trial", "websockets")
"""Loggers below ours. What stands in front of a logger sees nothing of those below it."""
SHAPES = re.compile(
    r"\bpk_[\w-]{4,}"  # keys
    r"|\b(?:wrtc|wrt|cht|str|tok)_[\w-]{16,}"  # tokens
    r"|\bsk-[\w-]{16,}"  # keys of model providers, which they quote in their errors
    r"|(?<=\bBearer )[\w.~+/=-]{8,}"
)
HIDDEN = "***"
LEAST = 8
"""Characters of a key that is looked for as it is; a shorter one would hit ordinary words."""

logger = logging.getLogger(NAME)
_keys: deque[str] = deque(maxlen=32)
"""Keys that were used here, whatever their shape. A local server has another at each start."""


def keep_out(key: str) -> None:
    """Let a key be hidden from here on, wherever it comes up."""
    if len(key) >= LEAST and key not in _keys:
        _keys.append(key)


def redacted(text: str) -> str:
    """Return a text with ``***`` in the place of keys and tokens."""
    for key in _keys:
        text = text.replace(key, HIDDEN)
    return SHAPES.sub(HIDDEN, text)


class Redacting(logging.Filter):
    """Takes keys and tokens out of what is logged, tracebacks included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass, without secrets."""
        told = record.getMessage()
        clean = redacted(told)
        if clean != told:
            record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            # Formatters take this text where there is one, and would make it themselves elsewhere.
            traceback = logging.Formatter().formatException(record.exc_info)
            record.exc_text = redacted(traceback)
            if record.exc_text != traceback:
                record.exc_info = None  # the exception itself still says it
        return True


class Stderr(logging.StreamHandler[TextIO]):
    """Writes to standard error, unless the program has handlers of its own for everything."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if not logging.getLogger().handlers:
            self.stream = sys.stderr
            super().emit(record)


def set_up(environ: Mapping[str, str]) -> None:
    """Take the level from ``PINECALL_LOG``, if it is set; a second time changes nothing."""
    level = environ.get(LOG_VARIABLE, "").strip().lower()
    if not level:
        return
    if level not in LEVELS:
        logger.warning("`%s` is no level: %s is %s", level, LOG_VARIABLE, ", ".join(LEVELS))
        return
    logger.setLevel(level.upper())
    if not any(isinstance(handler, Stderr) for handler in logger.handlers):
        logger.addHandler(Stderr())


for one in (logger, *(logger.getChild(child) for child in CHILDREN)):
    one.addFilter(Redacting())
