"""The runtime files of this user's local servers: read, never asked about or written.

``<run>/servers/<pid>.json`` (0600: ``url``, ``key``, ``pid``, ``started``) is written by a server
and removed by it, or by `sdk.discover` once nobody answers for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pinecall_cli.errors import UsageError
from pinecall_cli.settings.folders import run_dir
from pinecall_cli.settings.urls import http_base, is_loopback
from pinecall_cli.settings.values import Secret

MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LocalServer:
    """What a runtime file says."""

    url: str
    key: Secret
    pid: int
    started: float
    """Epoch seconds."""
    file: Path


def runtime_files(folder: Path | None = None) -> tuple[LocalServer, ...]:
    """Return what the runtime files say, oldest server first; no server is asked.

    Args:
        folder: The run folder; that of this user, if left out.
    """
    servers = (folder or run_dir()) / "servers"
    found = [server for path in sorted(servers.glob("*.json")) if (server := read(path))]
    return tuple(sorted(found, key=lambda server: (server.started, server.pid)))


def key_of(url: str, folder: Path | None = None) -> Secret | None:
    """Return the key of the local server at that URL, from its file; None if there is none."""
    wanted = http_base(url).replace("//localhost:", "//127.0.0.1:")
    for server in reversed(runtime_files(folder)):  # a port is used again: the newest is there
        if server.url == wanted:
            return server.key
    return None


def is_local(url: str) -> bool:
    """Tell whether a URL is one, and leads to this machine."""
    try:
        return is_loopback(http_base(url))
    except UsageError:
        return False


def key_now(url: str, known: Secret) -> Callable[[], Secret]:
    """Return what tells a local server's key at any time: it has a new one with each run.

    While there is no server, it is the one that was known last.
    """

    def now() -> Secret:
        nonlocal known
        known = key_of(url) or known
        return known

    return now


def read(path: Path) -> LocalServer | None:
    """Return what one runtime file says; None if it is no such file, or not ours to trust."""
    try:
        status = path.stat()
        if status.st_size > MAX_FILE_BYTES:
            return None
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            return None  # whoever wrote it would choose where our commands go
        body = json.loads(path.read_text("utf-8"))
        key = body["key"]
        if not isinstance(key, str):
            return None
        return LocalServer(
            http_base(body["url"]), Secret(key), int(body["pid"]), float(body["started"]), path
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError):
        return None
