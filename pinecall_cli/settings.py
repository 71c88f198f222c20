"""Which server, which key, which folders: flag, environment, ``.env``, profile, default.

Nothing is read at import. What settings are read *from* is one value, `Surroundings`, so a
test hands in another one. A key is a `Secret` from the moment it is read: no ``repr`` shows it.
Who answers at a URL is not asked here; that is the business of ``sdk``.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar
from urllib.parse import urlsplit

from pinecall_cli.errors import NotAuthorisedError, UsageError, Where

HOSTED_URL = "https://voice.pinecall.io"
KEY_VARIABLE = "PINECALL_API_KEY"
URL_VARIABLE = "PINECALL_URL"
MAX_DOTENV_BYTES = 256 * 1024

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

    kind: Literal["flag", "environment", "dotenv", "profile", "default"]
    where: str

    def __str__(self) -> str:
        return self.where


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A value and the place that said so."""

    value: T
    origin: Origin


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


@dataclass(frozen=True, slots=True)
class Target:
    """The server to use: the hosted one (or another by URL), a local one, or one of our own."""

    kind: Literal["hosted", "local", "embedded"]
    url: str | None = None
    """http or https, without a trailing slash; None when embedded."""
    key: Secret | None = None
    """None when embedded, and for a local server whose key its runtime file knows."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Server and key as resolved, each with its origin."""

    server: Setting[str] | None
    key: Setting[Secret] | None
    local: bool = False
    notices: tuple[str, ...] = field(default=())
    """Sentences for stderr: what was ignored, and why."""

    def target(self) -> Target:
        """Return the server these settings lead to.

        Raises:
            NotAuthorisedError: If the URL comes from a ``.env`` and the key from elsewhere, or
                the server is not local and there is no key.
        """
        if self.local or (self.server is None and self.key is None):
            return Target("embedded")
        key = None if self.key is None else self.key.value
        if self.server is None:
            return Target("hosted", HOSTED_URL, key)
        self._refuse_to_leak()
        url = http_base(self.server.value)
        if is_loopback(url):
            return Target("local", url, key)
        if key is None:
            raise NotAuthorisedError(
                f"no API key for {url}",
                fix=f"set `{KEY_VARIABLE}`, or pass `--api-key -` to type it",
            )
        return Target("hosted", url, key)

    def _refuse_to_leak(self) -> None:
        """Refuse a server named by a project's file when the key is not that project's own.

        A cloned folder must not receive the key of whoever runs a command in it.
        """
        if self.server is None or self.key is None or self.server.origin.kind != "dotenv":
            return
        if self.key.origin.kind == "flag" or self.key.origin == self.server.origin:
            return
        raise NotAuthorisedError(
            f"the server `{self.server.value}` is named by a .env file, "
            f"but the key comes from {self.key.origin}",
            where=Where(self.server.origin.where),
            fix=f"put `{KEY_VARIABLE}` beside `{URL_VARIABLE}` in that file, "
            "or name the server yourself with `--server`",
        )


def resolve(flags: Flags, around: Surroundings, *, read_key: Callable[[], str] = input) -> Settings:
    """Return server and key: flag, then environment, then nearest ``.env``, then profile.

    Args:
        flags: What the command line said; an ``api_key`` of ``-`` is asked for with `read_key`.
        around: Where everything else is read from.
        read_key: Returns one line of standard input.
    """
    dotenv, notices = nearest_dotenv(around)
    in_dotenv = Origin("dotenv", str(dotenv.path)) if dotenv else None
    profile_file = config_dir(around) / "config.toml"
    profile = read_profile(profile_file)

    def first(flag: str | None, option: str, variable: str, key: str) -> Setting[str] | None:
        places = [
            (flag, Origin("flag", f"`{option}`")),
            (around.environ.get(variable), Origin("environment", f"`{variable}`")),
            (dotenv.values.get(variable) if dotenv else None, in_dotenv),
            (profile.get(key), Origin("profile", str(profile_file))),
        ]
        for value, origin in places:
            if value and origin:
                return Setting(value, origin)
        return None

    typed = flags.api_key
    if typed == "-":
        typed = read_key().strip()
        if not typed:
            raise UsageError("no key on standard input", fix="pipe the key into `--api-key -`")
    server = first(flags.server, "--server", URL_VARIABLE, "url")
    key = first(typed, "--api-key", KEY_VARIABLE, "api_key")
    return Settings(
        server=server,
        key=None if key is None else Setting(Secret(key.value), key.origin),
        local=flags.local,
        notices=notices,
    )


def read_profile(path: Path) -> dict[str, str]:
    """Return what ``pinecall login`` saved (``api_key``, ``url``); empty when there is nothing.

    Raises:
        UsageError: If the file is there and is not a profile.
    """
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"cannot read the profile: {problem}", where=Where(str(path))) from None
    try:
        profile = tomllib.loads(text).get("profile", {})
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(
            f"the profile is not TOML: {problem}",
            where=Where(str(path)),
            fix="delete it and log in again",
        ) from None
    return {key: value for key, value in profile.items() if isinstance(value, str)}


