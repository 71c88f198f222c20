"""``line.create`` and ``line.destroy``: numbers whose calls go to code first (commands.md §11)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, structs

from pinecall_cli.protocol import commands
from pinecall_cli.protocol.config import ConfigRefused, canonical, refusals
from pinecall_cli.protocol.ids import line_owner
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.server.agents.owners import PhoneLine
from pinecall_cli.server.agents.registry import Connection, Refused, RegisteredAgent, Registration

CODE = "LINE_CONFIG_ERROR"
NOT_A_LINES = ("llm", "prompt", "tools", "greeting")
"""What only something with a model has."""
LONGEST_WINDOW_MS = 30_000


def wish_of(frame: commands.LineCreate) -> Registration:
    """Return what ``line.create`` asks for.

    Raises:
        Refused: If a line cannot be like that.
    """
    config = commands.LineConfig() if frame.config is UNSET else frame.config
    try:
        number = normalise_number(frame.number)
    except ConfigRefused as refused:
        raise Refused(CODE, refused.message) from None
    given = {key: value for key, value in structs.asdict(config).items() if value is not UNSET}
    refuse_model(given)
    window = config.extension_window_ms
    if not (math.isfinite(window) and 0 <= window <= LONGEST_WINDOW_MS):
        raise Refused(CODE, f"the extension window is 0 to {LONGEST_WINDOW_MS} ms, not {window:g}")
    payload = canonical(given)
    wrong = [refusal for _, refusal in refusals(payload)]
    if wrong:
        raise Refused(CODE, ". ".join(one.message for one in wrong))
    return Registration(frame.number, payload, line=PhoneLine(number, window))


def refuse_model(config: Mapping[str, Any]) -> None:
    """Let a line's configuration pass if it has nothing that only a model's has.

    Raises:
        Refused: If it has.
    """
    foreign = [key for key in NOT_A_LINES if key in config]
    if foreign:
        names = ", ".join(f"`{key}`" for key in foreign)
        raise Refused(CODE, f"a phone line has no {names}: route its calls to an agent")


def line_of(connection: Connection, number: str) -> RegisteredAgent | None:
    """Return a connection's own line of that number."""
    try:
        return connection.agents.get(line_owner(normalise_number(number)))
    except ConfigRefused:
        return None
