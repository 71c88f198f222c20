"""Moonshine tiny-en on plain onnxruntime: English speech to text, 25 ms per second of speech.

The weights (MIT) travel in the wheel of ``moonshine-voice`` 0.1.0, which is found but never
imported, or lie in the folder that ``PINECALL_MODELS`` names.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pinecall_cli.engines.cuts import cut
from pinecall_cli.engines.onnx import open_model
from pinecall_cli.engines.silero import FRAME, Silero
from pinecall_cli.engines.worker import Worker
from pinecall_cli.errors import EngineError

RATE = 16000
FILES = ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin")
START, END = 1, 2
"""Tokens the decoder begins with and ends on."""
TOKENS_PER_S = 6.5
"""More than anyone says; past it the decoder is looping (the vendor's limit)."""
SHORTEST = 1600
"""Samples; the encoder's first layers need 0.06 s, and 0.1 s holds no word."""
QUIET = 64
"""A peak below this (-54 dBFS) is nobody speaking."""
SPEECH_MS = 96
"""So much speech must the VAD hear: the model makes words up from anything else."""
SURE_SPEECH_MS = 192
"""So much for a text of those that noise alone is known to give."""
MADE_UP = frozenset(
    {"you", "thank you", "thanks", "thank you for watching", "thanks for watching", "the", "um"}
)
REMEMBERED = 64
"""Finished pieces of long turns kept, as texts: about 10 minutes of speech."""

_REPEATED = re.compile(r"([,;:!?])\1+")


def find_models(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that holds the recogniser's three files.

    Raises:
        EngineError: If it is in neither place.
    """
    folder = environ.get("PINECALL_MODELS")
    if folder:
        places = [Path(folder).expanduser() / "tiny-en", Path(folder).expanduser()]
        for place in places:
            if all((place / name).is_file() for name in FILES):
                return place
        raise EngineError(
            f"`PINECALL_MODELS` names `{folder}`, which has no speech recogniser",
            fix=f"put {', '.join(FILES)} there, or unset it",
        )
    spec = find_spec("moonshine_voice")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        place = Path(root) / "assets" / "tiny-en"
        if all((place / name).is_file() for name in FILES):
            return place
    raise EngineError(
        "the speech recogniser's model is not installed",
        fix="pip install 'moonshine-voice==0.1.0' (later versions come without the model)",
    )


def read_tokens(data: bytes) -> list[bytes]:
    """Return the text of every token, in UTF-8; markers such as ``<s>`` have none.

    Each is a length (one byte, or two from 128 on: low 7 bits, then 128s) and so many bytes.
    """
    tokens, at = [], 0
    while at < len(data):
        size, at = data[at], at + 1
        if size >= 128:
            size, at = (size & 127) + 128 * data[at], at + 1
        text, at = data[at : at + size], at + size
        if re.fullmatch(rb"<0x[0-9A-Fa-f]{2}>", text):
            text = bytes([int(text[3:5], 16)])
        elif text.startswith(b"<") and text.endswith(b">"):
            text = b""
        tokens.append(text.replace("\u2581".encode(), b" "))
    return tokens


class Moonshine:
    """The loaded model with its worker thread; ``vad`` is asked when a text looks made up."""

    name = "moonshine/tiny-en"

    def __init__(self, vad: Silero | None = None, folder: Path | None = None) -> None:
        folder = folder or find_models()
        self._encoder = open_model(folder / FILES[0])
        self._decoder = open_model(folder / FILES[1])
        self._tokens = read_tokens((folder / FILES[2]).read_bytes())
        self._past = [i.name for i in self._decoder.get_inputs() if i.name.startswith("past_")]
        self._present = [output.name for output in self._decoder.get_outputs()]
        self._vad = vad or Silero()
        self._worker = Worker("moonshine", gives_way=True)
        self._finished: OrderedDict[bytes, str] = OrderedDict()

    async def transcribe(self, pcm: bytes) -> str:
        """Return the words in ``pcm`` (16 kHz); empty when there are none.

        A turn may be handed over again and again as it grows: of a long one only the last piece
        is decoded anew.
        """
        texts = []
        for piece in cut(pcm):
            texts.append(await self._worker.run(self.recognise, piece))
        return " ".join(text for text in texts if text)

    def recognise(self, pcm: bytes) -> str:
        """Decode one piece, 12 s at most, in this thread."""
        key = blake2b(pcm, digest_size=16).digest()
        known = self._finished.get(key)
        if known is not None:
            self._finished.move_to_end(key)
            return known
        text = self._believed(pcm)
        self._finished[key] = text
        if len(self._finished) > REMEMBERED:
            self._finished.popitem(last=False)
        return text

    def warm_up(self) -> None:
        """Run once, so that the first turn of a call is not the slow one."""
        self._decode(np.zeros(RATE, np.float32))

    def close(self) -> None:
        """End the thread once what was asked for is done; the model goes with the last user."""
        self._worker.close()

    def _believed(self, pcm: bytes) -> str:
        """Return the words in ``pcm``, or nothing when they were made up from noise."""
        audio = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2")
        if len(audio) < SHORTEST or np.abs(audio.astype(np.int32)).max() < QUIET:
            return ""
        speech = self._speech_ms(pcm)
        if speech < SPEECH_MS:
            return ""
        text = self._decode(audio * np.float32(1 / 32768))
        if speech < SURE_SPEECH_MS and text.lower().strip(" .,!?…♪") in MADE_UP:
            return ""
        return text

    def _speech_ms(self, pcm: bytes) -> float:
        """Return how long the VAD hears speech in ``pcm``; once it is sure, it hears no further."""
        vad, heard = self._vad.open(), 0.0
        for at in range(0, len(pcm), 2 * FRAME):
            if vad.probability(pcm[at : at + 2 * FRAME].ljust(2 * FRAME, b"\0")) >= 0.5:
                heard += 1000 * FRAME / RATE
                if heard >= SURE_SPEECH_MS:
                    break
        return heard

    def _decode(self, audio: NDArray[np.float32]) -> str:
        """Return the likeliest words, token by token."""
        audio = audio[None]
        # The decoder wants the mask of the samples, and thins it out itself; one of the
        # encoder's frames works only below 9.2 s, by luck.
        mask = np.ones(audio.shape, np.int64)
        (states,) = self._encoder.run(None, {"input_values": audio, "attention_mask": mask})
        past: dict[str, Any] = {name: np.zeros((1, 8, 0, 36), np.float32) for name in self._past}
        token, said = START, bytearray()
        for step in range(max(8, int(audio.size / RATE * TOKENS_PER_S))):
            logits, *present = self._decoder.run(
                None,
                {
                    "input_ids": np.array([[token]], np.int64),
                    "encoder_hidden_states": states,
                    "encoder_attention_mask": mask,
                    "use_cache_branch": np.array([step > 0]),
                    **past,
                },
            )
            for name, value in zip(self._present[1:], present, strict=True):
                # What the encoder gave is computed at the first step alone; later it comes empty.
                if step == 0 or "decoder" in name:
                    past[name.replace("present", "past_key_values")] = value
            token = int(logits[0, -1].argmax())
            if token == END:
                break
            said += self._tokens[token]
        text = said.decode(errors="ignore").replace("♪", "")
        return _REPEATED.sub(r"\1", text).strip()
