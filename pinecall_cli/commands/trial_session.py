"""What ``test`` wires together: specs, a stage to play them on, and the reports."""

from __future__ import annotations

import asyncio
import contextlib
import json as jsonlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pinecall_cli.agent.problems import AgentFileProblems, shown_path
from pinecall_cli.agent.tools import in_daemon_thread
from pinecall_cli.commands.hosting import Place, joined_server
from pinecall_cli.commands.options import inert
from pinecall_cli.commands.signals import ended_by_signals
from pinecall_cli.commands.trial_stage import Stage
from pinecall_cli.commands.whole_file import keep, make_room
from pinecall_cli.engines.choose import VOICE
from pinecall_cli.errors import NothingRanError
from pinecall_cli.settings import Target
from pinecall_cli.trial import github
from pinecall_cli.trial.find import spec_files
from pinecall_cli.trial.junit import junit
from pinecall_cli.trial.report import document, exit_code, lines, total
from pinecall_cli.trial.result import Result
from pinecall_cli.trial.select import selection
from pinecall_cli.trial.spec import Spec
from pinecall_cli.trial.yaml_file import load_specs
from pinecall_cli.view.text import printable

LONGEST_ANNOTATION = 30_000
"""Characters; of a longer one GitHub shows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestOptions:
    """What the command line of ``test`` said."""

    __test__ = False  # pytest, keep out

    targets: tuple[Path, ...] = ()
    expression: str | None = None
    workers: int = 1
    listing: bool = False
    junit: Path | None = None
    server: Target | None = None
    """A server that runs already; None for one of our own."""
    json: bool = False
    quiet: bool = False
    verbose: int = 0


def run(options: TestOptions) -> int:
    """Run the specs that are meant; return the exit code.

    Raises:
        AgentFileProblems: If a spec or an agent is invalid; then none is run.
        NothingRanError: If no spec is meant.
        InfrastructureError: If there is no server, or there are no speech engines.
        UsageError: If the JUnit file cannot be written.
    """
    levels = [logging.WARNING, logging.INFO, logging.DEBUG]
    level = logging.ERROR if options.quiet else levels[min(options.verbose, 2)]
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    if options.junit is not None and not options.listing:
        make_room(options.junit)
    try:
        specs = selected(options)
        if options.listing:
            print_list(specs, json=options.json)
            return 0
        joined = None if options.server is None else joined_server(options.server)
        return TestRun(options, specs, joined).run()
    except AgentFileProblems as problems:
        if on_github():
            annotate(github.workflow_commands_of(problems))
        raise


def selected(options: TestOptions) -> list[Spec]:
    """Return the specs that the command line means.

    Raises:
        AgentFileProblems: If one of them is none.
        NothingRanError: If there is none.
        UsageError: If a target is not there, or `-k` has no expression.
    """
    wanted = None if options.expression is None else selection(options.expression)
    files = spec_files(options.targets or (Path(),))
    if not files:
        named = ", ".join(f"`{target}`" for target in options.targets) or "this folder"
        raise NothingRanError(
            f"there is no spec in {named}", fix="specs are files named `*.spec.yaml`"
        )
    specs = load_specs(files, voices=(VOICE,))
    found = [spec for spec in specs if wanted is None or wanted(spec)]
    if not found:
        raise NothingRanError(
            f"no spec matches `-k {options.expression}`",
            fix="`pinecall test --list` shows their files and descriptions",
        )
    return found


def print_list(specs: Sequence[Spec], *, json: bool) -> None:
    """Print which specs there are."""
    if json:
        listed = [
            {
                "file": spec.shown,
                "agent_file": shown_path(Path(os.path.normpath(spec.agent.file))),
                "mode": spec.mode,
                "description": spec.description,
            }
            for spec in specs
        ]
        sys.stdout.write(jsonlib.dumps({"specs": listed}) + "\n")
        return
    for spec in specs:
        about = f" · {spec.description}" if spec.description else ""
        sys.stdout.write(inert(f"{spec.shown} ({spec.mode}){about}") + "\n")


class TestRun:
    """One run of some specs."""

    __test__ = False

    def __init__(self, options: TestOptions, specs: Sequence[Spec], joined: Place | None) -> None:
        self.options, self.specs = options, tuple(specs)
        self.out: IO[str] = sys.stdout
        self.stage = Stage(self.specs, joined=joined, notice=self.say)
        self._results: dict[int, Result] = {}
        self._shown = 0
        self._signal: signal.Signals | None = None

    def run(self) -> int:
        """Play the specs and report; return the exit code.

        Raises:
            AgentFileProblems: If an agent is invalid, or a spec does not fit its own.
            PinecallError: If the specs could not be played at all.
        """
        begun = time.monotonic()
        # What agents print is talk; results alone go to stdout.
        with contextlib.redirect_stdout(sys.stderr):
            asyncio.run(self._all())
        results = [self._results[n] for n in sorted(self._results)]
        seconds = time.monotonic() - begun
        if self.options.junit is not None:
            report = junit(results, seconds)
            keep(self.options.junit, lambda file: file.write(report), private=False)
        if self._signal is not None:
            self.say(f"stopped after {len(results)} of {len(self.specs)} specs")
            return 128 + self._signal
        if self.options.json:
            self.out.write(jsonlib.dumps(document(results, seconds)) + "\n")
        else:
            self.out.write(total(results, seconds) + "\n")
        if on_github():
            self._tell_github(results, seconds)
        return exit_code(results)

    async def _all(self) -> None:
        """Play all specs, so many at once as there are workers; a signal ends it."""
        playing = asyncio.get_running_loop().create_task(self._play(), name="specs")

        def asked(number: signal.Signals) -> None:
            self._signal = number
            playing.cancel()

        with ended_by_signals(asked, tidy=self.out.flush):
            try:
                await playing
            except asyncio.CancelledError:
                if self._signal is None:
                    raise

    async def _play(self) -> None:
        if self.options.server is None:
            self.say("specs run on a server inside this program, and call no model")
        await in_daemon_thread(self.stage.load)
        async with self.stage:
            await self.stage.rehearse()
            await self._play_all()

    async def _play_all(self) -> None:
        waiting = iter(enumerate(self.specs))

        async def work() -> None:
            for number, spec in waiting:
                self._results[number] = await self.stage.play(spec)
                self._show()

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self.options.workers, len(self.specs))):
                workers.create_task(work())

    def _show(self) -> None:
        """Print the results that are due, in the order of the specs."""
        while self._shown in self._results:
            result = self._results[self._shown]
            self._shown += 1
            if not self.options.json:
                self.out.writelines(inert_line(line) + "\n" for line in lines(result))
                self.out.flush()

    def say(self, text: str) -> None:
        """Say something beside the results."""
        if not self.options.quiet:
            sys.stderr.write(inert(text) + "\n")

    def _tell_github(self, results: Sequence[Result], seconds: float) -> None:
        annotate(github.workflow_commands(results))
        page = os.environ.get("GITHUB_STEP_SUMMARY")
        if not page:
            return
        try:
            with open(page, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(github.summary(results, seconds))
        except OSError as problem:  # the results stand in the log all the same
            self.say(f"cannot write GITHUB_STEP_SUMMARY: {problem.strerror}")


def annotate(commands: Iterable[str]) -> None:
    """Hand workflow commands to GitHub, which reads them off the log, a line each."""
    sys.stderr.writelines(f"{printable(one, limit=LONGEST_ANNOTATION)}\n" for one in commands)


def on_github() -> bool:
    """Tell whether this is a step of a GitHub workflow."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def inert_line(line: str) -> str:
    """Return a line as a terminal can have it, its indent kept."""
    indent = len(line) - len(line.lstrip(" "))
    return " " * indent + inert(line[indent:])
