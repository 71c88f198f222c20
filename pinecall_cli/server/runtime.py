"""Which servers run on this machine: one small file each, swept when nobody answers for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ANSWER_S = 0.5
"""For a server on this machine to answer; a busy one takes some 20 ms."""


@dataclass(frozen=True, slots=True)
class Running:
    """A local server, as its runtime file describes it."""

    file: Path
    url: str
    key: str = field(repr=False)
    pid: int
    started: float
    """Epoch seconds."""


def write(run_dir: Path, *, url: str, key: str) -> Path:
    """Write this process's runtime file (0600, its folder 0700) and return its path."""
    folder = servers(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    pid = os.getpid()
    body = json.dumps({"url": url, "key": key, "pid": pid, "started": time.time()})
    # Written aside and moved into place: a reader never meets half a file. 0600 by itself.
    handle, name = tempfile.mkstemp(dir=folder, prefix=f".{pid}-")
    with os.fdopen(handle, "w") as file:
        file.write(body)
    path = folder / f"{pid}.json"
    os.replace(name, path)
    return path


def remove(file: Path) -> None:
    """Take a runtime file away, if it is still there."""
    file.unlink(missing_ok=True)


def found(run_dir: Path) -> list[Running]:
    """Return what the runtime files say, the oldest server first; nobody is asked."""
    running = []
    for file in sorted(servers(run_dir).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(file.read_text("utf-8"))
            running.append(
                Running(
                    file,
                    str(said["url"]),
                    str(said["key"]),
                    int(said["pid"]),
                    float(said["started"]),
                )
            )
    return sorted(running, key=lambda server: server.started)


def sweep(run_dir: Path, *, answer_s: float = ANSWER_S) -> list[Running]:
    """Return the servers that answer with their key, and remove the files of those that are gone.

    One that is alive but too busy to answer is left out, and its file left alone.
    """
    answering = []
    for server in found(run_dir):
        try:
            if answers(server, answer_s):
                answering.append(server)
                continue
        except TimeoutError:
            if alive(server.pid):
                continue
        except (OSError, http.client.HTTPException):
            pass  # nobody listens there, or somebody who is no server of ours
        remove(server.file)
    return answering


def answers(server: Running, answer_s: float) -> bool:
    """Ask a server for its agents with its key; True if it takes the key."""
    address = urlsplit(server.url)
    asking = http.client.HTTPConnection(
        address.hostname or "", address.port or 80, timeout=answer_s
    )
    try:
        headers = {"Authorization": f"Bearer {server.key}"}
        asking.request("GET", "/api/sdk/agents", headers=headers)
        return asking.getresponse().status == 200
    finally:
        asking.close()


def alive(pid: int) -> bool:
    """Tell whether a process of that id runs."""
    if os.name != "posix":
        return True  # signal 0 would end it there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def servers(run_dir: Path) -> Path:
    """Return the folder of the runtime files."""
    return run_dir / "servers"
