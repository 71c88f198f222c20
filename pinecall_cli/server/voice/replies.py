"""From text to speech: every way words reach the speaker, one task per message.

A reply is read piece by piece, cut into sentences, synthesised sentence by sentence and pushed
into an `Utterance`; it can be given up at any of these points. Runs on the server's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from pinecall_cli.engines.types import Synthesiser
from pinecall_cli.errors import EngineError
from pinecall_cli.server.voice.sentences import HARD, Sentences, looks_whole
from pinecall_cli.server.voice.speaking import RATE, Speaker, Utterance

TAIL = HARD
"""Characters that are looked at, to say whether a sentence has ended."""
AHEAD_MS = 20_000
"""Audio synthesised ahead of what is playing, at most."""


PAUSE_S = 0.2
"""For an application to write on after a sentence; then it is spoken as it stands."""


class TokenStream:
    """Text that the application writes while it is being spoken (``bot.reply.stream``)."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()

    def write(self, token: str) -> None:
        """Append ``token`` verbatim."""
        self._queue.put_nowait(token)

    def end(self) -> None:
        """Say that no more will come."""
        self._queue.put_nowait(None)

    async def read(self) -> AsyncIterator[str]:
        """Yield the tokens until the end.

        An application that looks something up between two sentences wants the first one heard:
        where nothing follows for a while, a line's end says that the sentence is whole.
        """
        tail, whole = "", False
        while True:
            try:
                async with asyncio.timeout(PAUSE_S if whole else None):
                    token = await self._queue.get()
            except TimeoutError:
                tail, whole = "", False
                yield "\n"
                continue
            if token is None:
                return
            yield token
            tail = (tail + token)[-TAIL:]
            whole = looks_whole(tail)


async def one(text: str) -> AsyncIterator[str]:
    """Yield ``text`` as a stream of one piece."""
    yield text


class Voice:
    """The agent's voice in one call: turns text streams into queued utterances."""

    def __init__(
        self,
        speaker: Speaker,
        synthesiser: Synthesiser,
        failed: Callable[[EngineError], None],
    ) -> None:
        """``failed`` hears of a broken engine."""
        self._speaker, self.synthesiser = speaker, synthesiser
        self._failed = failed
        self._drained = asyncio.Event()

    def stepped(self) -> None:
        """Wake whoever waits for audio to be played: called once per frame."""
        self._drained.set()

    async def heard(self, utterance: Utterance) -> None:
        """Return when ``utterance`` has been played to its end, or dropped."""
        while self._speaker.holds(utterance):
            self._drained.clear()
            await self._drained.wait()

    async def speak(
        self,
        utterance: Utterance,
        pieces: AsyncIterator[str],
        *,
        first_audio: Callable[[], None] = lambda: None,
        queued: bool = False,
    ) -> bool:
        """Speak ``pieces`` as ``utterance``; return whether there was anything to say.

        The utterance joins the queue with its first sentence, unless it is ``queued`` already:
        what the application says keeps the order it was said in. Text is split at sentence ends,
        so that speech starts with the first sentence, not with the last token.
        """
        spoke = False
        sentences = Sentences()
        try:
            async with aclosing(pieces) as stream:  # type: ignore[type-var]
                async for piece in stream:
                    for sentence in sentences.push(piece):
                        spoke = await self._say(utterance, sentence, spoke or queued, first_audio)
            for sentence in sentences.flush():
                spoke = await self._say(utterance, sentence, spoke or queued, first_audio)
        except EngineError as error:
            self._failed(error)
        finally:
            utterance.close()
        return spoke

    async def _say(
        self,
        utterance: Utterance,
        sentence: str,
        queued: bool,
        first_audio: Callable[[], None],
    ) -> bool:
        while utterance.waiting_ms > AHEAD_MS:
            self._drained.clear()
            await self._drained.wait()
        speech = await self.synthesiser.synthesise(sentence)
        pcm = speech.pcm
        if speech.rate != RATE:
            # numpy, which only a server that speaks has
            from pinecall_cli.audio.resample import resample  # noqa: PLC0415

            pcm = resample(pcm, speech.rate, RATE)
        if pcm:
            first_audio()
        utterance.push(sentence, pcm, speech.words)
        if not queued:
            self._speaker.enqueue(utterance)
        return True
