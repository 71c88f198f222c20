"""The speech engines of a process, loaded in the background; and what they stand in for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from pinecall_cli.engines import engine
from pinecall_cli.engines.types import EndOfTurn, Recogniser, Synthesiser, Vad
from pinecall_cli.engines.worker import Worker
from pinecall_cli.errors import EngineError

VOICE = "hibari/heart"
RECOGNISER = "moonshine/tiny-en"
OURS = frozenset({"offline", "local", "hibari", "moonshine"})
"""Providers that name an offline engine, so that nothing is replaced."""
INSTALL = "pip install 'pinecall-cli[voice]' (in a clone: pip install '.[voice]')"
CLOSED = "the speech engines are closed"
_PACKAGES = frozenset({"numpy", "onnxruntime", "hibari", "moonshine_voice"})


class SpeechEngines:
    """Voice activity, end of turn, recogniser and voice; made once, used by every call.

    `load` returns at once; until `ready` is done the properties raise, and after `close` too.
    """

    def __init__(self) -> None:
        self.ready: Future[SpeechEngines] = Future()
        """Done when the engines are loaded and warm; holds the `EngineError` if they cannot be.
        It can be waited for from any thread, and nobody's cancellation reaches the others."""
        self.load_s: float | None = None
        """Seconds that loading took."""
        self._lock = threading.Lock()
        self.closed = False
        self._begun = self._over = False

    def load(self) -> None:
        """Begin to load in a daemon thread; a second call changes nothing.

        Raises:
            EngineError: If they were closed.
        """
        with self._lock:
            if self.closed:
                raise EngineError(CLOSED)
            if self._begun:
                return
            self._begun = True
            self.ready.set_running_or_notify_cancel()
        threading.Thread(target=self._load, name="engines", daemon=True).start()

    async def wait(self) -> SpeechEngines:
        """Return the engines when they are loaded, beginning to load them if nobody has.

        Raises:
            EngineError: If a package or a model is missing; its fix says how to get it.
        """
        self.load()
        return await asyncio.wrap_future(self.ready)

    def close(self) -> None:
        """End the engines' threads, and let the models go: 200 MB. Does not wait, never raises.

        What was asked for before is done still; engines that are loading go when they are loaded.
        """
        with self._lock:
            self.closed = True
            if self._over:
                self._let_go()

    def _let_go(self) -> None:
        for name in ("_hibari", "_moonshine", "_smart_turn"):
            loaded = vars(self).pop(name, None)
            if loaded is not None:
                loaded.close()
        vars(self).pop("_silero", None)

    def vad(self) -> Vad:
        """Return a new voice activity detector, for one call."""
        vad: Vad = self._loaded("_silero").open()
        return vad

    @property
    def end_of_turn(self) -> EndOfTurn:
        """What judges whether a speaker who paused has finished."""
        judge: EndOfTurn = self._loaded("_smart_turn")
        return judge

    @property
    def recogniser(self) -> Recogniser:
        """What turns speech into text."""
        recogniser: Recogniser = self._loaded("_moonshine")
        return recogniser

    @property
    def synthesiser(self) -> Synthesiser:
        """What turns text into speech."""
        synthesiser: Synthesiser = self._loaded("_hibari")
        return synthesiser

    def _loaded(self, name: str) -> Any:
        if self.closed:
            raise EngineError(CLOSED)
        if not self.ready.done():
            raise EngineError("the speech engines are still loading", fix="try again in a moment")
        self.ready.result()
        return getattr(self, name)

    def _load(self) -> None:
        begun = time.perf_counter()
        problem = self._load_all()
        self.load_s = time.perf_counter() - begun
        with self._lock:
            self._over = True
            if self.closed or problem is not None:
                self._let_go()
        if problem is None:
            self.ready.set_result(self)
        else:
            self.ready.set_exception(problem)

    def _load_all(self) -> BaseException | None:
        """Load every engine; return why that cannot be done."""
        try:
            self._silero = warm(engine("silero")())
            # Half of the work is the voice's: beside the others it is 0.7 s on 2 cores, not 1.0.
            # Not from the start, so that two threads never import numpy at once.
            beside = Worker("engines: voice")
            voice = beside.submit(self._load_voice)
            beside.close()
            self._smart_turn = warm(engine("smart-turn")())
            self._moonshine = warm(engine("moonshine")(self._silero))
            self._hibari = voice.result()
        except ImportError as problem:
            return _missing(problem)
        except BaseException as problem:
            # Whoever waits gets it; a thread's own traceback would reach nobody.
            return problem
        return None

    def _load_voice(self) -> Any:
        return warm(engine("hibari")())


class OnDemand(SpeechEngines):
    """Speech engines that are loaded when the first call needs them, and not before.

    For a server that is there to be written to: they take 2 s and 300 MB (measured on 2 cores).
    """

    def load(self) -> None:
        """Load nothing yet."""

    async def wait(self) -> SpeechEngines:
        """Return the engines when they are loaded, which begins now; raises as its base does."""
        super().load()
        return await asyncio.wrap_future(self.ready)


def warm(loaded: Any) -> Any:
    """Return an engine that has run once, so that the first call is not slow."""
    loaded.warm_up()
    return loaded


def _missing(problem: ImportError) -> Exception:
    """Return the error to show for a package that could not be imported."""
    package = (problem.name or "").partition(".")[0]
    if isinstance(problem, ModuleNotFoundError) and package in _PACKAGES:
        return EngineError(f"speech needs the package `{package}`", fix=INSTALL)
    return EngineError(f"a speech engine cannot be imported: {problem}", fix=INSTALL)


def substitutes(config: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that ``config`` asks for and an offline engine replaces.

    ``config`` is a wire payload. What it leaves open is nobody's wish, and needs no notice.
    """
    nested = config.get("config")
    nested = nested if isinstance(nested, Mapping) else {}
    voice = config.get("voice", nested.get("tts"))
    stt = config.get("stt", nested.get("stt"))
    notices = []
    for stage, wish, ours in (("voice", voice, VOICE), ("stt", stt, RECOGNISER)):
        name = _spelt(wish)
        if name and _provider(name) not in OURS:
            notices.append(f"{stage} {name} → offline {ours}")
    language = _language(config, stt, voice)
    if language and language.replace("_", "-").lower().partition("-")[0] not in ("en", "multi"):
        notices.append(
            f"language {language}: offline speech is English only; use text, "
            "or a server with engines for it (--server, --api-key)"
        )
    return notices


def _spelt(wish: object) -> str:
    """Return a voice or recogniser in its short spelling, ``provider/name``."""
    if isinstance(wish, str):
        return wish.strip()
    if not isinstance(wish, Mapping):
        return ""
    kind = wish.get("provider")
    name = wish.get("voice_id", wish.get("voice", wish.get("model")))
    return "/".join(part for part in (kind, name) if isinstance(part, str) and part)


def _provider(name: str) -> str:
    """Return the provider of ``provider/name`` or the older ``provider:name``."""
    return name.replace(":", "/").partition("/")[0]


def _language(config: Mapping[str, Any], stt: object, voice: object) -> str:
    """Return the language that will be spoken, if the configuration names one."""
    wishes = [config.get("language")]
    wishes += [wish.get("language") for wish in (stt, voice) if isinstance(wish, Mapping)]
    if isinstance(stt, str) and stt.count(":") >= 2:
        wishes.append(stt.split(":")[2])
    return next((wish for wish in wishes if isinstance(wish, str) and wish), "")
