"""Makes a caller's sounds before the call: texts spoken, files read, all at the call's rate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pinecall_cli.audio.wav import read_wav
from pinecall_cli.caller.steps import Step, files, texts
from pinecall_cli.engines.choose import INSTALL
from pinecall_cli.engines.types import Synthesiser
from pinecall_cli.errors import EngineError


async def render(
    steps: Iterable[Step], rate: int, speech: Synthesiser | None
) -> dict[str | Path, bytes]:
    """Return the PCM of everything that ``steps`` say or play, for a `Player` at ``rate`` Hz.

    ``speech`` may be None when nothing is said.

    Raises:
        EngineError: If something is to be said and there is no voice, or a rate has to be changed
            and the extra `voice` is not installed.
        UsageError: If a file is not there or is no WAV file.
    """
    steps = tuple(steps)
    sounds: dict[str | Path, bytes] = {}
    for text in texts(steps):
        if speech is None:
            raise EngineError("there is no voice to speak with", fix=INSTALL)
        spoken = await speech.synthesise(text)
        sounds[text] = at_rate(spoken.pcm, spoken.rate, rate)
    for file in files(steps):
        pcm, file_rate = read_wav(file)
        sounds[file] = at_rate(pcm, file_rate, rate, name=str(file))
    return sounds


def at_rate(pcm: bytes, rate_in: int, rate_out: int, name: str = "this sound") -> bytes:
    """Return ``pcm`` at another rate; without the extra `voice` only if it is the same."""
    if rate_in == rate_out:
        return pcm
    try:
        # Here and not above: the base install has no numpy, and plays files at the right rate.
        from pinecall_cli.audio.resample import resample  # noqa: PLC0415
    except ImportError as problem:
        raise EngineError(
            f"`{name}` is at {rate_in} Hz, the call at {rate_out}", fix=INSTALL
        ) from (problem)
    return resample(pcm, rate_in, rate_out)
