"""Specs as tests of pytest: ``pytest --pinecall agents``, or the name of a spec's file.

Every pytest run of the environment loads this module, so what it needs is imported when a spec is
collected, and no file is looked at unless that was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pinecall_cli.engines.choose import SpeechEngines
    from pinecall_cli.errors import PinecallError
    from pinecall_cli.trial.result import Result
    from pinecall_cli.trial.spec import Spec

ENDINGS = (".spec.yaml", ".spec.yml")
ENGINES: pytest.StashKey[SpeechEngines] = pytest.StashKey()
"""The speech engines of a run; loading them for each spec anew would take 2 s each."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--pinecall``."""
    parser.getgroup("pinecall", "voice agents").addoption(
        "--pinecall",
        action="store_true",
        help="collect *.spec.yaml, the specs of `pinecall test`, as tests",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SpecFile | None:
    """Collect a spec if specs were asked for, or this very file was."""
    if not file_path.name.endswith(ENDINGS):
        return None
    if not (parent.config.getoption("pinecall") or parent.session.isinitpath(file_path)):
        return None
    file: SpecFile = SpecFile.from_parent(parent, path=file_path)
    return file


class SpecFile(pytest.File):
    """A file with one spec."""

    def collect(self) -> Iterator[SpecItem]:
        """Yield the spec, named after its mode."""
        from pinecall_cli.engines.choose import VOICE
        from pinecall_cli.errors import PinecallError
        from pinecall_cli.trial.yaml_file import load_specs

        try:
            (spec,) = load_specs([self.path], voices=(VOICE,))
        except PinecallError as wrong:
            raise self.CollectError(told(wrong)) from None
        yield SpecItem.from_parent(self, name=spec.mode, spec=spec)


class SpecItem(pytest.Item):
    """A spec as a test."""

    def __init__(self, *, spec: Spec, **rest: Any) -> None:
        super().__init__(**rest)
        self.spec = spec

    def runtest(self) -> None:
        """Play the spec on a server of its own.

        Raises:
            PinecallError: If it cannot be run.
            SpecFailedError: If something is not as expected.
        """
        import asyncio

        from pinecall_cli.commands.trial_stage import played_alone
        from pinecall_cli.engines.choose import SpeechEngines
        from pinecall_cli.trial.report import transcript

        stash = self.config.stash
        engines = stash.setdefault(ENGINES, SpeechEngines())
        before = set(os.environ)
        try:
            result = asyncio.run(played_alone(self.spec, engines))
        finally:  # what an agent's `.env` says is no business of other tests
            for name in os.environ.keys() - before:
                del os.environ[name]
        self.add_report_section("call", "conversation", "\n".join(transcript(result)))
        if result.error is not None:
            raise result.error
        if not result.passed:
            raise SpecFailedError(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what is told of a failure: in our words, where it is none of our bugs."""
        from pinecall_cli.errors import PinecallError
        from pinecall_cli.trial.report import lines

        match excinfo.value:
            case SpecFailedError(result=result):
                _, *where = lines(result)
                return dedent("\n".join(where))
            case PinecallError() as error:
                return told(error)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where the spec is, and what it is called."""
        return self.path, 0, self.spec.title


class SpecFailedError(Exception):
    """Something was not as a spec expects."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.failures[0].message)
        self.result = result


def told(error: PinecallError) -> str:
    """Return an error, and all that it stands for, as the command line draws it."""
    drawn = []
    for one in error.each():
        drawn.append(f"error: {one.message}")
        drawn += [f"  where: {one.where}"] if one.where else []
        drawn += [f"  fix: {one.fix}"] if one.fix else []
    return "\n".join(drawn)
