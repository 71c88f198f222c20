"""The speech engines, loaded once per test process, as a server has them."""

from __future__ import annotations

from functools import cache

from pinecall_cli.engines.choose import SpeechEngines


@cache
def engines() -> SpeechEngines:
    """Return the offline engines, ready and warm."""
    speech = SpeechEngines()
    speech.load()
    return speech.ready.result(timeout=120)
