"""Carries out a reload: load afresh, swap, send the smallest frames, and write the receipt.

On failure the last good version goes on running, and what is wrong is reported with its place.
Which frames carry which change is decided in `agent.diff` and flows.md §7.1.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pinecall_cli.agent.config import AgentConfig
from pinecall_cli.agent.define import Agent
from pinecall_cli.agent.diff import Changes, Family, diff
from pinecall_cli.agent.load import Loaded, load
from pinecall_cli.agent.problems import AgentFileProblems, Problem, shown_path
from pinecall_cli.call.records import DevReloaded, DevReloadFailed, FileProblem, Record
from pinecall_cli.engines.worker import Worker
from pinecall_cli.errors import AgentFileError, PinecallError

SETTLE_S = 0.15
"""Some editors delete and then write: a file that is gone gets this long to come back."""
GONE_S = 2.0
"""An agent file that stays away this long has been removed, and its agents with it."""


class LiveCall(Protocol):
    """What a reload needs to know of a live call."""

    id: str
    overrides: set[str]
    """Wire keys that the call's channel or code has set: they are its own."""


class Client(Protocol):
    """What a reload needs of the SDK's client; each request is over when it is acknowledged."""

    @property
    def connected(self) -> bool: ...
    @property
    def embedded(self) -> bool: ...
    @property
    def displaced(self) -> Sequence[str]: ...
    def add(self, agent: Agent, config: AgentConfig | None = None) -> None: ...
    def swap(self, name: str, agent: Agent, config: AgentConfig) -> None: ...
    def adopt(self, handle: Any) -> Callable[[], None]: ...
    def calls(self, agent: str | None = None) -> Sequence[LiveCall]: ...
    async def registered(self, *names: str) -> None: ...
    async def remove_agent(self, name: str) -> bool: ...
    def create(self, name: str) -> Awaitable[None]: ...
    def configure(self, name: str, patch: Mapping[str, Any]) -> Awaitable[None]: ...
    def configure_session(self, call_id: str, patch: Mapping[str, Any]) -> Awaitable[None]: ...
    def set_prompt(self, call_id: str, prompt: str) -> Awaitable[None]: ...
    def set_prompt_vars(self, call_id: str, variables: Mapping[str, str]) -> Awaitable[None]: ...
    def channel_add(self, name: str, channel: Mapping[str, Any]) -> Awaitable[None]: ...
    def channel_configure(
        self, name: str, ref: str, patch: Mapping[str, Any]
    ) -> Awaitable[None]: ...
    def channel_remove(self, name: str, ref: str) -> Awaitable[None]: ...


@dataclass(slots=True)
class Source:
    """One agent file and what runs of it: agents by the name they are registered under."""

    file: Path
    running: dict[str, Loaded] = field(default_factory=dict)
    watched: frozenset[Path] = frozenset()
    release: list[Callable[[], None]] = field(default_factory=list)
    """Lets go of the `Pinecall()` handles of the version that runs."""
    broken: bool = False


