"""A spec as a value: which agent, what is done to it, and what is expected of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pinecall_cli.caller.steps import LineQuality, Step
from pinecall_cli.errors import Where

Mode = Literal["text", "voice"]

VOICE_TIMES = ("first_audio", "vad", "asr", "eou", "tools", "llm_ttft", "tts_ttfb", "playout")
"""What `within_ms` knows of a voice call: ``first_audio`` is the ``e2e`` of ``turn.latency``, from
the caller's last sound to the agent's first; the others are its parts."""
TEXT_TIMES = ("first_token", "reply")
"""What it knows of a text session: from the message to the answer's first piece, and to its end."""


@dataclass(frozen=True, slots=True)
class Says:
    """The agent says something that a regular expression finds; or never does."""

    pattern: str
    wanted: bool
    where: Where


@dataclass(frozen=True, slots=True)
class CallsTool:
    """A tool is called, with these arguments among its own; or never is."""

    tool: str
    args: Mapping[str, Any] | None
    wanted: bool
    where: Where


@dataclass(frozen=True, slots=True)
class Happens:
    """An event of that wire name comes, with these fields among its own; or never does."""

    event: str
    fields: Mapping[str, Any]
    wanted: bool
    where: Where


@dataclass(frozen=True, slots=True)
class Within:
    """Every answer takes at most so many milliseconds."""

    limits: Mapping[str, float]
    where: Where


Expectation: TypeAlias = Says | CallsTool | Happens | Within


@dataclass(frozen=True, slots=True)
class Case:
    """What a mocked tool returns when its arguments fit; None fits any."""

    result: Any
    args: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Mock:
    """A tool that is not run: its results are written down."""

    tool: str
    cases: tuple[Case, ...]
    where: Where


@dataclass(frozen=True, slots=True)
class SpecStep:
    """One thing that is done, and what is expected until the next thing is."""

    verb: str
    step: Step
    shown: str
    """The step as one line, for people."""
    timeout: float
    """Seconds for the answer."""
    expect: tuple[Expectation, ...]
    where: Where

    @property
    def acts(self) -> bool:
        """Whether it opens a window of its own for what is expected.

        A wait does not, nor a silence of which nothing is expected: time goes on for the step
        before it.
        """
        return self.verb not in {"wait", "pause"} and not (
            self.verb == "silence" and not self.expect
        )


@dataclass(frozen=True, slots=True)
class AgentRef:
    """Which agent a spec is for."""

    file: Path
    name: str | None
    """Which one of the file's agents; None for the only one."""
    where: Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One test of an agent: a conversation and what is expected of it."""

    file: Path
    shown: str
    """The file as messages name it."""
    agent: AgentRef
    mode: Mode
    description: str | None = None
    steps: tuple[SpecStep, ...]
    expect: tuple[Expectation, ...] = ()
    """Of the conversation as a whole."""
    mocks: tuple[Mock, ...] = ()
    vars: Mapping[str, str] | None = None
    from_number: str | None = None
    to_number: str | None = None
    """The agent's number, which makes the call a phone call."""
    voice: str | None = None
    line: LineQuality | None = None

    @property
    def title(self) -> str:
        """What it is called in reports."""
        return self.description or self.file.name.removesuffix(".yaml").removesuffix(".yml")
