"""Checks of speech and sound: engines, what they make of each other, devices, echo.

Text needs none of it: what is not installed is told, and is no fault. What is installed and does
not work is one.
"""

from __future__ import annotations

import asyncio
import math
import re
import statistics
import time
from collections.abc import Iterator
from difflib import SequenceMatcher
from importlib import metadata
from importlib.util import find_spec

from pinecall_cli.audio.devices import (
    Choice,
    Device,
    Microphone,
    Speaker,
    list_devices,
    parse_device,
)
from pinecall_cli.audio.pcm import FRAME_MS, SAMPLE_BYTES, level_dbfs, silence
from pinecall_cli.caller.render import at_rate
from pinecall_cli.commands.complete import remember_devices
from pinecall_cli.engines.choose import INSTALL, SpeechEngines
from pinecall_cli.errors import EngineError, PinecallError
from pinecall_cli.view.checkup import Check

PACKAGES = {
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "hibari": "hibari-tts",
    "moonshine_voice": "moonshine-voice",
    "pywebrtc_audio": "pywebrtc-audio",
}
"""What the extra `voice` installs: modules, and the distributions that hold them."""
RATE = 16_000
SENTENCE = "Are you open on Sunday?"
"""Said and heard. The recogniser writes it as it stands; `where is` it would write `where's`."""
ALIKE = 0.75
"""How much of it has to come back."""
LISTEN_FRAMES = 15
"""How long the microphone is heard: 300 ms."""
OPENS_WITHIN_S = 10.0
"""For both devices: one may take 2 s."""
CHIRPS = 3
SETTLE_FRAMES, BETWEEN_FRAMES = 25, 50
"""Before the first chirp, 500 ms; from one to the next, 1 s: the longest way that is looked for."""
AGREE_MS = 20.0
"""How far two measurements may be apart that mean one thing."""


class Speech:
    """The checks that need engines or devices; what one has loaded the next one uses."""

    def __init__(self, device: str | None) -> None:
        self._device = device
        self._engines = SpeechEngines()
        self._loaded = False
        self._choice: Choice | None = None

    def engines(self) -> Iterator[Check]:
        """Yield whether packages and models of speech are there, and load."""
        missing = [name for module, name in PACKAGES.items() if find_spec(module) is None]
        if missing:
            said = f"no speech, text only: {', '.join(missing)} not installed"
            yield Check("engines", False, said, INSTALL)
            return
        try:
            asyncio.run(self._engines.wait())
        except EngineError as problem:
            yield Check("engines", False, problem.message, problem.fix, needed=True)
            return
        self._loaded = True
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES.values())
        took = f"loaded in {self._engines.load_s or 0:.1f} s"
        yield Check("engines", True, f"{took}: {versions}")

    def round_trip(self) -> Iterator[Check]:
        """Yield whether the recogniser understands the voice; nothing without engines."""
        if not self._loaded:
            return
        begun = time.perf_counter()
        heard, voiced = asyncio.run(self._say_and_hear())
        took = 1000 * (time.perf_counter() - begun)
        said = f"said “{SENTENCE}”, heard “{heard}”"
        good = voiced and alike(SENTENCE, heard) >= ALIKE
        if not voiced:
            said += ", which the voice detector takes for noise"
        fix = None if good else f"install the packages of speech again: {INSTALL}"
        yield Check("speech", good, f"{said} ({took:.0f} ms)", fix, needed=True)

    async def _say_and_hear(self) -> tuple[str, bool]:
        """Return what is heard of `SENTENCE`, and whether it passes for a voice."""
        spoken = await self._engines.synthesiser.synthesise(SENTENCE)
        pcm = at_rate(spoken.pcm, spoken.rate, RATE)
        vad = self._engines.vad()
        size = SAMPLE_BYTES * vad.frame_samples
        frames = (pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size))
        voiced = any(vad.probability(frame) >= 0.5 for frame in frames)
        return await self._engines.recogniser.transcribe(pcm), voiced

    def echo(self) -> Iterator[Check]:
        """Yield whether the loudspeaker's sound can be taken out of the microphone's."""
        from pinecall_cli.audio.echo import EchoCanceller

        try:
            EchoCanceller(RATE)
        except ImportError as problem:
            said = f"half-duplex: the agent cannot be interrupted while it speaks ({problem})"
            yield Check("echo", False, said, f"wear headphones and use `--no-aec`, or {INSTALL}")
        else:
            yield Check("echo", True, "the loudspeaker's sound is taken out of the microphone's")

    # --- devices --------------------------------------------------------------------------

    def devices(self) -> Iterator[Check]:
        """Yield whether microphone and loudspeaker open, and whether anything is heard."""
        try:
            found = list_devices()
            remember_devices(found)
            choice = Choice() if self._device is None else parse_device(self._device, found)
            level, microphone, speaker = asyncio.run(listen(choice))
        except PinecallError as problem:
            yield Check("audio", False, problem.message, problem.fix)
            return
        except TimeoutError:
            said = f"the sound devices do not open within {OPENS_WITHIN_S:.0f} s"
            yield Check("audio", False, said, "close other programs that use them")
            return
        self._choice = choice
        said = f"microphone {named(found, choice.input, microphone)}"
        said += f", loudspeaker {named(found, choice.output, speaker)}; {len(found)} devices"
        if level == -math.inf:
            said += "; the microphone gives no sound at all"
            fix = "switch it on, or let this terminal use it in the system's privacy settings"
            yield Check("audio", False, said, fix)
            return
        yield Check("audio", True, f"{said}; the room is at {level:.0f} dBFS")

    def acoustic(self) -> Iterator[Check]:
        """Yield how long sound takes from the loudspeaker to the microphone, and how loud it is."""
        if self._choice is None:
            yield Check("acoustic", False, "not measured: the sound devices do not work")
            return
        if find_spec("numpy") is None:
            yield Check("acoustic", False, "not measured: it needs numpy", INSTALL)
            return
        measured = asyncio.run(play_and_find(self._choice))
        together = agreeing([at for at, _ in measured])
        if len(together) < 2:
            yield Check(
                "acoustic",
                False,
                f"the microphone hears {len(measured)} of {CHIRPS} chirps: no echo to take out",
                "right with headphones; else turn the loudspeaker up, and the microphone on",
            )
            return
        level = statistics.median(level for at, level in measured if at in together)
        way = statistics.median(together)
        yield Check(
            "acoustic",
            True,
            f"round trip {way:.0f} ms, echo at {round(level):+d} dB of what is played",
        )


