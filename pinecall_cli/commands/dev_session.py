"""What ``dev`` wires together: a server, a client, a reloader, a view, and the keys."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinecall_cli.agent.load import Loaded, load
from pinecall_cli.agent.problems import shown_path
from pinecall_cli.call.records import (
    AgentEntry,
    DevReady,
    DevReconnected,
    DevReconnecting,
    DevStopped,
    EngineNotice,
    ErrorRecord,
    Record,
)
from pinecall_cli.call.session import SessionState, advance, call_of
from pinecall_cli.commands.dev_keys import DevKeys
from pinecall_cli.commands.hosting import Place, dev_name, joined_server, own_server
from pinecall_cli.commands.signals import ended_by_signals
from pinecall_cli.errors import (
    ConflictError,
    InfrastructureError,
    PinecallError,
    ServerUnreachableError,
    UsageError,
)
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event, Received
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.reload.apply import Reloader
from pinecall_cli.reload.watch import watch
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.settings import Settings, Target
from pinecall_cli.view.live import LiveView
from pinecall_cli.view.strays import kept_apart
from pinecall_cli.view.twins import View, open_view

REGISTER_WITHIN_S = 30.0
HANG_UP_WITHIN_S, STOPPED_WITHIN_S = 0.8, 0.3
"""For live calls to end, and for our own work; the first Ctrl-C promises 2 s in all."""
DEFAULT_TARGETS = ("agents", "agent.yaml", "agent.yml", "agent.py")
FAILED_CALLS = frozenset({"failed", "busy", "no-answer", "rejected", "canceled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DevOptions:
    """What the command line of ``dev`` said."""

    targets: tuple[Path, ...] = ()
    alias: str | None = None
    prod: bool = False
    callers: tuple[str, ...] = ()
    call: bool = False
    events: bool = False
    record: Path | None = None
    reload: bool = True
    poll: bool = False
    once: bool = False
    port: int = 0
    json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: int = 0


def run(options: DevOptions, settings: Settings) -> int:
    """Run ``dev`` to its end; return the exit code.

    Raises:
        PinecallError: If it cannot begin: files, server, key, names.
    """
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(options.verbose, 2)]
    logging.basicConfig(
        level=logging.ERROR if options.quiet else level, format="%(message)s", stream=sys.stderr
    )
    loaded = [one for target in targets_of(options) for one in load(target)]
    if options.alias and len(loaded) > 1:
        raise UsageError("`--as` names one agent, and there are several", fix="name one file")
    return asyncio.run(DevSession(options, settings.target(), loaded).run())


def targets_of(options: DevOptions) -> tuple[Path, ...]:
    """Return the files and folders to load.

    Raises:
        UsageError: If none is named and none of the usual ones is here.
    """
    if options.targets:
        return options.targets
    for name in DEFAULT_TARGETS:
        if Path(name).exists():
            return (Path(name),)
    raise UsageError(
        "no agent here: neither `agents/` nor `agent.yaml` nor `agent.py`",
        fix="name a file: `pinecall dev path/to/agent.yaml`, "
        "or write an agent to start from: `pinecall agents new NAME`",
    )


class DevSession:
    """One run of ``dev``: what happens is folded into a state, and the view shows the state."""

    def __init__(self, options: DevOptions, target: Target, loaded: list[Loaded]) -> None:
        self.options, self.target, self.loaded = options, target, loaded
        self.state = SessionState()
        self.place: Place
        self.view: View
        self.keys: DevKeys
        self.client: Pinecall
        self.reloader: Reloader
        self._stop = asyncio.Event()
        self._ended: tuple[str, int] = ("quit", 0)
        self._problem: PinecallError | None = None
        """What ended it, if that is an error."""
        self._work: set[asyncio.Task[None]] = set()
        self._registered = False
        self._unreachable: str | None = None
        """What was told last of a server that has gone."""

    async def run(self) -> int:
        """Run until told to stop; return the exit code."""
        self.view = open_view(
            json=self.options.json,
            plain=self.options.plain,
            events=self.options.events,
            on_closed=lambda: self.stop("closed"),
        )
        self.keys = DevKeys(self)
        with ended_by_signals(self._told, tidy=self._tidy):
            return await self._run()

    async def _run(self) -> int:
        async with AsyncExitStack() as stack:
            stack.callback(self.view.close)
            if isinstance(self.view, LiveView):
                stack.enter_context(self.view)
            stack.enter_context(self.keys)
            stack.enter_context(kept_apart(self.view))
            self.place = await self._server(stack)
            self.client = Pinecall(self.place.presented, self.place.url)
            stack.push_async_callback(self.client.disconnect)
            self._listen()
            self.reloader = Reloader(self.client, rename=self.name_of, report=self.happened)
            stack.callback(self.reloader.close)
            self.reloader.begin(self.loaded)
            if self.options.callers:
                self.client.route_callers(self.options.callers)
            await self._register()
            if not self._stop.is_set():
                self._begin()
            await self._stop.wait()
            await self._end()
            if self._problem is not None:
                raise self._problem
        return self._ended[1]

    def stop(self, reason: str, code: int = 0) -> None:
        """End gracefully; the first reason counts."""
        if not self._stop.is_set():
            self._ended = (reason, code)
            self._stop.set()

    @property
    def registered(self) -> bool:
        """Whether the agents have been registered: from then on they can be called."""
        return self._registered

    @property
    def stopping(self) -> bool:
        """Whether the session has been told to end."""
        return self._stop.is_set()

    async def reload_all(self) -> None:
        """Read every file again, and register again what was taken off the server."""
        if lost := self.client.displaced:
            await self.client.connect()
            for name in lost:
                await self.client.create(name)
                text = f"{name} is registered again"
                self.happened(EngineNotice(at=time.time(), text=text))
        await self.reloader.reload_all()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``work`` beside everything else; its failure is shown, and ends nothing else."""
        task = asyncio.get_running_loop().create_task(self._shown(work), name=name)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    def happened(self, what: Received | Record) -> None:
        """Fold what happened into the state, and show it."""
        now = time.time()
        frame = what.frame if isinstance(what, Received) else what
        if not (self.options.json and isinstance(frame, Event) and call_of(frame)):
            # NDJSON shows no call as it stands; to fold one is a fifth of what an event costs.
            self.state = advance(self.state, frame, at=now)
        if isinstance(what, EngineNotice) and self.options.json and not self.options.quiet:
            print(what.text, file=sys.stderr)  # noqa: T201 - with --json stdout is the stream's
        self.view.show(self.state, what, at=now)

    def name_of(self, name: str) -> str:
        """Return the name an agent registers under."""
        if self.options.alias:
            return slugify(self.options.alias)
        return name if self.options.prod else dev_name(name, self.target)

    def _told(self, number: signal.Signals) -> None:
        self.stop("interrupted" if number == signal.SIGINT else "terminated", 128 + number)

    def _tidy(self) -> None:
        """Put the terminal back, whatever else is left as it is."""
        self.keys.put_back()
        self.view.close()

    # -- beginning and end -----------------------------------------------------------------

    async def _server(self, stack: AsyncExitStack) -> Place:
        """Start the embedded server, or join the one that is named."""
        if self.target.kind != "embedded":
            if self.options.record is not None:
                raise UsageError(
                    "`--record` needs the server in this process",
                    fix="leave `--server` out, or set `media: {recording: true}` in the agent",
                )
            return joined_server(self.target)
        loop = asyncio.get_running_loop()

        def notice(text: str) -> None:
            loop.call_soon_threadsafe(self.happened, EngineNotice(at=time.time(), text=text))

        names = [self.name_of(one.config.name) for one in self.loaded]
        place = await stack.enter_async_context(
            own_server(names, port=self.options.port, record=self.options.record, notice=notice)
        )
        assert place.embedded is not None
        loading = EngineNotice(at=time.time(), text="loading the speech engines", loading=True)
        self.happened(loading)
        place.embedded.engines.ready.add_done_callback(lambda ready: notice(engines_say(ready)))
        return place

    def _listen(self) -> None:
        self.client.tap(self._heard)
        self.client.on("error", self._client_error)
        self.client.on("reconnecting", self._reconnecting)
        self.client.on("disconnected", self._disconnected)

    async def _register(self) -> None:
        """Connect and register everything, unless told to stop meanwhile."""

        async def register() -> None:
            await self.client.connect()
            async with asyncio.timeout(REGISTER_WITHIN_S):
                await self.client.registered()

        registering = asyncio.get_running_loop().create_task(register(), name="register")
        stopping = asyncio.get_running_loop().create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({registering, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if registering.done():
                await registering
        except TimeoutError:
            raise InfrastructureError(
                f"{self.place.url} did not register the agents within {REGISTER_WITHIN_S:g} s",
                fix="see what it says, with `-v`",
            ) from None
        finally:
            for task in (registering, stopping):
                task.cancel()
            await asyncio.wait({registering, stopping})

    def _begin(self) -> None:
        """Say that everything is there, begin to watch the files, and obey the keys."""
        self._registered = True
        self.happened(
            DevReady(
                at=time.time(),
                agents=tuple(
                    AgentEntry(
                        agent=name,
                        file=shown_path(one.file),
                        phones=tuple(number.number for number in one.config.phone_numbers),
                    )
                    for name, one in self.reloader.agents
                ),
                server=self.place.url,
                local=self.target.kind != "hosted",
                joined=self.target.kind != "embedded",
            )
        )
        for one in self.loaded:
            for text in (*one.notices, *(f"{w.where}: {w.message}" for w in one.warnings)):
                self.happened(EngineNotice(at=time.time(), text=text))
        if self.options.reload:
            self.spawn(self._watch(), "watch")
        self.keys.begin()
        if self.options.call:
            self.keys.press("c")

    async def _end(self) -> None:
        """Hang up, hear how the calls ended, stop all work, and say why."""
        ends = [asyncio.ensure_future(hung_up(call)) for call in self.client.calls()]
        if ends:
            # Before our own call's work is given up: its end would be told to nobody.
            await asyncio.wait(ends, timeout=HANG_UP_WITHIN_S)
        for task in (*ends, *self._work):
            task.cancel()
        if self._work:
            await asyncio.wait(self._work, timeout=STOPPED_WITHIN_S)
        self.happened(DevStopped(at=time.time(), reason=self._ended[0]))

    # -- what comes in ---------------------------------------------------------------------

    def _heard(self, received: Received) -> None:
        self.happened(received)
        match received.frame:
            case events.CallEnded(reason=reason) if self.options.once:
                self.stop("once", 1 if reason in FAILED_CALLS else 0)
            case events.AgentCreated() if self._registered and self.state.reconnecting:
                self._unreachable = None
                self.happened(DevReconnected(at=time.time()))

    def _client_error(self, problem: Exception) -> None:
        if not self._registered:
            return  # the registration under way raises it
        error = problem if isinstance(problem, PinecallError) else PinecallError(str(problem))
        if isinstance(error, ServerUnreachableError):
            if self.state.reconnecting is not None and error.message == self._unreachable:
                return  # each attempt says so, about every second
            self._unreachable = error.message
        self.happened(ErrorRecord.of(error, at=time.time()))

    def _reconnecting(self, attempt: int, delay: float) -> None:
        self.happened(
            DevReconnecting(at=time.time(), attempt=attempt, delay_ms=round(delay * 1000))
        )

    def _disconnected(self, reason: str) -> None:
        if self.stopping:
            return
        if "isplaced" in reason:  # our last agent was taken, and nobody connects again
            self._taken(reason)
        else:
            self.happened(DevReconnecting(at=time.time(), attempt=0, delay_ms=0))

    def _taken(self, reason: str) -> None:
        """Wait for somebody to want the agents back; end where nobody can press a key."""
        waits = isinstance(self.view, LiveView) and not self.options.once
        fix = "`r` registers them again, `q` quits" if waits else "start `pinecall dev` again"
        message = f"all agents were taken off the server: {reason}"
        problem = ConflictError(message, fix=fix, code="displaced")
        if waits or self.options.json:
            self.happened(ErrorRecord.of(problem, at=time.time()))
        if not waits:
            problem.told, self._problem = self.options.json, problem
            self.stop("displaced", problem.exit_code)

    async def _watch(self) -> None:
        async for changed in watch(self.reloader.files, poll=self.options.poll):
            await self.reloader.changed(changed)

    async def _shown(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except PinecallError as error:
            self.happened(ErrorRecord.of(error, at=time.time()))


async def hung_up(call: Call) -> None:
    """Hang a call up; return when it is over, or cannot be ended from here."""
    with suppress(PinecallError):  # the connection is lost, and the server ends it
        await call.hangup()


def engines_say(ready: Any) -> str:
    """Return what to say when the engines (a future) are loaded, or cannot be."""
    problem = ready.exception()
    if problem is None:
        return "speech engines ready"
    fix = getattr(problem, "fix", None)
    return f"text only: {problem}" + (f" (fix: {fix})" if fix else "")