# --- .env ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dotenv:
    """A ``.env`` file's variables."""

    path: Path
    values: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Dotenv({str(self.path)!r}, {sorted(self.values)})"  # names; values may be keys


def nearest_dotenv(
    around: Surroundings, start: Path | None = None
) -> tuple[Dotenv | None, tuple[str, ...]]:
    """Return the nearest ``.env`` and what to say about one that was ignored.

    The search goes up from ``start`` (default: the working directory) and ends with the git root
    or the home directory. A file that another user owns is passed over with a notice: whoever
    can write above us must not choose our server.
    """
    notices: list[str] = []
    folder = (start or around.cwd).absolute()
    for parent in (folder, *folder.parents):
        path = parent / ".env"
        try:
            status = path.stat() if path.is_file() else None
        except OSError:
            status = None
        if status is not None and around.uid is not None and status.st_uid != around.uid:
            notices.append(f"ignored {path}: it belongs to another user")
        elif status is not None and status.st_size > MAX_DOTENV_BYTES:
            notices.append(f"ignored {path}: larger than {MAX_DOTENV_BYTES // 1024} KiB")
        elif status is not None:
            try:
                return Dotenv(path, parse_dotenv(path.read_text("utf-8-sig"))), tuple(notices)
            except (OSError, UnicodeDecodeError) as problem:
                notices.append(f"ignored {path}: {problem}")
        if parent == around.home or (parent / ".git").exists():
            break
    return None, tuple(notices)


ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*(.*)")
QUOTED = re.compile(r"""(?s)(?:'([^']*)'|"((?:[^"\\]|\\.)*)")\s*(?:#.*)?""")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse_dotenv(text: str) -> dict[str, str]:
    r"""Return the variables of a ``.env`` text; lines that are not assignments say nothing.

    ``'…'`` is verbatim, ``"…"`` knows ``\n``, ``\t``, ``\"``; a bare value ends at `` #``.
    Nothing is expanded: a value is what it says.
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        found = ASSIGNMENT.fullmatch(line)
        if found is None:
            continue
        name, rest = found[1], found[2].strip()
        quoted = QUOTED.fullmatch(rest)
        if quoted is None:
            values[name] = "" if rest.startswith("#") else re.split(r"\s#", rest)[0].rstrip()
        elif quoted[1] is not None:
            values[name] = quoted[1]
        else:
            values[name] = re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), quoted[2])
    return values


# --- URLs ---------------------------------------------------------------------------------


def http_base(url: str) -> str:
    """Return a server's URL as ``http(s)://host[:port][/path]``, without a trailing slash.

    Raises:
        UsageError: If it is not a ws, wss, http or https URL with a host.
    """
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    if scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise UsageError(
            f"`{url}` is not a server's URL", fix="write it like `http://127.0.0.1:4747`"
        )
    if "@" in parts.netloc:
        raise UsageError("a server's URL holds no user or password", fix="use `--api-key`")
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def ws_base(url: str) -> str:
    """Return a server's URL as ``ws(s)://…``, without a trailing slash."""
    return "ws" + http_base(url).removeprefix("http")


def is_loopback(url: str) -> bool:
    """Tell whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- folders ------------------------------------------------------------------------------


def config_dir(around: Surroundings | None = None) -> Path:
    """Return the folder of the profile."""
    return _folder(around or Surroundings.here(), "XDG_CONFIG_HOME", ".config", "APPDATA", "")


def data_dir(around: Surroundings | None = None) -> Path:
    """Return the folder of what is kept: the call log, recordings, models."""
    at = around or Surroundings.here()
    return _folder(at, "XDG_DATA_HOME", ".local/share", "LOCALAPPDATA", "data")


def state_dir(around: Surroundings | None = None) -> Path:
    """Return the folder of what may be lost: histories, caches of choices."""
    at = around or Surroundings.here()
    return _folder(at, "XDG_STATE_HOME", ".local/state", "LOCALAPPDATA", "state")


def run_dir(around: Surroundings | None = None) -> Path:
    """Return the folder of what runs now; never one that several users share."""
    at = around or Surroundings.here()
    runtime = at.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        return Path(runtime) / "pinecall"
    return state_dir(at) / "run"


def _folder(at: Surroundings, xdg: str, unix: str, windows: str, part: str) -> Path:
    """Return one of our folders; XDG wins everywhere when set (to an absolute path, its rule)."""
    named = at.environ.get(xdg, "")
    if os.path.isabs(named):
        return Path(named) / "pinecall"
    if at.platform == "darwin":
        return at.home / "Library" / "Application Support" / "pinecall" / part
    if at.platform == "win32":
        base = at.environ.get(windows)
        return (Path(base) if base else at.home / "AppData" / "Local") / "pinecall" / part
    return at.home / unix / "pinecall"
