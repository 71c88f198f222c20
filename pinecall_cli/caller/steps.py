"""What a virtual caller does, step by step, and who it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pinecall_cli.errors import UsageError, Where

TIMEOUT_S = 30.0
"""How long a caller waits for the agent before hanging up, unless its step says otherwise."""

NOWHERE = Where("command line")


@dataclass(frozen=True, slots=True)
class Wait:
    """Say nothing until the greeting has ended, the agent has replied, or so many seconds."""

    until: Literal["greeting", "reply"] | float
    timeout: float = TIMEOUT_S
    """Seconds; does not apply to a wait for so many seconds."""
    where: Where = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Say:
    """Speak a text with the caller's voice."""

    text: str
    where: Where = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Play:
    """Send a WAV file's sound."""

    file: Path
    where: Where = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Silence:
    """Send silence: ``pause`` inside a turn, ``silence`` otherwise; to the player they are one."""

    seconds: float
    where: Where = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Speak over the reply that plays or comes next, from its n-th word or after some time."""

    text: str
    after_words: int | None = None
    after: float | None = None
    """Seconds from the start of the reply."""
    timeout: float = TIMEOUT_S
    where: Where = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Press:
    """Press keys of the telephone: ``0-9``, ``*`` and ``#``."""

    digits: str
    where: Where = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Hangup:
    """End the call."""

    where: Where = field(default=NOWHERE, compare=False)


Step: TypeAlias = Wait | Say | Play | Silence | Interrupt | Press | Hangup


@dataclass(frozen=True, slots=True)
class LineQuality:
    """How a telephone line spoils the caller's sound."""

    band: Literal["wide", "phone"] = "wide"
    """``phone`` lets 300 to 3400 Hz through."""
    noise_db: float | None = None
    """Level of the noise on the line, in dBFS."""
    loss: float = 0.0
    """Share of the 20 ms frames that get lost, 0 to 1."""
    seed: int = 0
    """The same seed spoils in the same way."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A virtual caller: its steps, and what it calls from and with."""

    steps: tuple[Step, ...]
    from_number: str | None = None
    to_number: str | None = None
    voice: str | None = None
    line: LineQuality | None = None


def texts(steps: Iterable[Step]) -> list[str]:
    """Return what has to be synthesised before the call, each text once."""
    return list(dict.fromkeys(s.text for s in steps if isinstance(s, Say | Interrupt)))


def files(steps: Iterable[Step]) -> list[Path]:
    """Return the WAV files that have to be read before the call, each once."""
    return list(dict.fromkeys(step.file for step in steps if isinstance(step, Play)))


def says(spoken: Sequence[str], *, press: str | None = None) -> tuple[Step, ...]:
    """Return the steps of `--say`: each text after the agent has finished, the first after the
    greeting; `--press` presses its keys before the first.
    """
    steps: list[Step] = [Wait("greeting")]
    if press is not None:
        steps.append(Press(press))
    for number, text in enumerate(spoken):
        if number:
            steps.append(Wait("reply"))
        steps.append(Say(text))
    return tuple(steps)


def plays(file: Path, *, press: str | None = None) -> tuple[Step, ...]:
    """Return the steps of `--input`: the file, after the greeting."""
    keys = () if press is None else (Press(press),)
    return (Wait("greeting"), *keys, Play(file))


def refuse_keys_off_the_phone(steps: Iterable[Step], to_number: str | None) -> None:
    """Raise unless the call has keys: it has when it is made to a number.

    Raises:
        UsageError: If a step presses keys and ``to_number`` is None.
    """
    first = next((step for step in steps if isinstance(step, Press)), None)
    if first is not None and to_number is None:
        where = None if first.where is NOWHERE else first.where
        raise UsageError(
            "keys can be pressed on a phone call only",
            where=where,
            fix="say which number is called: `to:` in the file or `--to NUMBER`",
            code="not_phone",
        )
