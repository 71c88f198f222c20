"""Where the time between the caller's last sound and the agent's first went (events.md §7.8)."""

from __future__ import annotations

from pinecall_cli.protocol import events
from pinecall_cli.server.voice.orders import Answer


class Stopwatch:
    """The cut points of one answered turn, in ms of the call's audio clock.

    A point that was passed before its predecessor adds nothing; the parts and ``other`` sum to
    ``e2e`` by construction.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self._points: dict[str, int] = {}

    def mark(self, point: str, at: int) -> None:
        """Pass a point: ``barrier`` or ``tools`` (the last one counts), ``first_token`` or
        ``first_audio`` (the first).
        """
        if point in ("barrier", "tools"):
            self._points["tools"] = at
        else:
            self._points.setdefault(point, at)

    def report(self, message_id: str, audible_at: int) -> events.TurnLatency:
        """Return ``turn.latency`` for a reply whose first sound stands at this position."""
        answer = self.answer
        decided = answer.decided_at
        ready = self._points.get("tools", decided)
        token = self._points.get("first_token", ready)
        points = [
            answer.voice_end,
            answer.vad_end,
            answer.text_at,
            decided,
            ready,
            token,
            self._points.get("first_audio", token),
            audible_at,
        ]
        parts = []
        reached = points[0]
        for point in points[1:]:
            point = min(point, audible_at)  # the caller's sound may lead the clock by a little
            parts.append(max(0, point - reached))
            reached = max(reached, point)
        e2e = max(0, audible_at - answer.voice_end)
        vad, asr, eou, tools, ttft, ttfb, playout = parts
        return events.TurnLatency(
            turn_id=answer.turn_id,
            message_id=message_id,
            vad=vad,
            asr=asr,
            eou=eou,
            tools=tools,
            llm_ttft=ttft,
            tts_ttfb=ttfb,
            playout=playout,
            other=e2e - sum(parts),
            e2e=e2e,
        )
