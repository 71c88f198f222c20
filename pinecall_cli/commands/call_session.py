"""What ``call`` wires together: a server, a caller, a `MicCall`, a view, and the outcome."""

from __future__ import annotations

import asyncio
import json as jsonlib
import logging
import signal
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinecall_cli.agent.load import load
from pinecall_cli.audio.devices import Choice, list_devices, parse_device
from pinecall_cli.call.records import ErrorRecord, Record, summary
from pinecall_cli.call.session import SessionState, advance
from pinecall_cli.caller.player import Player
from pinecall_cli.caller.steps import (
    Caller,
    plays,
    refuse_keys_off_the_phone,
    says,
)
from pinecall_cli.caller.yaml_file import load_caller, parse_caller
from pinecall_cli.commands.complete import remember_devices
from pinecall_cli.commands.hosting import Place, own_server
from pinecall_cli.commands.options import names_a_file
from pinecall_cli.commands.outcome import connected
from pinecall_cli.commands.signals import ended_by_signals
from pinecall_cli.commands.talk import Ends, Kept, Taping, devices, player_for, virtual
from pinecall_cli.errors import (
    InfrastructureError,
    PinecallError,
    UsageError,
)
from pinecall_cli.protocol.frames import Received
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.protocol.refusal import ConfigRefused
from pinecall_cli.sdk import discover
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.mic import MicCall, rate_of
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.settings import Settings, Target
from pinecall_cli.view.keyboard import Keyboard
from pinecall_cli.view.keys import LineEditor
from pinecall_cli.view.live import LiveView
from pinecall_cli.view.region import CALL_KEYS, Ui
from pinecall_cli.view.strays import kept_apart
from pinecall_cli.view.twins import View, open_view

HANG_UP_WITHIN_S = 1.5
"""For ``call.ended`` to come after Ctrl-C; the contract gives 2 s in all."""
LOADING_WITHIN_S = 60.0
"""For a server that is still loading its speech engines to answer the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What the command line of ``call`` said."""

    target: str | None = None
    say: tuple[str, ...] = ()
    input: Path | None = None
    caller: str | None = None
    output: Path | None = None
    record: Path | None = None
    from_: str | None = None
    to: str | None = None
    press: str | None = None
    stay: float | None = None
    device: str | None = None
    cancel_echo: bool = True
    json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: int = 0

    @property
    def virtual(self) -> bool:
        """Whether no sound device is needed."""
        return bool(self.say or self.input or self.caller)


def run(options: CallOptions, settings: Settings) -> int:
    """Make the call; return the exit code.

    Raises:
        PinecallError: If it cannot begin, or breaks off.
    """
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(options.verbose, 2)]
    logging.basicConfig(
        level=logging.ERROR if options.quiet else level, format="%(message)s", stream=sys.stderr
    )
    given = [name for name in ("say", "input", "caller") if getattr(options, name)]
    if len(given) > 1:
        raise UsageError(f"`--{given[0]}` and `--{given[1]}` do not go together")
    if not all(text.strip() for text in options.say):
        raise UsageError("`--say` has no text", fix='write it as `--say "Hello."`')
    if options.to is not None:
        try:
            normalise_number(options.to)
        except ConfigRefused as refused:
            raise UsageError(f"`--to`: {refused.message}", fix=refused.fix) from None
    if options.target is None:
        raise UsageError("no agent is named", fix="`pinecall agents` lists those that run")
    return asyncio.run(CallSession(options, settings.target(), caller_of(options)).run())


def caller_of(options: CallOptions) -> Caller | None:
    """Return who calls in this terminal's place; None for the person in front of it.

    Raises:
        AgentFileProblems: If the caller's file is none.
        UsageError: If keys are to be pressed off the phone.
    """
    caller: Caller | None = None
    if options.caller == "-":
        caller = parse_caller(sys.stdin.buffer.read(), "standard input", Path.cwd())
    elif options.caller is not None:
        caller = load_caller(Path(options.caller))
    elif options.input is not None:
        caller = Caller(plays(options.input, press=options.press))
    elif options.say:
        caller = Caller(says(options.say, press=options.press))
    if caller is not None:
        refuse_keys_off_the_phone(caller.steps, options.to or caller.to_number)
    elif options.press is not None:
        raise UsageError("`--press` needs `--say`, `--input` or `--caller`")
    return caller


