"""A setting and where it came from; what the command line said; the server it leads to."""

from __future__ import annotations

import hmac
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

HOSTED_URL = "https://voice.pinecall.io"
KEY_VARIABLE = "PINECALL_API_KEY"
URL_VARIABLE = "PINECALL_URL"
PROFILE_VARIABLE = "PINECALL_PROFILE"

T = TypeVar("T")


class Secret:
    """A key that shows itself only when asked to with `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the key itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: what kind of place, and which one (an option, variable or file)."""

    kind: Literal["flag", "environment", "dotenv", "project", "profile", "default"]
    where: str

    def __str__(self) -> str:
        return self.where


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A value and the place that said so."""

    value: T
    origin: Origin
    shadows: tuple[Setting[T], ...] = field(default=(), compare=False)
    """What other places say, which are asked later: the next one first."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said: ``--server``, ``--api-key``, ``--local``."""

    server: str | None = None
    api_key: str | None = None
    local: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What settings are read from: environment, folders, platform and user."""

    environ: Mapping[str, str]
    cwd: Path
    home: Path
    platform: str = "linux"
    uid: int | None = None
    """The user whose files are trusted; None where the system has no such notion."""

    @classmethod
    def here(cls) -> Surroundings:
        """Return those of this process, now."""
        getuid: Callable[[], int] | None = getattr(os, "getuid", None)
        uid = None if getuid is None else getuid()
        return cls(os.environ, Path.cwd(), Path.home(), sys.platform, uid)

    def ancestors(self, start: Path | None = None) -> Iterator[Path]:
        """Yield ``start`` (default: the working directory) and the folders above it.

        The git root or the home directory is the last one: what lies above is nobody's project.
        """
        folder = (start or self.cwd).absolute()
        for parent in (folder, *folder.parents):
            yield parent
            if parent == self.home or (parent / ".git").exists():
                return


@dataclass(frozen=True, slots=True)
class Target:
    """The server to use: the hosted one (or another by URL), a local one, or one of our own."""

    kind: Literal["hosted", "local", "embedded"]
    url: str | None = None
    """http or https, without a trailing slash; None when embedded."""
    key: Secret | None = None
    """None when embedded, and for a local server whose key its runtime file knows."""
