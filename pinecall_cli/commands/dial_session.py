"""What ``call NUMBER`` wires together: an agent, a server, a telephone here, a view, the end."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pinecall_cli.audio.devices import Choice, parse_device
from pinecall_cli.call.records import ErrorRecord, Record, summary
from pinecall_cli.call.session import SessionState, advance
from pinecall_cli.caller.player import Player
from pinecall_cli.commands.answering import Telephone, plug_in
from pinecall_cli.commands.dial_plan import (
    DialOptions,
    Plan,
    confirm,
    frame_of,
    from_number,
    phones_of,
    plan_of,
    preview,
    sits_here,
)
from pinecall_cli.commands.hosting import Place, own_server
from pinecall_cli.commands.outcome import connected, refusal, unanswered
from pinecall_cli.commands.signals import ended_by_signals
from pinecall_cli.commands.talk import Ends, Taping, devices, player_for
from pinecall_cli.errors import (
    PinecallError,
    ServerUnreachableError,
    UsageError,
)
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.sdk import discover
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.handset import Handset
from pinecall_cli.sdk.mic import PHONE_RATE
from pinecall_cli.settings import Settings
from pinecall_cli.view.keyboard import Keyboard
from pinecall_cli.view.live import LiveView
from pinecall_cli.view.region import CALL_KEYS, RINGING_KEYS, Ui
from pinecall_cli.view.twins import View, open_view

if TYPE_CHECKING:
    from pinecall_cli.server.embedded import EmbeddedServer

HANG_UP_WITHIN_S = 1.3
"""For ``call.ended`` to come after Ctrl-C; the contract gives 2 s in all."""
DIALING_WITHIN_S = 15.0
"""For a server to say that it dials, or that it does not."""
SLACK_S = 3.0
"""Beyond a time limit of ours, before we hang up because the server did not."""


def run(options: DialOptions, settings: Settings) -> int:
    """Let the agent call the number; return the exit code.

    Raises:
        PinecallError: If it may not be called, cannot be, or the call breaks off.
    """
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(options.verbose, 2)]
    logging.basicConfig(
        level=logging.ERROR if options.quiet else level, format="%(message)s", stream=sys.stderr
    )
    interactive = sits_here() and not options.json and not options.plain
    plan = plan_of(options, settings.target(), interactive=interactive)
    if plan.hosted:
        assert plan.name is not None
        from_ = from_number(plan, plan.name, phones_of(plan.loaded))
        say(preview(plan, from_, plan.name, f"{plan.target.url}, a real telephone rings"))
        confirm(plan)
    return asyncio.run(DialSession(plan).run())


def say(text: str) -> None:
    """Talk, beside the view on stdout."""
    print(text, file=sys.stderr)  # noqa: T201 - talk is for stderr


class DialSession:
    """One call that an agent makes, shown as it happens."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.options = plan, plan.options
        self.state = SessionState()
        self.call_id: str | None = None
        self.view: View
        self.telephone: Telephone | None = None
        self.client: Pinecall
        self._agent = ""
        self._started = asyncio.Event()
        self._reason: str | None = None
        self._failure: PinecallError | None = None
        self._over = asyncio.Event()
        self._dialing = asyncio.Event()
        self._signal: signal.Signals | None = None
        self._leaving = False
        self._keyboard: Keyboard | None = None
        self._muted = False
        self._taping: Taping | None = None
        self._unshown: OSError | None = None
        self._embedded: EmbeddedServer | None = None
        self._main: asyncio.Task[Any] | None = None
        """What is to be given up while nothing has been dialled."""
        self._work: set[asyncio.Task[Any]] = set()

    async def run(self) -> int:
        """Make the call and follow it to its end; return the exit code."""
        self._open_view()
        with ended_by_signals(self._interrupt, tidy=self._tidy):
            async with AsyncExitStack() as stack:
                stack.callback(self.view.close)
                if isinstance(self.view, LiveView):
                    stack.enter_context(self.view)
                self._main = asyncio.current_task()
                try:
                    await self._call(stack)
                except asyncio.CancelledError:
                    if not self._leaving:
                        raise
                return self._outcome()

    async def _call(self, stack: AsyncExitStack) -> None:
        player = await self._player()
        place, phones = await self._server(stack)
        from_ = from_number(self.plan, self._agent, phones)
        if not self.plan.hosted and not self.options.quiet:
            local = f"{place.url}, the local exchange: no real telephone rings"
            say(preview(self.plan, from_, self._agent, local))
        telephone = await self._plug_in(stack, place, player)
        if isinstance(self.view, LiveView):
            self._keyboard = Keyboard(
                self._press, on_suspend=self.view.pause, on_resume=self.view.resume
            )
            stack.enter_context(self._keyboard)
        self._main = None
        self.client.send(frame_of(self.plan, self._agent, from_))
        await self._follow(telephone)
        if player is not None and self._failure is None and self._signal is None:
            self._failure = player.failure

    # -- beginning -------------------------------------------------------------------------

    async def _server(self, stack: AsyncExitStack) -> tuple[Place, tuple[str, ...]]:
        """Return the server to dial on, and the agent's numbers; it is registered by then."""
        loaded, target = self.plan.loaded, self.plan.target
        if loaded is None:
            place, phones = await self._running_agent()
        else:
            phones = phones_of(loaded)
            self._agent = self.plan.name or loaded.config.name
            if self.plan.hosted:
                assert target.url is not None
                assert target.key is not None
                place = Place(target.url, target.key)
            else:
                held = f"`--agent {self._agent}` lets the one that runs make the call"
                place = await stack.enter_async_context(
                    own_server(
                        [self._agent],
                        record=self.options.record,
                        held=held,
                        notice=self._notice,
                    )
                )
                self._embedded = place.embedded
        self.client = Pinecall(place.key, place.url, auto_reconnect=False)
        stack.push_async_callback(self.client.disconnect)
        self.client.tap(self._heard)
        self.client.on("disconnected", self._lost)
        if loaded is not None:
            numbers = () if self.plan.hosted else loaded.config.phone_numbers
            config = replace(loaded.config, name=self._agent, phone_numbers=numbers)
            self.client.add(loaded.agent, config)
            for handle in loaded.clients:
                self.client.adopt(handle)
        await self.client.connect()
        await self.client.registered()
        if loaded is None and not self.client.embedded:
            raise UsageError(
                f"{place.url} lets an agent's own process dial, and nobody else",
                fix="name the agent's file: `--agent agents/NAME.yaml`",
            )
        return place, phones

    async def _running_agent(self) -> tuple[Place, tuple[str, ...]]:
        """Return where the agent runs that is named, or the only one there is."""
        name = self.plan.name
        if name is None:
            name = await discover.only(self.plan.target, how="choose one with `--agent`")
        found = await discover.find(name, self.plan.target)
        self._agent = name
        if self.options.record is not None and self.plan.answer is None:
            raise UsageError(
                "`--record` needs the call's sound to be here",
                fix="name the agent's file with `--agent`, or answer here with `--answer`",
            )
        phones = next((a.phones for a in found.agents if a.slug == name), None)
        return Place(found.url, found.key), phones or ()

    async def _player(self) -> Player | None:
        answer = self.plan.answer
        if answer is None or answer.caller is None:
            return None
        return await player_for(answer.caller, PHONE_RATE)

    async def _plug_in(
        self, stack: AsyncExitStack, place: Place, player: Player | None
    ) -> asyncio.Task[None] | None:
        """Let this terminal ring, if somebody answers here."""
        answer = self.plan.answer
        if answer is None:
            return None
        choice = parse_device(self.options.device) if self.options.device else Choice()

        async def person() -> Ends:
            return await devices(
                stack, PHONE_RATE, choice, cancel_echo=self.options.cancel_echo, level=self._level
            )

        self.telephone = Telephone(
            answer.how,
            person=person if answer.how == "mic" else None,
            player=player,
            asks=self._ring if isinstance(self.view, LiveView) else None,
            taped=self._taped(stack),
        )
        handset = await Handset.wait(
            place.url, place.key, self.plan.to.number, fallback=answer.fallback
        )
        return await plug_in(stack, self.telephone, handset)

    def _taped(self, stack: AsyncExitStack) -> Callable[[Ends], Ends]:
        """Return what records the call here, where the server does not do it for us."""
        if self.options.record is None or self.plan.loaded is not None:
            return lambda ends: ends
        taping = self._taping = Taping(self.options.record, PHONE_RATE)
        stack.callback(taping.close)
        return taping.tape

    # -- the call --------------------------------------------------------------------------

    async def _follow(self, telephone: asyncio.Task[None] | None) -> None:
        """Return when the call is over, or nothing more can be heard of it."""
        loop = asyncio.get_running_loop()
        watching = [loop.create_task(self._watch(), name="limits")]
        over = loop.create_task(self._over.wait(), name="over")
        ends: set[asyncio.Future[Any]] = {over, *watching}
        if telephone is not None:
            ends.add(telephone)
        try:
            while not over.done():
                done, ends = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {over}:
                    if (problem := task.exception()) is not None and self._failure is None:
                        self._failed(problem)
        finally:
            over.cancel()
            for task in watching:
                task.cancel()

    def _failed(self, problem: BaseException) -> None:
        if not isinstance(problem, PinecallError):
            raise problem
        self._failure = problem
        self._leave()

    async def _watch(self) -> None:
        """Hang up where the server does not keep to a limit, or does not answer at all."""
        try:
            async with asyncio.timeout(DIALING_WITHIN_S):
                await self._dialing.wait()
        except TimeoutError:
            url = self.plan.target.url or "the server"
            raise ServerUnreachableError(f"{url} does not say that it dials") from None
        if (ring := self.options.ring_timeout) is not None:
            await self._within(ring, self._started)
        await self._started.wait()
        if (longest := self.options.max_duration) is not None:
            await self._within(longest, self._over)

    async def _within(self, limit_s: float, event: asyncio.Event) -> None:
        """Hang up if something has not happened by then."""
        try:
            async with asyncio.timeout(limit_s + SLACK_S):
                await event.wait()
        except TimeoutError:
            self._leave()

    def _heard(self, received: Received) -> None:
        frame = received.frame
        match frame:
            case events.CallDialing(call_id=str(id)) if self.call_id is None:
                self.call_id = id
                self._dialing.set()
            case events.CallError() if self.call_id is None:
                self._dialing.set()
                self._failure = refusal(frame)
                self._over.set()
                return
        if self.call_id is None or getattr(frame, "call_id", None) != self.call_id:
            return
        self._happened(received)
        match frame:
            case events.CallStarted():
                self._started.set()
            case events.CallError():
                self._failure = refusal(frame)
            case events.CallEnded(reason=reason):
                self._reason = reason
                self._over.set()
        if self._leaving and isinstance(frame, events.CallDialing):
            self._hang_up()

    def _lost(self, reason: str) -> None:
        if not self._over.is_set():
            self._failure = self._failure or ServerUnreachableError(
                f"the connection was lost during the call: {reason}",
                fix="see whether the server still runs: `pinecall agents`",
            )
            self._over.set()

    def _happened(self, what: Received | Record) -> None:
        now = time.time()
        frame = what.frame if isinstance(what, Received) else what
        self.state = advance(self.state, frame, at=now)
        try:
            self.view.show(self.state, what, at=now)
        except OSError as problem:  # the disk that stdout leads to is full: hang up, then say so
            self._unshown = problem
            self._leave()

    # -- the end ---------------------------------------------------------------------------

    def _outcome(self) -> int:
        """Say how it went, in the last record, the exit code, or an error."""
        failure = self._failure
        if failure is None and not self._leaving and self._reason is not None:
            to = self.plan.to.shown
            answered = self._started.is_set()
            failure = connected(self._reason) if answered else unanswered(self._reason, to)
        failure = failure or self._unrecorded()
        if failure is not None and self._signal is None and self.options.json:
            self._happened(ErrorRecord.of(failure, at=time.time()))
            failure.told = True
        state = self.state.call(self.call_id) if self.call_id else None
        if state is not None:
            self._happened(summary(state, at=time.time()))
        if self._signal is not None:
            return 128 + self._signal
        if self._unshown is not None:
            raise self._unshown
        if failure is not None:
            self.view.close()
            raise failure
        return 0

    def _unrecorded(self) -> PinecallError | None:
        """Return why not all of the call was recorded, which it was meant to be."""
        if self._taping is not None:
            self._taping.close()
            return self._taping.problem
        if self._embedded is None or self.options.record is None:
            return None
        return self._embedded.server.recording_problem

    def _interrupt(self, number: signal.Signals) -> None:
        self._signal = number
        self._leave()

    def _leave(self) -> None:
        """Hang up, and give the server a moment to say that the call has ended."""
        if self._leaving:
            return
        self._leaving = True
        if self._main is not None:  # nothing was dialled yet
            self._main.cancel()
            return
        self._hang_up()
        asyncio.get_running_loop().call_later(HANG_UP_WITHIN_S, self._over.set)

    def _hang_up(self) -> None:
        if self.call_id is not None and self.client.connected:
            self.client.send(commands.CallHangup(call_id=self.call_id))

    def _tidy(self) -> None:
        """Put the terminal back, whatever else is left as it is."""
        if self._keyboard is not None:
            self._keyboard.put_back()
        self.view.close()

    # -- the terminal ----------------------------------------------------------------------

    def _open_view(self) -> None:
        self.view = open_view(
            json=self.options.json,
            plain=self.options.plain,
            ui=Ui(keys=CALL_KEYS),
            on_closed=self._leave,
        )

    def _ring(self, rings: bool) -> None:
        self._update(keys=RINGING_KEYS if rings else CALL_KEYS)

    def _press(self, key: str) -> None:
        telephone = self.telephone
        if telephone is not None and telephone.rings and key in ("enter", "r"):
            telephone.decide(key == "enter")
            return
        match key:
            case "h" | "q" | "ctrl-c" | "ctrl-d":
                self._leave()
            case "m" if telephone is not None and telephone.call is not None:
                self._muted = not self._muted
                self._spawn(telephone.call.mute(self._muted))
                muted = ("muted",) if self._muted else ()
                self._update(badges=(*telephone.badges, *muted))
            case "l" if isinstance(self.view, LiveView):
                self._update(latency=not self.view.ui.latency)

    def _level(self, dbfs: float) -> None:
        self._update(microphone=dbfs)

    def _update(self, **choices: Any) -> None:
        if isinstance(self.view, LiveView):
            self.view.update(**choices)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _notice(self, text: str) -> None:
        if not self.options.quiet:
            say(text)
