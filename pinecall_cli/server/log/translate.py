"""From the agent socket's vocabulary to the call log's (sessions.md §6): the one place.

The two tell the same story differently. The log keeps what a reader needs afterwards: interim
texts, single words and levels are `ephemeral` (sent to those who watch, never stored); the
words of a reply end up in its `bot.speaking`; a turn's cost stands in its `turn.end`, which
therefore waits for the reply to be heard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET, structs

from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event

MEASURED = ("e2e", "asr", "llm_ttft", "tts_ttfb")
"""The latencies of a turn that `call.summary` sums up."""
PARTS = ("vad", "asr", "eou", "tools", "llm_ttft", "tts_ttfb", "playout", "other", "e2e")

Draft = tuple[str, dict[str, Any]]
"""An entry's type and data, before it is stamped."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the call log."""

    seq: int
    ts: float
    """Epoch seconds."""
    call: str
    agent: str
    org: str
    type: str
    data: Mapping[str, Any]
    ephemeral: bool = False
    """True for what is sent to those who watch and never stored."""
    amends: bool = False
    """True for a fuller telling of the stored entry with this ``seq``; stored, not sent."""


@dataclass
class Reply:
    """A message of the agent while it is being spoken."""

    id: str
    text: str
    seq: int = 0
    """Of its `bot.speaking`."""
    ts: float = 0.0
    words: list[dict[str, Any]] = field(default_factory=list)


