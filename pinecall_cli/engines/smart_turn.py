"""Smart Turn v3.2: has the speaker finished, or only paused? (BSD-2, in the package.)

It listens to intonation, not to words. On read or noisy speech it is right two times in three: a
hint that ends a turn early, under a hard limit of silence.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pinecall_cli.engines.mel import SAMPLES, log_mel
from pinecall_cli.engines.onnx import MODELS, open_model
from pinecall_cli.engines.worker import Worker

MODEL = MODELS / "smart-turn-v3.2-cpu.onnx"
SHA256 = "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f"


class SmartTurn:
    """The loaded model with its worker thread."""

    name = "smart-turn/v3.2"

    def __init__(self, model: Path = MODEL) -> None:
        self._session = open_model(model)
        self._worker = Worker("smart-turn", gives_way=True)

    async def probability(self, pcm: bytes) -> float:
        """Return the probability, 0 to 1, that the turn heard in ``pcm`` (16 kHz) is over.

        Hand over the whole turn with the silence after it; the last 8 s are looked at.
        """
        return await self._worker.run(self.judge, pcm)

    def judge(self, pcm: bytes) -> float:
        """Do the work of `probability` in this thread (50 ms)."""
        tail = np.frombuffer(pcm[-2 * SAMPLES :], "<i2").astype(np.float32) / 32768
        audio = np.zeros(SAMPLES, np.float32)
        if len(tail):
            audio[-len(tail) :] = tail
        (finished,) = self._session.run(None, {"input_features": log_mel(audio)[None]})
        return float(finished.reshape(-1)[0])

    def warm_up(self) -> None:
        """Run once, so that the first turn of a call is not the slow one."""
        self.judge(b"")

    def close(self) -> None:
        """End the thread once what was asked for is done; the model goes with the last user."""
        self._worker.close()
