"""Calls as an office has them, each to its end: on a jumping clock, so that a day takes a minute.

Every round is one voice call and what happens beside it. The calls come in over a telephone
number, go out to one that answers or is busy, reach a phone line that hands them over, or are
between two agents; in them are turns, a tool, a reply that is cut off, keys, a hold, a loss of the
agent's socket. Beside them somebody writes in a chat and on WhatsApp, and reads the call log.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from pinecall_cli.server.log.journal import Journal
from pinecall_cli.server.text.messages import Incoming as Message
from pinecall_cli.server.tokens import Grant
from tests.fakes.engines import Engines
from tests.server.dialled import OURS, THEIRS, Office, Peer
from tests.server.incoming import Incoming

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
LINE = "+13186330964"
BUSY = "+15005550001"
WHATSAPP = "123456789012345"
CONTACTS = 5
LOOKUP = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}
SCRIPT: dict[str, Any] = {
    "provider": "script",
    "rules": [
        {"on": "order", "call": {"lookup": {"id": "7"}}, "say": "It is {result.status}."},
        {"on": "story", "say": LONG},
        {"say": "You said {text}."},
    ],
}
DESK: dict[str, Any] = {"llm": SCRIPT, "tools": [LOOKUP], "greeting": "Desk here."}


class Day:
    """An office and those who work in it; `round` after `round` it is as it was before."""

    def __init__(self, journal: Journal | None = None) -> None:
        """``journal`` is the call log, which the day closes; by default one in memory."""
        self.engines = Engines()
        self.engines.recogniser.transcribe = self._hear  # type: ignore[method-assign]
        self.office = Office(engines=self.engines, journal=journal, grace_s=1.0)
        self.server = self.office.server
        self._says = ""
        self._numbers = itertools.count()
        self._calls: tuple[Callable[[], Awaitable[None]], ...] = (
            self._incoming,
            self._outgoing,
            self._line,
            self._bridge,
            self._lost,
        )

    async def __aenter__(self) -> Day:
        self.desk = self._open_desk()
        self.line = self.office.peer()
        self.line.send("line.create", number=LINE, config={"extension_window_ms": 0})
        self.judge = self.office.owner("judge", None, llm=SCRIPT)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.office.__aexit__(kind, error, traceback)

    @property
    def kinds(self) -> int:
        """How many kinds of calls there are: after so many rounds each has been once."""
        return len(self._calls)

    async def round(self) -> None:
        """Hold the next call to its end, and what is beside it."""
        number = next(self._numbers)
        await self._calls[number % len(self._calls)]()
        await self._chat(f"chat-{number}")
        await self._whatsapp(number)
        self._read()
        for peer in (self.desk, self.line, self.judge):
            forget(peer)
        self.engines.synthesiser.said.clear()
        self.engines.synthesiser.speeds.clear()

    # --- calls ---

    async def _incoming(self) -> None:
        """Have turns, a tool and an interruption; hold; press a key; hang up."""
        caller, call_id = await self._call(OURS)
        self._says = "order"
        caller.speak(900)
        await self._answer_tool(self.desk)
        await said_to_the_end(self.desk)
        self._says = "story"
        caller.speak(900)
        forget(self.desk)
        await self.desk.until("bot.word")
        caller.speak(1_500)
        self._says = "stop"
        await self.desk.until("bot.interrupted")
        await said_to_the_end(self.desk)
        self.desk.send("call.hold", call_id=call_id)
        await self.desk.until("call.held")
        self.desk.send("call.unhold", call_id=call_id)
        await self.desk.until("call.unheld")
        caller.press("1")
        await self.desk.until("call.dtmf_received")
        caller.hang_up()
        await self.desk.ended(call_id)
        await caller.call

    async def _outgoing(self) -> None:
        """Call a number that is busy, and one that picks up; hang up."""
        dial = {"agent_id": "desk", "from": OURS, "greeting": "Acme."}
        self.desk.send("call.dial", **dial, to=BUSY)
        await self.desk.until("call.ended", reason="busy")
        forget(self.desk)
        phone = self.office.phone()
        self.desk.send("call.dial", **dial, to=THEIRS)
        started = await self.desk.until("call.started")
        await said_to_the_end(self.desk)
        self.desk.send("call.hangup", call_id=started["call_id"])
        await self.desk.ended(started["call_id"])
        phone.unplug()

    async def _line(self) -> None:
        """Reach a phone line, which says something and hands the call over."""
        caller = Incoming(self.office, LINE)
        call_id = (await self.line.until("call.started"))["call_id"]
        say = {"call_id": call_id, "message_id": "m1", "in_reply_to": "", "text": "Welcome."}
        self.line.send("bot.reply", **say)
        await said_to_the_end(self.line)
        self.line.send("call.route", call_id=call_id, agent="desk")
        await self.line.ended(call_id)
        await said_to_the_end(self.desk)
        caller.hang_up()
        await self.desk.until("call.ended")
        await caller.call

    async def _bridge(self) -> None:
        """Have one agent call another."""
        self._says = "hello"
        self.judge.send("call.bridge", agent_id="judge", target="desk", greeting="Judge here.")
        started = await self.judge.until("call.started")
        await self.judge.until("turn.end")
        await self.desk.until("turn.end")
        self.judge.send("call.hangup", call_id=started["call_id"])
        await self.judge.ended()
        await self.desk.ended()

    async def _lost(self) -> None:
        """Lose the agent's socket in a call, come back, and lose it again for good."""
        caller, call_id = await self._call(OURS)
        self.desk.leave()
        self.desk = self._open_desk()
        await self.desk.until("call.started", call_id=call_id)
        self.desk.leave()
        await caller.call
        self.desk = self._open_desk()

    # --- what is beside them ---

    async def _chat(self, name: str) -> None:
        """Write twice and end it."""
        forget(self.judge)
        for text in ("order", "hello"):
            self.judge.send("llm.chat", agent_id="desk", session_id=name, text=text)
            if text == "order":
                await self._answer_tool(self.desk)
            await self.judge.until("llm.chat.done")
            forget(self.judge)
        self.desk.send("call.hangup", call_id=name)
        await self.desk.until("llm.chat.ended")

    async def _whatsapp(self, number: int) -> None:
        """Have one of a few contacts write; their sessions end by themselves."""
        agent = self.server.registry.find(self.office.orgs[0], "desk")
        assert agent is not None
        channel = agent.channel("whatsapp", WHATSAPP)
        assert channel is not None
        contact = f"3460000000{number % CONTACTS}"
        self.server.whatsapp.receive(
            agent, channel, Message(f"wamid.{number}", contact, "Ana", "text", "hello")
        )
        await self.desk.until("whatsapp.response", to=contact)

    def _read(self) -> None:
        """Get a token and use it, as a page would; read the newest calls, and watch a while."""
        token = self.server.tokens.mint(Grant("webrtc", self.office.orgs[0], "desk"))
        assert self.server.tokens.consume(token, "webrtc")
        stop = self.server.journal.watch(lambda entries: None)
        self.server.journal.flush()
        assert self.server.journal.calls(limit=10)
        stop()

    # --- the parts ---

    def _open_desk(self) -> Peer:
        desk = self.office.owner("desk", **DESK)
        desk.send("channel.add", agent_id="desk", type="whatsapp", ref=WHATSAPP, accessToken="EAA")
        return desk

    async def _call(self, number: str) -> tuple[Incoming, str]:
        caller = Incoming(self.office, number)
        started = await self.desk.until("call.started")
        await said_to_the_end(self.desk)
        return caller, started["call_id"]

    async def _answer_tool(self, owner: Peer) -> None:
        call = await owner.until("llm.tool_call")
        (wish,) = call["tool_calls"]
        owner.send(
            "llm.tool_result",
            call_id=call["call_id"],
            msg_id=call["msg_id"],
            results=[{"tool_call_id": wish["id"], "result": {"status": "shipped"}}],
        )
        forget(owner)

    async def _hear(self, pcm: bytes) -> str:
        return self._says


async def said_to_the_end(owner: Peer) -> None:
    """Wait until something was said to its end; what came before is forgotten."""
    await owner.until("bot.finished")
    forget(owner)


def forget(peer: Peer) -> None:
    """Keep nothing of what came."""
    peer.frames.clear()
    peer.at.clear()
