"""Speech and language engines: one file each, imported only when chosen.

``types`` says what an engine of each stage looks like; `ENGINES` where each one is; ``choose``
loads those of a voice call. What may not live here: turn-taking, calls, the wire and audio devices
(an engine gets PCM or text and gives text or PCM).
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# Since 1.29 onnxruntime reports to its maker, over the network, unless this is set before it is
# loaded; its own switch (`disable_telemetry_events`) comes too late for the first report. What
# users set themselves stands.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

ENGINES = {
    "silero": "pinecall_cli.engines.silero:Silero",
    "smart-turn": "pinecall_cli.engines.smart_turn:SmartTurn",
    "moonshine": "pinecall_cli.engines.moonshine:Moonshine",
    "hibari": "pinecall_cli.engines.hibari:Hibari",
}
"""Where each engine's class is. The ones of speech need the extra ``voice``."""


def engine(name: str) -> Any:
    """Return the class of the engine ``name``, importing its module now.

    Raises:
        KeyError: If there is no such engine.
        ImportError: If a package that it needs is not installed.
    """
    module, _, attribute = ENGINES[name].partition(":")
    return getattr(import_module(module), attribute)
