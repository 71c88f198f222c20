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
from pinecall_cli.engines.choose import OnDemand, SpeechEngines
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


class Stage:
    """A server and what is loaded for it: `load`, enter, `rehearse`, then `play`."""

    def __init__(
        self,
        specs: Iterable[Spec],
        *,
        joined: Place | None = None,
        engines: SpeechEngines | None = None,
        notice: Callable[[str], None],
    ) -> None:
        """Say what is to be played, and where; nothing happens before `load`.

        Args:
            specs: What will be played, each once.
            joined: A server to use in place of one of our own.
            engines: The speech engines of our own server, if some are loaded already.
            notice: Told what stands in for what an agent asks for; may come from another thread.
        """
        self.specs = tuple(specs)
        self._speaks = any(spec.mode == "voice" for spec in self.specs)
        self._joined = joined
        self._notice = notice
        self._noticed: set[str] = set()
        self._loaded: dict[Path, Loaded] = {}
        self._sounds: dict[Path, Sounds] = {}
        self._own: EmbeddedServer | None = None
        self._made: SpeechEngines | None = None
        """Engines that are nobody else's, and end with the stage."""
        self._keys: Iterator[str] = iter(())
        if joined is None:
            # Each spec is an organisation of its own: agents of one name do not meet.
            keys = [secrets.token_urlsafe(24) for _ in self.specs]
            self._keys = iter(keys)
            if engines is None or not self._speaks:
                self._made = engines = SpeechEngines() if self._speaks else OnDemand()
            self._own = EmbeddedServer(
                keys=keys,
                engines=engines,
                models=lambda llm: scripts_only(llm, self._say),
                notice=log.info,  # offline voices stand in for others: that is what a spec is for
            )

    def load(self) -> None:
        """Load the agents, and see that each spec fits its own.

        Raises:
            AgentFileProblems: With everything that is wrong, in agents and specs.
        """
        problems = Problems()
        failed: set[Path] = set()
        for spec in self.specs:
            file = spec.agent.file.resolve()
            if file in failed:
                continue
            try:
                # For each spec anew: none finds what another one did to an agent. And all before
                # any is played: what tools print meanwhile would be taken for an import's.
                found = load(file)
            except AgentFileProblems as wrong:
                problems.extend(wrong.problems)
                failed.add(file)
                continue
            agent = chosen(spec, found, problems)
            if agent is not None:
                self._loaded[spec.file] = agent
                for text in (*agent.notices, *(f"{w.where}: {w.message}" for w in agent.warnings)):
                    self._say(text)
        if problems.failed:
            raise AgentFileProblems(problems.sorted())

    async def __aenter__(self) -> Stage:
        if self._own is not None:
            await self._own.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._own is not None:
            await self._own.__aexit__(kind, error, trace)
        if self._made is not None:
            self._made.close()

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
        if self._own is None:
            self._made = engines
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
            broke = await self._converse(spec, record, notes)
        except (InfrastructureError, NotAuthorisedError) as problem:
            error = problem
        except PinecallError as problem:
            broke = Failure(problem.where or spec.agent.where, problem.message)
        return judged(
            spec,
            self._loaded[spec.file].config.name,
            record,
            duration_s=loop.time() - begun,
            broke=broke,
            error=error,
            notes=notes,
        )

    async def _converse(self, spec: Spec, record: Record, notes: list[str]) -> Failure | None:
        loaded = self._loaded[spec.file]
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

    def _say(self, sentence: str) -> None:
        if sentence not in self._noticed:
            self._noticed.add(sentence)
            self._notice(sentence)


async def played_alone(spec: Spec, engines: SpeechEngines) -> Result:
    """Return how a spec went on a server that was there for it alone.

    Raises:
        AgentFileProblems: If its agent is invalid, or it does not fit its agent.
        PinecallError: If it could not be played at all.
    """
    stage = Stage((spec,), engines=engines, notice=log.info)
    await in_daemon_thread(stage.load)
    async with stage:
        await stage.rehearse()
        return await stage.play(spec)


async def refuse_hosted(place: Place) -> None:
    """Connect to a server once, to see that it is one that specs may run on.

    Raises:
        NotAuthorisedError: If it refuses the key.
        ServerUnreachableError: If it does not answer.
        UsageError: If it is a hosted one.
    """
    client = Pinecall(place.key, place.url, auto_reconnect=False)
    client.on("error", lambda problem: None)  # it is raised, and need not be logged as well
    async with client:
        if not client.embedded:
            raise UsageError(
                f"specs run on local servers alone, and {place.url} would call real models",
                fix="leave `--server` out, or name a server of `pinecall server`",
            )
