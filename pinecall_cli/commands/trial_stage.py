"""Where specs are played: a server in this process that calls no model, or one that runs."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from pinecall_cli.agent.load import Loaded, load
from pinecall_cli.agent.problems import AgentFileProblems, Problems
from pinecall_cli.agent.tools import in_daemon_thread
from pinecall_cli.caller.render import render
from pinecall_cli.commands.hosting import Place
from pinecall_cli.commands.trial_play import Conversation
from pinecall_cli.engines.choose import SpeechEngines
from pinecall_cli.engines.types import Synthesiser
from pinecall_cli.errors import (
    InfrastructureError,
    NotAuthorisedError,
    PinecallError,
    UsageError,
)
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.mic import rate_of
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from pinecall_cli.trial.mocks import chosen, prepare, scripts_only
from pinecall_cli.trial.plan import plan
from pinecall_cli.trial.record import Record
from pinecall_cli.trial.result import Failure, Result, judged
from pinecall_cli.trial.spec import Spec

log = logging.getLogger("pinecall.trial")

REGISTER_WITHIN_S = 30.0

Sounds = Mapping[str | Path, bytes]


class NoSpeech(SpeechEngines):
    """Speech engines that nobody will need: text alone is played."""

    def load(self) -> None:
        """Load nothing."""


class Stage:
    """A server and what is loaded for it. A context manager; `play` from any event loop."""

    def __init__(
        self,
        specs: Iterable[Spec],
        *,
        joined: Place | None = None,
        notice: Callable[[str], None],
    ) -> None:
        """``joined`` is a server to use in place of one of our own; ``notice`` may come from
        another thread.
        """
        self.specs = tuple(specs)
        self._speaks = any(spec.mode == "voice" for spec in self.specs)
        self._joined = joined
        self._notice = notice
        self._noticed: set[str] = set()
        self._loaded: dict[Path, list[Loaded]] = {}
        self._names: dict[Path, str] = {}
        self._sounds: dict[Path, Sounds] = {}
        self._own: EmbeddedServer | None = None
        self._keys: Iterator[str] = iter(())
        if joined is None:
            # Each spec is an organisation of its own: agents of one name do not meet.
            keys = [secrets.token_urlsafe(24) for _ in self.specs]
            self._keys = iter(keys)
            self._own = EmbeddedServer(
                keys=keys,
                engines=SpeechEngines() if self._speaks else NoSpeech(),
                models=lambda llm: scripts_only(llm, self._say),
                notice=log.info,  # offline voices stand in for others: that is what a spec is for
            )

    def load(self) -> None:
        """Load the agents, and see that each spec fits its own.

        Raises:
            AgentFileProblems: With everything that is wrong, in agents and specs.
        """
        problems = Problems()
        for spec in self.specs:
            file = spec.agent.file.resolve()
            try:
                if file not in self._loaded:
                    self._loaded[file] = []
                    self._loaded[file] = load(file)
            except AgentFileProblems as failed:
                problems.extend(failed.problems)
            agent = chosen(spec, self._loaded[file], problems) if self._loaded[file] else None
            if agent is not None:
                self._names[spec.file] = agent.config.name
        if problems.failed:
            raise AgentFileProblems(problems.sorted())

    def __enter__(self) -> Stage:
        if self._own is not None:
            self._own.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._own is not None:
            self._own.stop()

    async def rehearse(self) -> None:
        """See that the server is there, and make every sound that callers will need.

        Before any call: while one runs, its agent has the voice for itself.

        Raises:
            EngineError: If the speech engines are not there.
            NotAuthorisedError: If the server refuses the key.
            ServerUnreachableError: If it does not answer.
            UsageError: If it is a hosted one, or a file that is played is none.
        """
        if self._joined is not None:
            await refuse_hosted(self._joined)
        if not self._speaks:
            return
        engines = SpeechEngines() if self._own is None else self._own.engines
        speech: Synthesiser = (await engines.wait()).synthesiser
        for spec in self.specs:
            if spec.mode == "voice":
                steps, rate = plan(spec).steps, rate_of(spec.to_number)
                self._sounds[spec.file] = await render(steps, rate, speech)

    async def play(self, spec: Spec) -> Result:
        """Play one spec and judge it."""
        loop, record = asyncio.get_running_loop(), Record()
        begun, notes = loop.time(), list[str]()
        broke: Failure | None = None
        error: PinecallError | None = None
        try:
            broke = await self._converse(spec, await self._fresh(spec), record, notes)
        except (InfrastructureError, NotAuthorisedError) as problem:
            error = problem
        except PinecallError as problem:
            broke = Failure(problem.where or spec.agent.where, problem.message)
        return judged(
            spec,
            self._names[spec.file],
            record,
            duration_s=loop.time() - begun,
            broke=broke,
            error=error,
            notes=notes,
        )

    async def _converse(
        self, spec: Spec, loaded: Loaded, record: Record, notes: list[str]
    ) -> Failure | None:
        config = prepare(loaded, spec)
        if self._joined is not None:
            # Others are at work there: neither a name nor a number is taken from them.
            name = f"{config.name}-spec-{secrets.token_hex(4)}"
            config = replace(config, name=name, phone_numbers=(), whatsapp=None)
            url, key = self._joined.url, self._joined.key
        else:
            assert self._own is not None
            url, key = self._own.url, Secret(next(self._keys))
        client = Pinecall(key, url, auto_reconnect=False)
        client.on("error", lambda problem: notes.append(str(problem)))
        client.add(loaded.agent, config)
        for handle in loaded.clients:
            client.adopt(handle)
        try:
            await self._register(client)
            talk = Conversation(
                spec, client, config.name, url, key, record, self._sounds.get(spec.file, {})
            )
            return await talk.hold()
        finally:
            await client.disconnect()

    async def _register(self, client: Pinecall) -> None:
        await client.connect()
        try:
            async with asyncio.timeout(REGISTER_WITHIN_S):
                await client.registered()
        except TimeoutError:
            raise InfrastructureError("the server did not register the agent") from None

    async def _fresh(self, spec: Spec) -> Loaded:
        """Return the agent as its file defines it, with nothing left of another spec's run."""
        file = spec.agent.file.resolve()
        found = self._loaded.pop(file, None) or await in_daemon_thread(lambda: load(file))
        loaded = chosen(spec, found, Problems())
        assert loaded is not None, "load has seen to it"
        return loaded

    def _say(self, sentence: str) -> None:
        if sentence not in self._noticed:
            self._noticed.add(sentence)
            self._notice(sentence)


async def refuse_hosted(place: Place) -> None:
    """Connect to a server once, to see that it is one that specs may run on.

    Raises:
        NotAuthorisedError: If it refuses the key.
        ServerUnreachableError: If it does not answer.
        UsageError: If it is a hosted one.
    """
    async with Pinecall(place.key, place.url, auto_reconnect=False) as client:
        if not client.embedded:
            raise UsageError(
                f"specs run on local servers alone, and {place.url} would call real models",
                fix="leave `--server` out, or name a server of `pinecall server`",
            )