class Reloader:
    """The agents of a ``dev`` session, kept equal to their files."""

    def __init__(
        self,
        client: Client,
        *,
        rename: Callable[[str], str] = lambda name: name,
        report: Callable[[Record], None] = lambda record: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``rename`` gives the name an agent registers under; ``report`` takes each receipt."""
        self._client, self._rename, self._report = client, rename, report
        self._wall = wall
        self._sources: dict[Path, Source] = {}
        self._worker = Worker("pinecall-reload")
        self._missing: dict[Path, asyncio.TimerHandle] = {}
        self._turn = asyncio.Lock()
        self._removals: set[asyncio.Task[None]] = set()

    @property
    def agents(self) -> tuple[tuple[str, Loaded], ...]:
        """Every agent that runs: the name it is registered under, and its file's definition."""
        return tuple(item for source in self._sources.values() for item in source.running.items())

    def files(self) -> frozenset[Path]:
        """Return every file whose change may change an agent."""
        return frozenset().union(*(source.watched for source in self._sources.values()))

    def begin(self, loaded: Iterable[Loaded]) -> None:
        """Put agents on the client, as their files define them now."""
        for one in loaded:
            source = self._sources.setdefault(one.file, Source(one.file))
            self._start(source, one)

    async def changed(self, files: frozenset[Path]) -> None:
        """Reload every agent file that one of ``files`` belongs to."""
        async with self._turn:  # saves come faster than a slow import: one after the other
            for source in tuple(self._sources.values()):
                mine = source.watched & files
                if mine:
                    await self._reload(source, mine)

    async def reload_all(self) -> None:
        """Reload every agent file, changed or not."""
        await self.changed(self.files())

    def close(self) -> None:
        """Stop waiting for files to come back."""
        for timer in self._missing.values():
            timer.cancel()
        self._worker.close()

    # -- one file --------------------------------------------------------------------------

    async def _reload(self, source: Source, files: frozenset[Path]) -> None:
        if not source.file.exists():
            await asyncio.sleep(SETTLE_S)
        try:
            fresh: list[Loaded] = await self._worker.run(load, source.file)
        except AgentFileProblems as failed:
            if any(not file.exists() for file in files):
                # Half of a save: the other half is an event of its own if it comes.
                await asyncio.sleep(SETTLE_S)
                if all(file.exists() for file in files):
                    return await self._reload(source, files)
            self._failed(source, failed, failed.problems, failed.watched)
            return None
        except AgentFileError as failed:
            self._failed(source, failed, (), frozenset())
            return None
        self._back(source)
        source.broken = False
        source.watched = frozenset().union(*(one.watched for one in fresh))
        named = {self._rename(one.config.name): one for one in fresh}
        clients = [release for release in source.release]
        source.release = []
        for name in [name for name in source.running if name not in named]:
            await self._remove(source, name)
        for name, one in named.items():
            if name in source.running:
                await self._update(source, name, one, files)
            else:
                await self._add(source, one, files)
        for release in clients:
            release()
        return None

    def _failed(
        self,
        source: Source,
        failed: AgentFileError,
        problems: tuple[Problem, ...],
        watched: frozenset[Path],
    ) -> None:
        source.watched |= watched
        source.broken = True
        if not source.file.exists() and source.file not in self._missing:
            self._missing[source.file] = asyncio.get_running_loop().call_later(
                GONE_S, self._gone, source
            )
        found = [problem for problem in problems if problem.severity == "error"]
        errors = tuple(file_problem(problem) for problem in found) or (
            FileProblem(code=failed.code, message=failed.message, hint=failed.fix),
        )
        self._report(
            DevReloadFailed(
                at=self._wall(),
                agent=next(iter(source.running), None),
                file=shown_path(source.file),
                errors=errors,
            )
        )

    def _back(self, source: Source) -> None:
        timer = self._missing.pop(source.file, None)
        if timer is not None:
            timer.cancel()

    def _gone(self, source: Source) -> None:
        """Take out the agents of a file that was deleted and has not come back."""
        self._missing.pop(source.file, None)
        if source.file.exists():
            return

        async def remove() -> None:
            async with self._turn:
                for name in tuple(source.running):
                    await self._remove(source, name)

        task = asyncio.get_running_loop().create_task(remove(), name="removal")
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    # -- one agent -------------------------------------------------------------------------

    def _start(self, source: Source, one: Loaded) -> str:
        name = self._rename(one.config.name)
        self._client.add(one.agent, replace(one.config, name=name))
        source.running[name] = one
        source.watched |= one.watched
        source.release += [self._client.adopt(handle) for handle in one.clients]
        return name

    async def _add(self, source: Source, one: Loaded, files: frozenset[Path]) -> None:
        name = self._start(source, one)
        notes: tuple[str, ...] = ()
        try:
            await self._client.registered(name)
        except PinecallError as error:
            notes = (error.message,)
        self._receipt(name, files, changed=("name",), notes=notes)

    async def _remove(self, source: Source, name: str) -> None:
        del source.running[name]
        await self._client.remove_agent(name)
        self._report(
            DevReloaded(
                at=self._wall(),
                agent=name,
                files=(shown_path(source.file),),
                changed=("name",),
                applied_ms=0,
                notes=("removed: its calls go on to their end",),
            )
        )

    async def _update(self, source: Source, name: str, one: Loaded, files: frozenset[Path]) -> None:
        old = replace(source.running[name].config, name=name)
        new = replace(one.config, name=name)
        changes = diff(old, new)
        self._client.swap(name, one.agent, new)
        source.release += [self._client.adopt(handle) for handle in one.clients]
        source.running[name] = one
        sent = Sent()
        self._send_defaults(name, changes, sent)
        for call in self._client.calls(name):
            self._send_call(call, changes, sent)
        await sent.settle()
        notes = list(sent.notes)
        if later := changes.of(Family.NEXT_CALL):
            notes.append(f"{', '.join(later)}: from the next call on")
        self._receipt(
            name,
            files,
            changed=changes.changed,
            calls=tuple(sent.calls),
            prompt_diff=None if changes.prompt is None else changes.prompt.in_words(),
            notes=tuple(notes),
        )

    def _send_defaults(self, name: str, changes: Changes, sent: Sent) -> None:
        """Send what later sessions begin with."""
        client = self._client
        if name in client.displaced:
            sent.notes.append("not registered: it was taken off the server")
            return
        if not client.connected:
            if not changes.empty:
                sent.notes.append("not connected: sent when the server is back")
            return
        patch = changes.configure(embedded=client.embedded)
        if changes.recreate:
            sent.expect(client.create(name))
        elif patch:
            sent.expect(client.configure(name, patch))
        for channel in changes.channels.add:
            sent.expect(client.channel_add(name, channel))
        for channel in changes.channels.configure:
            settings = {k: v for k, v in channel.items() if k not in ("type", "ref")}
            sent.expect(client.channel_configure(name, channel["ref"], settings))
        for channel in changes.channels.remove:
            sent.expect(client.channel_remove(name, channel["ref"]))

    def _send_call(self, call: LiveCall, changes: Changes, sent: Sent) -> None:
        """Send what a live call takes at once, but for what is its own."""
        client = self._client
        if not client.connected:
            return
        own: set[str] = set()
        patch = changes.session(embedded=client.embedded)
        own |= patch.keys() & call.overrides
        patch = {key: value for key, value in patch.items() if key not in call.overrides}
        took = bool(changes.tools.body)
        if patch:
            sent.expect(client.configure_session(call.id, patch))
            took = True
        if changes.of(Family.PROMPT) and changes.new.prompt is not None:
            if "prompt" in call.overrides:
                own.add("prompt")
            else:
                sent.expect(client.set_prompt(call.id, changes.new.prompt))
                took = True
        if changes.of(Family.VARS) and changes.new.prompt_vars is not None:
            if "vars" in call.overrides:
                own.add("prompt_vars")
            else:
                sent.expect(client.set_prompt_vars(call.id, dict(changes.new.prompt_vars)))
                took = True
        if took:
            sent.calls.append(call.id)
        if own:
            sent.notes.append(f"{call.id} keeps its own {', '.join(sorted(own))}")

    def _receipt(self, name: str, files: frozenset[Path], **fields: Any) -> None:
        self._report(
            DevReloaded(
                at=self._wall(),
                agent=name,
                files=tuple(sorted(shown_path(file) for file in files)),
                applied_ms=self._age_ms(files),
                **fields,
            )
        )

    def _age_ms(self, files: frozenset[Path]) -> int:
        """Return the time since the newest of ``files`` was put in place.

        A save by rename keeps the old modification time; the time of the change does not lie.
        """
        stamps = []
        for file in files:
            try:
                stamps.append(file.stat().st_ctime)
            except OSError:
                continue  # removed again meanwhile
        return max(0, round((self._wall() - max(stamps)) * 1000)) if stamps else 0


@dataclass(slots=True)
class Sent:
    """What one reload sent: the answers to wait for, the calls that took it, what to remark."""

    answers: list[Awaitable[Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def expect(self, answer: Awaitable[Any]) -> None:
        """Note a request under way."""
        self.answers.append(answer)

    async def settle(self) -> None:
        """Wait for every answer; a refusal becomes a note of the receipt."""
        for answer in self.answers:
            try:
                await answer
            except PinecallError as error:
                self.notes.append(error.message)


def file_problem(problem: Problem) -> FileProblem:
    """Return a loader's problem as the receipt shows it."""
    return FileProblem(
        code=problem.code,
        message=problem.message,
        line=problem.line,
        column=problem.column,
        hint=problem.hint,
        file=problem.file,
    )