class Translator:
    """The log's side of one call: feed it the events in order, take the entries."""

    def __init__(self, *, call: str, agent: str, org: str) -> None:
        self.over = False
        """True after the call's last event."""
        self.agent = agent
        """Slug of whoever has the call now."""
        self._call, self._org = call, org
        self._since: float | None = None
        self._turn = 0
        self._reply: Reply | None = None
        self._turn_end: dict[str, Any] | None = None
        self._tools: dict[str, tuple[str, float]] = {}
        self._latencies: dict[str, list[float]] = {name: [] for name in MEASURED}

    def entries(
        self, event: Event, *, seq: int, ts: float, stamps: Callable[[], tuple[int, float]]
    ) -> list[Entry]:
        """Return the log's entries for an event: none, one or several.

        Args:
            event: The event as it was sent.
            seq: Its stamp; the first entry bears it too.
            ts: Its time.
            stamps: Gives the stamps of further entries.
        """
        tell = TELL.get(type(event))
        if tell is None or self.over:
            return []
        found: list[Entry] = []
        for type_, data in tell(self, event, seq, ts):
            amends = type_ == "amend"
            number, at = (data.pop("seq"), data.pop("ts")) if amends else (seq, ts)
            if not amends and any(not entry.amends for entry in found):
                number, at = stamps()
            if type_ == "bot.speaking" and self._reply and not self._reply.seq:
                self._reply.seq, self._reply.ts = number, at
            found.append(
                Entry(
                    seq=number,
                    ts=at,
                    call=self._call,
                    agent=self.agent,
                    org=self._org,
                    type="bot.speaking" if amends else type_.rstrip("~"),
                    data=data,
                    ephemeral=type_.endswith("~"),
                    amends=amends,
                )
            )
        return found

    # --- the call ---

    def _ringing(self, event: events.CallRinging, seq: int, ts: float) -> Iterator[Draft]:
        yield "call.ringing", {"direction": event.direction, "from": event.from_, "to": event.to}

    def _dialing(self, event: events.CallDialing, seq: int, ts: float) -> Iterator[Draft]:
        yield "call.ringing", {"direction": "outbound", "from": event.from_, "to": event.to}

    def _rejected(self, event: events.CallRejected, seq: int, ts: float) -> Iterator[Draft]:
        yield from self._over(event.reason, 0, ts)

    def _started(self, event: events.CallStarted, seq: int, ts: float) -> Iterator[Draft]:
        if self._since is not None:
            return  # announced again: to an agent that came back, or that a line handed it to
        self._since = ts
        data = {
            "direction": event.direction,
            "from": event.from_,
            "to": event.to,
            "channel": event.transport,
        }
        more = given(metadata=event.metadata or UNSET, extension=event.extension or UNSET)
        yield "call.started", data | more

    def _chat_started(self, event: events.LlmChatStarted, seq: int, ts: float) -> Iterator[Draft]:
        if self._since is not None:
            return
        self._since = ts
        data = {"direction": "inbound", "from": "chat", "to": self.agent, "channel": "chat"}
        yield "call.started", data | given(metadata=event.metadata or UNSET)

    def _contact_started(
        self, event: events.WhatsappSessionStarted, seq: int, ts: float
    ) -> Iterator[Draft]:
        if self._since is not None:
            return
        self._since = ts
        data = {"direction": "inbound", "from": event.contact_phone, "to": self.agent}
        yield "call.started", data | {"channel": "whatsapp"}

    def _contact_wrote(self, event: events.WhatsappMessage, seq: int, ts: float) -> Iterator[Draft]:
        self._turn += 1
        yield "turn.start", {"turn": self._turn, "role": "user"}
        text = event.text if event.type == "text" else f"[{event.type}] {event.text}".strip()
        yield "user.message", given(id=event.message_id) | {"text": text, "final": True}

    def _contact_told(self, event: events.WhatsappResponse, seq: int, ts: float) -> Iterator[Draft]:
        yield from self._wrote_back(f"bot_{seq}", event.text)

    def _contact_ended(
        self, event: events.WhatsappSessionEnded, seq: int, ts: float
    ) -> Iterator[Draft]:
        reason = "idle_timeout" if event.reason is UNSET else event.reason
        yield from self._over(reason, event.duration, ts)

    def _ended(self, event: events.CallEnded, seq: int, ts: float) -> Iterator[Draft]:
        yield from self._over(event.reason, event.duration_seconds, ts)

    def _chat_ended(self, event: events.LlmChatEnded, seq: int, ts: float) -> Iterator[Draft]:
        reason = "chat_completed" if event.reason is UNSET else event.reason
        yield from self._over(reason, event.duration_seconds, ts)

    def _over(self, reason: str, seconds: Any, ts: float) -> Iterator[Draft]:
        yield from self._settle_reply()
        yield from self._settle_turn()
        if seconds is UNSET:
            seconds = round(ts - (self._since or ts), 3)
        metrics = {name: summary(values) for name, values in self._latencies.items()}
        yield "call.ended", {"reason": reason, "duration": seconds}
        yield "call.summary", {"metrics": metrics, "reason": reason}
        self.over = True

    # --- the caller ---

    def _speech_started(self, event: events.SpeechStarted, seq: int, ts: float) -> Iterator[Draft]:
        if event.turn_id is not UNSET and event.turn_id > self._turn:
            yield from self._settle_turn()
            self._turn = event.turn_id
            yield "turn.start", {"turn": self._turn, "role": "user"}
        yield "user.speaking~", {"active": True}

    def _speech_ended(self, event: events.SpeechEnded, seq: int, ts: float) -> Iterator[Draft]:
        yield "user.speaking~", {"active": False}

    def _interim(self, event: events.UserSpeaking, seq: int, ts: float) -> Iterator[Draft]:
        # Its final words have an id of their own; readers put a turn's messages together.
        id = f"turn_{self._turn}" if event.message_id is UNSET else event.message_id
        yield "user.message~", {"id": id, "text": event.text, "final": False}

    def _said(self, event: events.UserMessage, seq: int, ts: float) -> Iterator[Draft]:
        data = {"id": event.message_id, "text": event.text, "final": True}
        yield "user.message", data | given(language=event.language)

    def _wrote(self, event: events.ChatMessage, seq: int, ts: float) -> Iterator[Draft]:
        self._turn += 1
        yield "turn.start", {"turn": self._turn, "role": "user"}
        yield "user.message", given(id=event.message_id) | {"text": event.text, "final": True}

    def _turn_ended(self, event: events.TurnEnd, seq: int, ts: float) -> Iterator[Draft]:
        yield from self._settle_turn()
        turn = self._turn if event.turn_id is UNSET else event.turn_id
        self._turn_end = {"turn": turn, "latency": {}}

    def _continued(self, event: events.TurnContinued, seq: int, ts: float) -> Iterator[Draft]:
        self._turn_end = None
        yield from ()

    def _latency(self, event: events.TurnLatency, seq: int, ts: float) -> Iterator[Draft]:
        parts = given(**{name: getattr(event, name) for name in PARTS})
        for name in MEASURED:
            if name in parts:
                self._latencies[name].append(parts[name])
        self._turn_end = None
        yield "turn.end", {"turn": event.turn_id, "latency": parts}

    def _settle_turn(self) -> Iterator[Draft]:
        """Tell of a turn that ended without a reply being heard."""
        if self._turn_end is not None:
            yield "turn.end", self._turn_end
            self._turn_end = None

    # --- the agent ---

    def _speaking(self, event: events.BotSpeaking, seq: int, ts: float) -> Iterator[Draft]:
        yield from self._settle_reply()
        yield "turn.start", {"turn": self._turn, "role": "bot"}
        self._reply = Reply(event.message_id, event.text)
        yield "bot.speaking", {"id": event.message_id, "text": event.text}

    def _word(self, event: events.BotWord, seq: int, ts: float) -> Iterator[Draft]:
        if self._reply is not None and self._reply.id == event.message_id:
            times = given(t0=event.start_time, t1=event.end_time)
            self._reply.words.append({"w": event.word} | times)
        yield "bot.word~", {"id": event.message_id, "w": event.word}

    def _confirmed(self, event: events.MessageConfirmed, seq: int, ts: float) -> Iterator[Draft]:
        reply = self._reply
        if reply is None or reply.id != event.message_id:
            return
        if event.text != reply.text:
            reply_text, reply.text = reply.text, event.text
            if reply_text or event.text:
                data = {"supersedes": reply.seq, "id": reply.id, "text": event.text}
                yield "bot.corrected", data

    def _finished(self, event: events.BotFinished, seq: int, ts: float) -> Iterator[Draft]:
        yield "bot.finished", given(id=event.message_id)
        yield from self._settle_reply(keep=True)

    def _interrupted(self, event: events.BotInterrupted, seq: int, ts: float) -> Iterator[Draft]:
        yield "bot.interrupted", given(id=event.message_id, at_word=event.words_spoken)
        yield from self._settle_reply(keep=True)

    def _settle_reply(self, *, keep: bool = False) -> Iterator[Draft]:
        """Put the words that were played into the entry of their reply.

        ``keep`` leaves the reply open for the `message.confirmed` that may follow its end.
        """
        reply = self._reply
        if reply is None:
            return
        if reply.words:
            text = {"id": reply.id, "text": reply.text}
            yield "amend", {"seq": reply.seq, "ts": reply.ts, **text, "words": reply.words}
            reply.words = []
        if not keep:
            self._reply = None

    def _answered(self, event: events.ChatResponse, seq: int, ts: float) -> Iterator[Draft]:
        id = f"bot_{seq}" if event.message_id is UNSET else event.message_id
        yield from self._wrote_back(id, event.text)

    def _wrote_back(self, id: str, text: str) -> Iterator[Draft]:
        """Tell of an answer in writing: it is said the moment it is sent."""
        yield "bot.speaking", {"id": id, "text": text}
        yield "bot.finished", {"id": id}
        if self._turn:
            yield "turn.end", {"turn": self._turn, "latency": {}}

    # --- tools, skills, the rest ---

    def _tool_call(self, event: events.LlmToolCall, seq: int, ts: float) -> Iterator[Draft]:
        for call in event.tool_calls:
            self._tools[call.id] = (call.name, ts)
            args = arguments(call.arguments)
            yield "tool.call", {"id": call.id, "name": call.name, "args": args}

    def _tool_result(self, event: events.LlmToolResult, seq: int, ts: float) -> Iterator[Draft]:
        results = [structs.asdict(event)] if event.results is UNSET else event.results
        for result in results:
            id = str(result.get("tool_call_id", ""))
            name, since = self._tools.pop(id, (result.get("name", UNSET), None))
            value = result.get("result")
            value = None if value is UNSET else value
            failed = value.get("error") if isinstance(value, dict) else None
            data = {"id": id, **given(name=name), "result": value}
            if since is not None:
                data["ms"] = round((ts - since) * 1000)
            yield "tool.result", data | ({} if failed is None else {"error": failed})

    def _skill_loaded(self, event: events.SkillLoaded, seq: int, ts: float) -> Iterator[Draft]:
        yield "skill.loaded", {"skill": event.skill, "by": event.by}

    def _skill_unloaded(self, event: events.SkillUnloaded, seq: int, ts: float) -> Iterator[Draft]:
        yield "skill.unloaded", {"skill": event.skill, "by": event.by}

    def _sources(self, event: events.DocsSources, seq: int, ts: float) -> Iterator[Draft]:
        yield "docs.sources", {"sources": event.sources}

    def _metrics(self, event: events.AudioMetrics, seq: int, ts: float) -> Iterator[Draft]:
        level = given(rms=event.rms, peak=event.peak, energy_db=event.energy_db)
        yield "audio.metrics~", {"source": event.source, **level}

    def _paused(self, event: events.SessionPaused, seq: int, ts: float) -> Iterator[Draft]:
        yield "handoff.active", {"by": "agent"}

    def _resumed(self, event: events.SessionResumed, seq: int, ts: float) -> Iterator[Draft]:
        yield "handoff.released", {"by": "agent"}


