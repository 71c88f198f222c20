"""The installed command as its users meet it: a process, its records, its talk, its end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

COMMAND = Path(sys.executable).with_name("pinecall")
PATIENCE_S = 45.0
"""After which a test gives up. Nothing is measured by it: what comes in time comes far earlier."""

Record = dict[str, Any]


class Program:
    """A running `pinecall`, with ``--json`` or not. Wait for what it says; never sleep."""

    def __init__(
        self,
        *argv: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        command: Sequence[str | Path] = (COMMAND,),
    ) -> None:
        self.argv = [str(word) for word in argv]
        self.records: list[Record] = []
        """What stdout said, as far as it is JSON."""
        self.out: list[str] = []
        self.talk: list[str] = []
        """The lines of stderr."""
        self._news = threading.Condition()
        self._open = 2
        self.process = subprocess.Popen(
            [*command, *self.argv],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(stdin.encode())
        self.process.stdin.close()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, take), daemon=True)
            for stream, take in (
                (self.process.stdout, self._take_out),
                (self.process.stderr, self.talk.append),
            )
        ]
        for reader in self._readers:
            reader.start()

    # -- what it says ----------------------------------------------------------------------

    def mark(self) -> int:
        """Return where the records are now, for ``since``."""
        with self._news:
            return len(self.records)

    def wait(
        self,
        type: str,
        *,
        since: int = 0,
        where: Callable[[Record], bool] = lambda record: True,
        patience: float = PATIENCE_S,
    ) -> Record:
        """Return the first record of a type from ``since`` on that is as ``where`` says."""
        found: list[Record] = []

        def there() -> bool:
            found[:] = [r for r in self.records[since:] if r["type"] == type and where(r)]
            return bool(found)

        self._until(there, f"a record `{type}`", patience)
        return found[0]

    def hears(self, text: str, *, patience: float = PATIENCE_S) -> str:
        """Return the first line of stderr that holds ``text``."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [line for line in self.talk if text in line]
            return bool(found)

        self._until(there, f"`{text}` on stderr", patience)
        return found[0]

    def shows(self, text: str, *, patience: float = PATIENCE_S) -> str:
        """Return all of stdout once it holds ``text``."""
        self._until(lambda: text in "".join(self.out), f"`{text}` on stdout", patience)
        return "".join(self.out)

    def of(self, *types: str, since: int = 0) -> list[Record]:
        """Return the records of these types so far."""
        with self._news:
            return [record for record in self.records[since:] if record["type"] in types]

    def ready(self) -> Record:
        """Return ``dev.ready``, once the speech engines have been loaded too."""
        record = self.wait("dev.ready")
        if record["local"] and any("loading the speech" in line for line in self.talk):
            self.hears("speech engines ready")
        return record

    # -- its end ---------------------------------------------------------------------------

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, *, patience: float = PATIENCE_S) -> int:
        """Return its exit code, once it has ended and everything it said is here."""
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._complaint("its end", "did not come")) from None
        for reader in self._readers:
            reader.join(patience)
        return self.process.returncode

    def stop(self) -> int:
        """End it as a service manager would, and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        """End it with no chance to tidy up."""
        self.process.kill()
        self.end()

    # -- inside ----------------------------------------------------------------------------

    def _until(self, there: Callable[[], bool], what: str, patience: float) -> None:
        with self._news:
            if not self._news.wait_for(lambda: there() or not self._open, patience):
                raise AssertionError(self._complaint(what, f"did not come in {patience:g} s"))
            if not there():
                raise AssertionError(self._complaint(what, "cannot come any more: it has ended"))

    def _complaint(self, what: str, why: str) -> str:
        tail = [f"  {json.dumps(record)[:300]}" for record in self.records[-12:]]
        lines = [f"{what} {why}: pinecall {' '.join(self.argv)}", *tail]
        return "\n".join([*lines, *(f"  stderr: {line}" for line in self.talk[-12:])])

    def _read(self, stream: IO[bytes], take: Callable[[str], None]) -> None:
        for line in stream:
            with self._news:
                take(line.decode(errors="backslashreplace").rstrip("\n"))
                self._news.notify_all()
        stream.close()
        with self._news:
            self._open -= 1
            self._news.notify_all()

    def _take_out(self, line: str) -> None:
        self.out.append(line + "\n")
        if line.startswith("{"):
            self.records.append(json.loads(line))


def agent_file(folder: Path, text: str, *, name: str = "agent.yaml", **files: str) -> Path:
    """Write an agent's file and those it names (``prompt__md`` is ``prompt.md``)."""
    folder.mkdir(parents=True, exist_ok=True)
    for other, body in files.items():
        (folder / other.replace("__", ".")).write_text(body, encoding="utf-8")
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def spoken(records: Sequence[Record]) -> dict[str, str]:
    """Return what the agent said out loud, by message: the words that were played."""
    said: dict[str, list[str]] = {}
    for record in records:
        if record["type"] == "bot.word":
            said.setdefault(record["message_id"], []).append(record["word"])
    return {message: " ".join(words) for message, words in said.items()}


def understood(records: Sequence[Record]) -> str:
    """Return what the caller was heard to say: the last text of each turn."""
    turns = {r["turn_id"]: r["text"] for r in records if r["type"] == "user.message"}
    return " ".join(turns.values())


def opened(pipe: Path) -> None:
    """Wait until somebody opens a named pipe for writing: how a tool says that it has begun."""
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        poll = select.poll()
        poll.register(end, select.POLLIN)
        assert poll.poll(PATIENCE_S * 1000), f"nobody has opened {pipe.name}"
    finally:
        os.close(end)
