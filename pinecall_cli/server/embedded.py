"""The server in this process: a thread of its own, with its own event loop.

In the caller's loop an agent's tool that blocks for 0.7 s makes a 20 ms audio clock 681 ms late,
in a loop of its own 1 ms (measured); and on the main thread uvicorn would take our signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import uvicorn

from pinecall_cli.engines.choose import SpeechEngines
from pinecall_cli.engines.llm import choose_model
from pinecall_cli.engines.types import Model
from pinecall_cli.errors import InfrastructureError, UsageError
from pinecall_cli.server import runtime
from pinecall_cli.server.agents.organisation import random_key
from pinecall_cli.server.app import ChooseModel, Limits, VoiceServer
from pinecall_cli.server.connections import Http, Socket
from pinecall_cli.server.faults import Faults
from pinecall_cli.server.gateway import gateway
from pinecall_cli.server.hosts import is_loopback
from pinecall_cli.server.log.journal import Journal
from pinecall_cli.server.log.log_file import RECORDINGS
from pinecall_cli.server.phone.numbers import Number
from pinecall_cli.server.webrtc.ice import IceServer

log = logging.getLogger("pinecall.server")

LARGEST_FRAME = 1024 * 1024
"""Bytes of a WebSocket message: a prompt may have 256 KiB, and tools come with it."""
DRAIN_S = 1.0
"""For calls to end when the server stops; they take 20 ms. The first Ctrl-C promises 2 s in all."""


class EmbeddedServer:
    """A voice server, started and stopped from any thread; also a context manager of both kinds."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Iterable[str] = (),
        data: Path | str = ":memory:",
        engines: Any = None,
        models: ChooseModel | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
        from_project: Collection[str] = (),
        notice: Callable[[str], None] = log.warning,
        limits: Limits | None = None,
        public_hosts: Iterable[str] = (),
        run_dir: Path | None = None,
        record: Path | None = None,
        numbers: Mapping[str, Number] = MappingProxyType({}),
        script: Sequence[Mapping[str, Any]] | None = None,
        faults: Faults | None = None,
        ice_servers: Iterable[IceServer] = (),
    ) -> None:
        """Say what server it is to be; nothing happens before `start`.

        Args:
            host: The address to bind to.
            port: The port; 0 for any that is free.
            keys: API keys, each an organisation of its own; none for one random key.
            data: The folder of the call log, or ``:memory:``.
            engines: Speech engines, which stay the caller's to close; by default the offline
                ones, loaded in the background, of its own: they go when it stops.
            models: Chooses a session's model from its ``llm``; by default as
                `engines/llm.py` does, with the keys in ``environ``.
            environ: Where keys and addresses of models are looked up.
            from_project: The names in it that a project's ``.env`` put there.
            notice: Told, once, what stands in for what an agent asks for.
            limits: Times and sizes.
            public_hosts: Further names by which the server may be addressed.
            run_dir: Where to leave a runtime file, so that commands find the server.
            record: Where to record every call.
            numbers: What happens at further numbers of the local exchange.
            script: The rules that answer for agents whose ``llm`` is ``script`` alone; None for
                the built-in ones.
            faults: What is to go wrong on purpose.
            ice_servers: STUN and TURN servers of calls from pages; none for what is usual.
        """
        self.host = host
        self.port = port
        """The port; the one bound to, once started."""
        given = tuple(keys)
        self._minted = None if given else random_key()
        self.keys = given if self._minted is None else (self._minted,)
        self.engines = SpeechEngines() if engines is None else engines
        self._own_engines = engines is None
        self._data, self._run_dir = data, run_dir
        self._models, self._notice = models, notice
        self._environ, self._from_project = environ, from_project
        self._limits, self._public_hosts = limits, tuple(public_hosts)
        self._record, self._numbers, self._script = record, numbers, script
        self._faults, self._ice_servers = faults, tuple(ice_servers)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._drain_s = DRAIN_S
        self._problem: BaseException | None = None
        self._runtime_file: Path | None = None
        self.server: VoiceServer
        """What the routes work on; its own loop's, so reach it with `call_soon`."""

    @property
    def key(self) -> str:
        """The first key."""
        return self.keys[0]

    @property
    def url(self) -> str:
        """The base URL, http and without a trailing slash."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def start(self) -> EmbeddedServer:
        """Start, and return when the server listens.

        Raises:
            InfrastructureError: If the port is taken, or the call log cannot be opened.
            UsageError: If the host is no address of this machine.
        """
        if self._thread is not None:
            raise RuntimeError("the server runs already")
        if self._own_engines and self.engines.closed:
            self.engines = SpeechEngines()
        listener = bind(self.host, self.port)
        self.port = listener.getsockname()[1]
        try:
            journal = Journal(
                self._data if self._data == ":memory:" else Path(self._data) / "calls.db"
            )
        except InfrastructureError:
            listener.close()
            raise
        self.server = VoiceServer(
            keys=self.keys,
            journal=journal,
            engines=self.engines,
            choose_model=self._models or self._model,
            limits=self._limits,
            public_hosts=self._public_hosts,
            notice=self._notice,
            record=self._record,
            recordings=None if self._data == ":memory:" else Path(self._data) / RECORDINGS,
            own_calls=is_loopback(self.host),
            minted_key=self._minted,
            numbers=self._numbers,
            faults=self._faults,
            ice_servers=self._ice_servers,
        )
        listening = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(listener, listening), name="pinecall-server", daemon=True
        )
        self._thread.start()
        listening.wait()
        if self._problem is not None:
            raise self._problem
        self.engines.load()
        if self._run_dir is not None:
            self._runtime_file = runtime.write(self._run_dir, url=self.url, key=self.key)
        return self

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """End every call, close every socket, and return when the port is free again.

        Args:
            drain_s: How long calls may take to end before they are cut off.
        """
        if self._thread is None or self._loop is None or self._stop is None:
            return
        if self._runtime_file is not None:
            runtime.remove(self._runtime_file)
            self._runtime_file = None
        self._drain_s = drain_s
        with contextlib.suppress(RuntimeError):  # its loop has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None
        if self._own_engines:
            self.engines.close()

    def call_soon(self, function: Callable[[], object]) -> None:
        """Run ``function`` on the server's loop."""
        assert self._loop is not None, "the server has not been started"
        self._loop.call_soon_threadsafe(function)

    def __enter__(self) -> EmbeddedServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> EmbeddedServer:
        await in_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await in_thread(self.stop)

    def _model(self, llm: Any) -> Model | None:
        return choose_model(
            llm,
            environment=self._environ,
            server_script=self._script,
            from_project=self._from_project,
            notice=self.server.notice,
        )

    # --- the thread ---

    def _run(self, listener: socket.socket, listening: threading.Event) -> None:
        try:
            asyncio.run(self._serve(listener, listening))
        except BaseException as problem:
            self._problem = problem
            log.exception("the server broke down")
        finally:
            listening.set()

    async def _serve(self, listener: socket.socket, listening: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        quiet_loggers()
        http = Listening(
            uvicorn.Config(
                gateway(self.server, loopback=is_loopback(self.host)),
                http=partial(Http, limits=self.server.limits),  # type: ignore[arg-type]
                ws=partial(Socket, limits=self.server.limits),  # type: ignore[arg-type]
                lifespan="off",
                log_config=None,
                access_log=False,  # tokens travel in URLs
                server_header=False,
                date_header=False,
                ws_max_size=LARGEST_FRAME,
                ws_per_message_deflate=False,
                ws_ping_interval=None,  # the protocol has pings of its own
                timeout_graceful_shutdown=1,
            ),
            listening,
        )
        serving = self._loop.create_task(http.serve(sockets=[listener]), name="http")
        stopping = self._loop.create_task(self._stop.wait(), name="stop")
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not await self.server.drain(self._drain_s):
            log.warning("calls were cut off when the server stopped")
        await self.server.close()
        stopping.cancel()
        # Whoever has not taken its close frame by now reads nothing, and would be waited for.
        for left in tuple(http.server_state.connections):
            if isinstance(left, Socket):
                left.transport.abort()
        http.over.set()
        try:
            await serving
        finally:
            self.server.audio_worker.close()
            self.server.journal.close()


class Listening(uvicorn.Server):
    """uvicorn's server, which says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: threading.Event) -> None:
        super().__init__(config)
        self._listening = listening
        self.over = asyncio.Event()
        """Set it to stop; uvicorn's own flag is looked at every 100 ms."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then say so."""
        await super().startup(sockets)
        self._listening.set()

    async def main_loop(self) -> None:
        """Run until it is over; there is no date header to be renewed meanwhile."""
        await self.over.wait()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Raises:
        InfrastructureError: If the port is taken.
        UsageError: If the host or port is none we can bind to.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, OverflowError) as problem:
        raise UsageError(
            f"cannot listen on `{host}`: {problem}", fix="name an address of this machine"
        ) from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows it would let two servers share one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. asyncio sets it for sockets whose `proto` says TCP, which ours
        # does not; without it every second frame of a burst comes 40 ms late (measured).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as problem:
        listener.close()
        raise InfrastructureError(
            f"cannot listen on {host}:{port}: {os.strerror(problem.errno or 0).lower()}",
            code="port_in_use",
            fix="choose another port with `--port`, or stop what listens there",
        ) from None
    listener.setblocking(False)
    return listener


async def in_thread(work: Callable[[], object]) -> None:
    """Run ``work`` in a daemon thread and await it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        try:
            work()
        except BaseException as problem:
            loop.call_soon_threadsafe(done.set_exception, problem)
        else:
            loop.call_soon_threadsafe(done.set_result, None)

    threading.Thread(target=run, name="pinecall-server-start", daemon=True).start()
    await done


class Ours(logging.Handler):
    """Hands uvicorn's records to our logger."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on."""
        log.handle(record)


def news(record: logging.LogRecord) -> bool:
    """Tell whether a record says something: uvicorn reports every refused upgrade as an error."""
    return "without completing handshake" not in record.getMessage()


def quiet_loggers() -> None:
    """Lead uvicorn's loggers to ours, once per process."""
    theirs = logging.getLogger("uvicorn")
    if not any(isinstance(handler, Ours) for handler in theirs.handlers):
        theirs.addHandler(Ours())
        theirs.propagate = False
        theirs.setLevel(logging.WARNING)  # at INFO it names the URLs of sockets, tokens and all
        logging.getLogger("uvicorn.error").addFilter(news)
        log.addHandler(logging.NullHandler())