def print_devices(*, json: bool) -> None:
    """Print the sound devices that `--device` takes; TAB offers them from now on."""
    found = list_devices()
    remember_devices(found)
    if json:
        document = [
            {
                "id": device.id,
                "name": device.name,
                "input": device.input,
                "output": device.output,
                "default": device.default,
            }
            for device in found
        ]
        sys.stdout.write(jsonlib.dumps({"devices": document}) + "\n")
        return
    if not found:
        sys.stderr.write("no sound device is here; --say, --input and --caller need none\n")
    for device in found:
        sides = " + ".join(s for s in ("input", "output") if getattr(device, s))
        mark = "*" if device.default else " "
        sys.stdout.write(f"{mark} {device.id:>3}  {device.name}  ({sides})\n")


class CallSession:
    """One call from this machine to an agent, shown as it happens."""

    def __init__(self, options: CallOptions, target: Target, caller: Caller | None) -> None:
        self.options, self.target, self.caller = options, target, caller
        self.state = SessionState()
        self.call_id: str | None = None
        self.view: View
        self.call: MicCall | None = None
        self._signal: signal.Signals | None = None
        self._quit = False
        self._holding: asyncio.Task[Any] | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._editor: LineEditor | None = None
        self._keyboard: Keyboard | None = None
        self._muted = False
        self._badges: tuple[str, ...] = ()
        self._taping: Taping | None = None

    async def run(self) -> int:
        """Make the call and hold it; return the exit code."""
        async with AsyncExitStack() as stack:
            choice = parse_device(self.options.device) if self.options.device else Choice()
            player = asyncio.get_running_loop().create_task(self._player(), name="player")
            try:
                place, slug = await self._server(stack)
                async with Rest(place.url, place.key) as rest:
                    token = await rest.token("webrtc", slug)
                virtual_caller = await player
            finally:
                player.cancel()
            from_ = self.options.from_ or (self.caller.from_number if self.caller else None)
            to = self.options.to or (self.caller.to_number if self.caller else None)
            ends = None
            if virtual_caller is None:
                ends = await devices(
                    stack,
                    rate_of(to),
                    choice,
                    cancel_echo=self.options.cancel_echo,
                    level=self._level,
                )
                self._badges = ends.badges
            self._open_view(stack)
            call = self.call = await stack.enter_async_context(
                await MicCall.dial(token.server, token.token, from_=from_, to=to)
            )
            if ends is None:
                assert virtual_caller is not None
                ends = virtual(call, virtual_caller)
            if self.options.output is not None:
                kept = Kept(self.options.output, call.rate)
                stack.callback(kept.writer.close)
                ends.play = kept.also(ends.play)
            if self.options.record is not None:
                taping = self._taping = Taping(self.options.record, call.rate)
                stack.callback(taping.close)
                ends = taping.tape(ends)
            if isinstance(self.view, LiveView):
                self._keyboard = Keyboard(
                    self._press, on_suspend=self.view.pause, on_resume=self.view.resume
                )
                stack.enter_context(self._keyboard)
            return await self._hold(ends, virtual_caller)

    # -- beginning -------------------------------------------------------------------------

    async def _server(self, stack: AsyncExitStack) -> tuple[Place, str]:
        """Return the server and the slug to call: of a running agent, or of a file run here."""
        assert self.options.target is not None
        if not names_a_file(self.options.target):
            found = await discover.find(self.options.target, self.target)
            self._refuse_hosted()
            self._say(f"calling {slugify(self.options.target)} on {found.url}")
            return Place(found.url, found.key), slugify(self.options.target)
        self._refuse_hosted()
        loaded = load(Path(self.options.target))
        if len(loaded) > 1:
            names = ", ".join(one.config.name for one in loaded)
            raise UsageError(
                f"`{self.options.target}` holds several agents: {names}",
                fix="run them with `pinecall dev`, and call one by its name",
            )
        one = loaded[0]
        held = f"`pinecall call {one.config.name}` calls the one that runs"
        place = await stack.enter_async_context(
            own_server([one.config.name], held=held, notice=self._say)
        )
        self._say(f"running {one.config.name} on a local server for this call")
        client = Pinecall(place.presented, place.url)
        stack.push_async_callback(client.disconnect)
        client.on("error", lambda problem: self._say(str(problem)))
        client.add(one.agent)
        for handle in one.clients:
            client.adopt(handle)
        await client.connect()
        await client.registered()
        return place, one.config.name

    def _refuse_hosted(self) -> None:
        if self.target.kind == "hosted":
            raise InfrastructureError(
                "a voice call to an agent on a hosted server needs WebRTC, which is not here yet",
                code="webrtc_missing",
                fix="call the agent's file: it then runs on a local server (`--local`)",
            )

    async def _player(self) -> Player | None:
        """Return the virtual caller with all its sounds made; None for a person."""
        if self.caller is None:
            return None
        rate = rate_of(self.options.to or self.caller.to_number)
        return await player_for(self.caller, rate, stay=self.options.stay)

    def _open_view(self, stack: AsyncExitStack) -> None:
        self.view = open_view(
            json=self.options.json,
            plain=self.options.plain,
            ui=Ui(keys=CALL_KEYS, badges=self._badges),
            on_closed=self._nobody_reads,
        )
        stack.callback(self.view.close)
        if isinstance(self.view, LiveView):
            stack.enter_context(self.view)
        stack.enter_context(kept_apart(self.view))
        if self._badges and not isinstance(self.view, LiveView):
            self._say("; ".join(self._badges))

    # -- the call --------------------------------------------------------------------------

    async def _hold(self, ends: Ends, player: Player | None) -> int:
        assert self.call is not None
        call = self.call

        def hear(received: Received) -> None:
            ends.heard(received)
            self._happened(received)

        failure: PinecallError | None = None
        with ended_by_signals(self._interrupt, tidy=self._tidy):
            self._holding = asyncio.get_running_loop().create_task(
                call.hold(ends.frames, play=ends.play, hear=hear, answer_within_s=LOADING_WITHIN_S),
                name="hold",
            )
            try:
                await self._holding
            except asyncio.CancelledError:
                if self._signal is None and not self._quit:
                    raise
            except PinecallError as error:
                failure = error
        if player is not None and failure is None and self._signal is None:
            failure = player.failure
        reason = call.ended.reason if call.ended is not None else "hangup"
        if failure is None and not self._quit:
            failure = connected(reason)
        if self._taping is not None:
            self._taping.close()
            failure = failure or self._taping.problem
        if failure is not None and self._signal is None and self.options.json:
            self._happened(ErrorRecord.of(failure, at=time.time()))
            failure.told = True  # the summary is the last record
        state = self.state.call(self.call_id) if self.call_id else None
        if state is not None:
            self._happened(summary(state, at=time.time()))
        if self._signal is not None:
            return 128 + self._signal
        if failure is not None:
            self.view.close()
            raise failure
        return 0

    def _happened(self, what: Received | Record) -> None:
        now = time.time()
        frame = what.frame if isinstance(what, Received) else what
        if self.call_id is None and isinstance(what, Received):
            call_id = getattr(what.frame, "call_id", None)
            self.call_id = call_id if isinstance(call_id, str) else None
        self.state = advance(self.state, frame, at=now)
        self.view.show(self.state, what, at=now)

    def _interrupt(self, number: signal.Signals) -> None:
        self._signal = number
        self._leave()

    def _tidy(self) -> None:
        """Put the terminal back, whatever else is left as it is."""
        if self._keyboard is not None:
            self._keyboard.put_back()
        self.view.close()

    def _nobody_reads(self) -> None:
        self._quit = True
        self._leave()

    def _leave(self) -> None:
        """Hang up, and give the server a moment to say that the call has ended."""

        async def leave() -> None:
            if self.call is not None:
                await self.call.hangup()
            await asyncio.sleep(HANG_UP_WITHIN_S)
            if self._holding is not None:
                self._holding.cancel()

        self._spawn(leave())

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # -- keys ------------------------------------------------------------------------------

    def _press(self, key: str) -> None:
        assert self.call is not None
        if self._editor is not None:
            self._edit(key)
            return
        match key:
            case "h" | "q" | "ctrl-c" | "ctrl-d":
                self._quit = True
                self._leave()
            case "m":
                self._muted = not self._muted
                self._spawn(self.call.mute(self._muted))
                self._update(badges=(*self._badges, *(("muted",) if self._muted else ())))
            case "t":
                self._editor = LineEditor()
                self._update(prompt="")
            case "l" if isinstance(self.view, LiveView):
                self._update(latency=not self.view.ui.latency)

    def _edit(self, key: str) -> None:
        assert self._editor is not None
        assert self.call is not None
        self._editor = self._editor.press(key)
        if self._editor.done is None:
            self._update(prompt=self._editor.text)
            return
        if self._editor.done == "sent":
            self._spawn(self.call.say_typed(self._editor.text.strip()))
        self._editor = None
        self._update(prompt=None)

    def _level(self, dbfs: float) -> None:
        self._update(microphone=dbfs)

    def _update(self, **choices: Any) -> None:
        if isinstance(self.view, LiveView):
            self.view.update(**choices)

    def _say(self, text: str) -> None:
        if not self.options.quiet:
            print(text, file=sys.stderr)  # noqa: T201 - talk, beside the view on stdout