TELL: dict[type[Event], Callable[[Translator, Any, int, float], Iterator[Draft]]] = {
    events.CallRinging: Translator._ringing,
    events.CallDialing: Translator._dialing,
    events.CallRejected: Translator._rejected,
    events.CallStarted: Translator._started,
    events.CallEnded: Translator._ended,
    events.LlmChatStarted: Translator._chat_started,
    events.LlmChatEnded: Translator._chat_ended,
    events.SpeechStarted: Translator._speech_started,
    events.SpeechEnded: Translator._speech_ended,
    events.UserSpeaking: Translator._interim,
    events.UserMessage: Translator._said,
    events.ChatMessage: Translator._wrote,
    events.TurnEnd: Translator._turn_ended,
    events.TurnContinued: Translator._continued,
    events.TurnLatency: Translator._latency,
    events.BotSpeaking: Translator._speaking,
    events.BotWord: Translator._word,
    events.MessageConfirmed: Translator._confirmed,
    events.BotFinished: Translator._finished,
    events.BotInterrupted: Translator._interrupted,
    events.ChatResponse: Translator._answered,
    events.LlmToolCall: Translator._tool_call,
    events.LlmToolResult: Translator._tool_result,
    events.SkillLoaded: Translator._skill_loaded,
    events.SkillUnloaded: Translator._skill_unloaded,
    events.DocsSources: Translator._sources,
    events.AudioMetrics: Translator._metrics,
    events.WhatsappSessionStarted: Translator._contact_started,
    events.WhatsappMessage: Translator._contact_wrote,
    events.WhatsappResponse: Translator._contact_told,
    events.WhatsappSessionEnded: Translator._contact_ended,
    events.SessionPaused: Translator._paused,
    events.SessionResumed: Translator._resumed,
}
"""Events that the log tells of; all others pass it by."""


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that were on the wire."""
    return {name: value for name, value in fields.items() if value is not UNSET}


def arguments(text: str) -> Any:
    """Return a tool's arguments as an object, or as the text they are if that is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def summary(values: list[float]) -> dict[str, float | int | None]:
    """Return p50, p90, p95 (nearest rank), maximum and number of ``values``, in their unit."""
    ordered = sorted(values)

    def rank(percent: int) -> float | None:
        return ordered[max(0, -(-percent * len(ordered) // 100) - 1)] if ordered else None

    return {
        "p50": rank(50),
        "p90": rank(90),
        "p95": rank(95),
        "max": ordered[-1] if ordered else None,
        "n": len(ordered),
    }
