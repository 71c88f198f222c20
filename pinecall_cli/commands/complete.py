"""What TAB offers: names out of this machine's own state, at once or not at all.

No agent file is imported, no hosted server is asked, and local ones have `WITHIN_S` for their
answers. Shells evaluate what they are offered, so only names of plain characters are. How a shell
asks, and how it is answered, is the business of `tab`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from typer.models import TyperPath

if TYPE_CHECKING:
    from pathlib import Path

    from pinecall_cli.audio.choice import Device
    from pinecall_cli.settings.running import LocalServer

Offer = list[tuple[str, str]]
"""Names, each with what is said about it."""
OR_FILE = TyperPath(path_type=str, readable=False)
"""The ``click_type`` of what may be a file too: the shell adds those to what is offered here."""

WITHIN_S = 0.15
"""For all servers together: longer, and a key press would seem lost."""
MAX_ANSWER = 1 << 20
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?")
DEVICES = "devices.json"
"""In the state folder: the devices as they were listed last."""


def agents(incomplete: str) -> Offer:
    """Offer the agents that are connected to local servers."""
    return plain((slug, f"connected to {server.url}") for server, slug in connected())


def known_agents(incomplete: str) -> Offer:
    """Offer the agents that are connected to local servers, and those that had calls."""
    return plain((*agents(incomplete), *logged_agents()))


def calls(incomplete: str) -> Offer:
    """Offer the calls of local servers, and those of the call log."""
    return plain((*asked_calls(live=False), *logged_calls()))


def live_calls(incomplete: str) -> Offer:
    """Offer the calls that are going on."""
    return plain(asked_calls(live=True))


def devices(incomplete: str) -> Offer:
    """Offer ``IN[:OUT]`` of the devices that `call --list-devices` or `doctor` saw last."""
    microphone, colon, _ = incomplete.partition(":")
    if not colon:
        return plain(remembered("input"))
    if not re.fullmatch(r"[A-Za-z0-9._-]*", microphone):
        return []
    return [(f"{microphone}:{id}", about) for id, about in loudspeakers("")]


def loudspeakers(incomplete: str) -> Offer:
    """Offer the devices that play, as they were seen last."""
    return plain(remembered("output"))


def servers(incomplete: str) -> Offer:
    """Offer the addresses of local servers, running or not: nobody is asked."""
    from pinecall_cli.settings.running import runtime_files

    return plain(
        ((server.url, f"process {server.pid}") for server in reversed(runtime_files())), ADDRESS
    )


def entries(incomplete: str) -> Offer:
    """Offer the types of the call log's entries."""
    from pinecall_cli.protocol.log_types import LOG_TYPES

    return plain((name, "") for name in LOG_TYPES)


def profiles(incomplete: str) -> Offer:
    """Offer the profiles that `pinecall login` saved."""
    from pinecall_cli.errors import UsageError
    from pinecall_cli.settings import HOSTED_URL, Surroundings, profile_file, read_profiles

    try:
        saved = read_profiles(profile_file(Surroundings.here()))
    except UsageError:
        return []
    return plain((name, values.get("url", HOSTED_URL)) for name, values in saved.items())


def words(*known: str) -> Callable[[str], list[str]]:
    """Return a completer that offers these words."""

    def offer(incomplete: str) -> list[str]:
        return list(known)

    return offer


def plain(rows: Iterable[tuple[str, str]], names: re.Pattern[str] = PLAIN) -> Offer:
    """Return the rows whose names any shell takes as they are, each name once."""
    offered: dict[str, str] = {}
    for name, about in rows:
        if names.fullmatch(name):
            offered.setdefault(name, about)
    return list(offered.items())


# --- local servers --------------------------------------------------------------------------


def connected() -> Iterator[tuple[LocalServer, str]]:
    """Yield the agents of every local server that answers in time."""
    for server, answer in ask_all("/api/sdk/agents"):
        for agent in listed(answer, "agents"):
            yield server, str(agent.get("slug", ""))


def asked_calls(*, live: bool) -> Iterator[tuple[str, str]]:
    """Yield the calls that local servers know, with agent and state."""
    for _, answer in ask_all("/v1/calls?limit=50"):
        for call in listed(answer, "calls"):
            going_on = bool(call.get("live"))
            if going_on or not live:
                state = "live" if going_on else str(call.get("reason") or "ended")
                yield str(call.get("call_id", "")), f"{call.get('agent')}, {state}"