def alike(one: str, other: str) -> float:
    """Return how much of their words two sentences share, 0 to 1."""
    left, right = (re.findall(r"[a-z0-9']+", text.lower()) for text in (one, other))
    return SequenceMatcher(None, left, right).ratio()


def named(devices: list[Device], id: int | None, name: str) -> str:
    """Return a device as a row names it."""
    return f"“{name}”" if id is None else f"{id} “{name}”"


async def listen(choice: Choice) -> tuple[float, str, str]:
    """Return the room's level in dBFS, and the names of microphone and loudspeaker.

    Raises:
        AudioDeviceError: If one does not open.
        TimeoutError: If that takes too long.
    """
    async with (
        asyncio.timeout(OPENS_WITHIN_S),
        Speaker(choice.output, rate=RATE) as speaker,
        Microphone(choice.input, rate=RATE) as microphone,
    ):
        heard = b"".join([await microphone.read() for _ in range(LISTEN_FRAMES)])
        return level_dbfs(heard), microphone.name, speaker.name


async def play_and_find(choice: Choice) -> list[tuple[float, float]]:
    """Return the way of each chirp that was heard, in ms, and its level in dB.

    One frame is played for each that is heard, as in a call: what is measured is what a call has,
    its buffers included.
    """
    from pinecall_cli.audio.chirp import chirp, find

    size = SAMPLE_BYTES * RATE * FRAME_MS // 1000
    sound = chirp(RATE)
    pause = silence(BETWEEN_FRAMES * FRAME_MS, RATE)[len(sound) :]
    played = silence(SETTLE_FRAMES * FRAME_MS, RATE) + CHIRPS * (sound + pause)
    heard = bytearray()
    async with (
        Speaker(choice.output, rate=RATE) as speaker,
        Microphone(choice.input, rate=RATE) as microphone,
    ):
        microphone.forget()
        for at in range(0, len(played), size):
            heard += await microphone.read()
            speaker.write(played[at : at + size])
    found = []
    for number in range(CHIRPS):
        begin = size * (SETTLE_FRAMES + number * BETWEEN_FRAMES)
        chirped = find(bytes(heard[begin : begin + size * BETWEEN_FRAMES]), RATE)
        if chirped is not None:
            # The frame just read came before the chirp was written: the way begins behind it.
            found.append((chirped.at_ms - FRAME_MS, chirped.level_db))
    return found


def agreeing(ways: list[float]) -> list[float]:
    """Return the most that lie within `AGREE_MS` of one of them."""
    return max(
        ([other for other in ways if abs(other - way) <= AGREE_MS] for way in ways),
        key=len,
        default=[],
    )
