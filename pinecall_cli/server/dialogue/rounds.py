"""Rounds of tool calls that are out with the application, and their results.

All calls of a round leave in one ``llm.tool_call`` and are waited for together. A round whose
reply was interrupted stays open: the tool has run, so the model must learn of it all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from msgspec import UNSET

from pinecall_cli.engines.types import ToolCall
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.protocol.ids import message_id
from pinecall_cli.server.dialogue.exchange import Exchange, Result

TOOL_TIMEOUT_S = 30.0
"""The protocol's suggestion; the client itself has no limit (open-questions 35)."""

MOST_OPEN = 32
"""Rounds kept open for a late answer; the oldest is forgotten first."""


class Round:
    """The tool calls of one generation, until each has its result."""

    def __init__(
        self,
        exchange: Exchange,
        said: str,
        calls: Sequence[ToolCall],
        answered: Mapping[str, Result],
    ) -> None:
        """``said`` came before the calls; ``answered`` are those that nobody need be asked for."""
        self.msg_id = message_id()
        self.exchange = exchange
        self.said = said
        self.calls = tuple(calls)
        self.results = dict(answered)
        self.over = asyncio.Event()

    @property
    def outstanding(self) -> tuple[ToolCall, ...]:
        """Return the calls that have no result yet."""
        return tuple(call for call in self.calls if call.id not in self.results)

    @property
    def followed_up(self) -> bool:
        """Return whether the model is to speak about the results: unless every tool says no."""
        return not all(self.results[call.id].no_followup for call in self.calls)


class Rounds:
    """The open rounds of one session."""

    def __init__(
        self,
        emit: Callable[[Event], None],
        *,
        timeout: float = TOOL_TIMEOUT_S,
    ) -> None:
        self._emit = emit
        self._timeout = timeout
        self._open: dict[str, Round] = {}

    async def run(self, round: Round) -> bool:
        """Send a round out and return when it is in its exchange; False if it ran out of time.

        Cancelling this leaves the round open: results that come later are still taken in.
        """
        if not round.outstanding:
            self._close(round)
            return True
        self._open[round.msg_id] = round
        while len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]
        self._emit(
            events.LlmToolCall(
                msg_id=round.msg_id,
                tool_calls=tuple(
                    events.ToolCall(id=call.id, name=call.name, arguments=call.arguments)
                    for call in round.outstanding
                ),
            )
        )
        try:
            async with asyncio.timeout(self._timeout):
                await round.over.wait()
        except TimeoutError:
            if round.over.is_set():  # the last result and the limit came in the same instant
                return True
            for call in round.outstanding:
                self._take(round, call, Result({"error": "timeout"}))
            self._close(round)
            return False
        return True

    def answered(self, command: commands.LlmToolResult) -> None:
        """Take in what the client answered; a round it does not name any more is ignored."""
        round = self._open.get(command.msg_id)
        if round is None:
            return
        calls = {call.id: call for call in round.outstanding}
        for result in command.results:
            call = calls.pop(result.tool_call_id, None)
            if call is not None:
                self._take(
                    round,
                    call,
                    Result(
                        None if result.result is UNSET else result.result,
                        ephemeral=result.ephemeral is True,
                        no_followup=result.no_followup is True,
                    ),
                )
        if not round.outstanding:
            self._close(round)

    def _take(self, round: Round, call: ToolCall, result: Result) -> None:
        round.results[call.id] = result
        self._emit(events.LlmToolResult(tool_call_id=call.id, name=call.name, result=result.value))

    def _close(self, round: Round) -> None:
        self._open.pop(round.msg_id, None)
        round.exchange.record(round.said, round.calls, round.results)
        round.over.set()