def listed(answer: Any, key: str) -> list[dict[str, Any]]:
    """Return the objects under a key of an answer, whatever the answer is."""
    rows = answer.get(key) if isinstance(answer, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def ask_all(path: str) -> Iterator[tuple[LocalServer, Any]]:
    """Yield every local server with its answer, the newest first, until the time is over.

    Each has an equal share of what is left, so that one that hangs does not hide the others.
    """
    from time import monotonic

    from pinecall_cli.settings.running import runtime_files

    until = monotonic() + WITHIN_S
    asked = runtime_files()[::-1]
    for count, server in enumerate(asked):
        now = monotonic()
        answer = ask(server, path, now + (until - now) / (len(asked) - count))
        if answer is not None:
            yield server, answer


def ask(server: LocalServer, path: str, until: float) -> Any:
    """Return what a server answers before ``until``; None if it does not.

    By hand, over a plain socket: `http.client` alone takes 60 ms to import. A host by name is not
    asked: finding its address knows no time limit.
    """
    import json
    import socket
    from ipaddress import ip_address
    from time import monotonic
    from urllib.parse import urlsplit

    def left() -> float:
        seconds = until - monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    address = urlsplit(server.url)
    host = "127.0.0.1" if address.hostname == "localhost" else address.hostname or ""
    lines = [f"GET {path} HTTP/1.0", f"Host: {address.netloc}"]
    lines += [f"Authorization: Bearer {server.key.reveal()}", "", ""]
    said = bytearray()
    try:
        ip_address(host)
        with socket.create_connection((host, address.port or 80), timeout=left()) as line:
            line.sendall("\r\n".join(lines).encode("latin-1"))
            while len(said) < MAX_ANSWER:
                line.settimeout(left())
                piece = line.recv(65536)
                if not piece:
                    break
                said += piece
        head, _, body = bytes(said).partition(b"\r\n\r\n")
        return json.loads(body) if b" 200 " in head.partition(b"\r\n")[0] else None
    except (OSError, ValueError, RecursionError):
        return None


# --- what is kept ---------------------------------------------------------------------------


def logged_calls() -> Iterator[tuple[str, str]]:
    """Yield the newest calls of the call log's file, which local servers share."""
    rows = logged("SELECT call, agent, reason FROM calls ORDER BY started_at DESC LIMIT 50")
    for call, agent, reason in rows:
        yield str(call), f"{agent}, {reason or 'not ended'}"


def logged_agents() -> Iterator[tuple[str, str]]:
    """Yield the agents of the call log's file, who was called last first."""
    rows = logged("SELECT agent FROM calls GROUP BY agent ORDER BY max(started_at) DESC LIMIT 50")
    for (agent,) in rows:
        yield str(agent), "in the call log"


def logged(query: str) -> list[tuple[Any, ...]]:
    """Return rows of the call log's file; none if it cannot be read at once."""
    import sqlite3
    from contextlib import closing

    from pinecall_cli.settings import data_dir

    file = data_dir() / "calls.db"
    if not file.exists():
        return []
    try:
        where = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(where, uri=True, timeout=0)) as database:
            return database.execute(query).fetchall()
    except sqlite3.Error:
        return []


def remember_devices(found: Iterable[Device]) -> None:
    """Keep a list of sound devices for `devices`: asking PortAudio takes too long for a key."""
    import json

    rows = [
        {"id": one.id, "name": one.name, "input": one.input, "output": one.output} for one in found
    ]
    file = devices_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(json.dumps(rows), "utf-8")
        file.chmod(0o600)
    except OSError:
        return  # a folder we cannot write to: TAB offers no devices, and `doctor` says why


def remembered(side: str) -> Iterator[tuple[str, str]]:
    """Yield the devices of one side, ``input`` or ``output``, as they were listed last."""
    import json

    try:
        saved = {"devices": json.loads(devices_file().read_text("utf-8"))}
    except (OSError, ValueError, RecursionError):
        return
    for one in listed(saved, "devices"):
        if one.get(side) is True:
            yield str(one.get("id")), str(one.get("name"))


def devices_file() -> Path:
    """Return the file that remembers the devices."""
    from pinecall_cli.settings import state_dir

    return state_dir() / DEVICES
