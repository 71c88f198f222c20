"""Random and mutated frames on every socket, random bodies on every route: no 500, no traceback,
no hang. The same with more of them, and other seeds: `python -m tests.bench.fuzz`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.audio.wav import NotWavError, decode_wav, wav_header
from pinecall_cli.protocol import codec
from tests.server import fuzzing
from tests.server.front_door import sockets
from tests.server.mutations import Mutator, samples
from tests.server.peer import embedded

SEEDS = (1, 2)
FRAMES = 150


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which the server was surprised by something."""
    yield
    surprises = [r for r in caplog.records if r.levelno >= logging.ERROR or r.exc_info]
    assert [record.getMessage() for record in surprises] == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("path", fuzzing.SOCKETS)
async def test_a_socket_survives_whatever_is_said_to_it(path: str, seed: int):
    async with embedded(engines=fuzzing.engines()) as server:
        await fuzzing.SOCKETS[path](server, Mutator(seed, fuzzing.COMMANDS), FRAMES)
        assert await fuzzing.alive(server)


def test_no_socket_is_forgotten():
    with embedded() as server:
        assert set(sockets(server)) == set(fuzzing.SOCKETS)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_route_answers_whatever_is_asked_as_it_is_described(seed: int):
    async with embedded(engines=fuzzing.engines()) as server:
        wrong = await fuzzing.routes(server, Mutator(seed, fuzzing.COMMANDS), 6)
        assert wrong == []
        assert await fuzzing.alive(server)


@pytest.mark.parametrize("kind", ["commands", "events"])
@given(seed=st.integers(0, 2**32))
def test_a_mutated_frame_is_a_frame_or_unknown_and_can_be_sent_on(kind: str, seed: int):
    decode = codec.decode_command if kind == "commands" else codec.decode_event
    mutator = Mutator(seed, samples(kind))
    for _ in range(20):
        codec.encode(decode(mutator.data()).frame)


@given(st.binary(max_size=200), st.integers(0, 44), st.integers(0, 2**32 - 1))
def test_no_bytes_are_more_than_no_wav_file(noise: bytes, cut: int, size: int):
    header = wav_header(16_000, size)
    spoiled = header[:cut] + noise[:4] + header[cut + 4 :]
    for data in (noise, header[:cut] + noise, header + noise, spoiled + noise):
        with contextlib.suppress(NotWavError):
            pcm, rate = decode_wav(data)
            assert len(pcm) % 2 == 0
            assert rate > 0
