"""The owner of a phone line, and what it does with a call."""

from __future__ import annotations

from typing import Any

from tests.fakes.engines import Engines
from tests.server.dialled import OURS, Office, Peer, said
from tests.server.incoming import Incoming

LINE = f"line:{OURS}"
SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "You said {text}."}]}


def hearing(text: str) -> Engines:
    engines = Engines()
    engines.recogniser.transcribe = said(text)  # type: ignore[method-assign]
    return engines


def line_owner(office: Office, number: str = OURS, **config: Any) -> Peer:
    """Return a connection that has created a line."""
    peer = office.peer()
    peer.send("line.create", number=number, config=config)
    return peer


async def on_the_line(office: Office, **config: Any) -> tuple[Peer, Incoming, str]:
    """Return a line's owner, a caller whose call it has heard of, and the call's id."""
    line = line_owner(office, **({"extension_window_ms": 0} | config))
    caller = Incoming(office)
    started = await line.until("call.started")
    return line, caller, started["call_id"]


async def routed(office: Office, line: Peer, call_id: str, **wishes: Any) -> Peer:
    """Hand a call over to `desk`; return the agent's owner."""
    agent = office.owner("desk", None, greeting="Desk here.", llm=SCRIPT)
    line.send("call.route", call_id=call_id, agent="desk", **wishes)
    await line.until("call.routed", agent="desk")
    return agent


def say(peer: Peer, call_id: str, text: str, message: str = "m1", **fields: Any) -> None:
    peer.send("bot.reply", call_id=call_id, message_id=message, text=text, **fields)
