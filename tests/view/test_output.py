import asyncio
import io
import os
from typing import Any

import pytest

from pinecall_cli.view.output import MOST_GATHERED, Output


def test_a_reader_that_has_gone_is_told_of_once_and_is_no_error():
    reader, writer = os.pipe()
    gone: list[bool] = []
    with os.fdopen(writer, "wb") as stream:
        out = Output(stream, on_closed=lambda: gone.append(True))
        out.write(b"one\n")
        assert os.read(reader, 10) == b"one\n"
        os.close(reader)
        out.write(b"two\n")
        out.write(b"three\n")
    assert out.closed
    assert gone == [True]


class Broken(io.BytesIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, data: Any) -> int:
        raise self.error


def test_a_stream_that_is_no_file_may_break_too():
    out = Output(Broken(BrokenPipeError(32, "gone")))
    out.write(b"x")
    assert out.closed


def test_a_full_disk_is_an_error():
    with pytest.raises(OSError, match="full"):
        Output(Broken(OSError(28, "full"))).write(b"x")


class Counted(io.BytesIO):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: Any) -> int:
        self.writes.append(bytes(data))
        return len(data)


@pytest.mark.anyio
async def test_lines_of_a_burst_are_written_together_and_in_order():
    stream = Counted()
    out = Output(stream)
    lines = [b"%d\n" % number for number in range(100)]
    for line in lines:
        out.add(line)
    assert stream.writes[0] == lines[0], "the first does not wait for others"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert b"".join(stream.writes) == b"".join(lines), "nothing is left when the loop has turned"
    assert len(stream.writes) < len(lines)


@pytest.mark.anyio
async def test_what_is_written_at_once_comes_after_what_was_gathered():
    stream = Counted()
    out = Output(stream)
    for line in (b"1\n", b"2\n", b"3\n"):
        out.add(line)
    out.write(b"4\n")
    assert b"".join(stream.writes) == b"1\n2\n3\n4\n"


def test_without_a_loop_every_line_is_written_at_once():
    stream = Counted()
    out = Output(stream)
    for line in (b"1\n", b"2\n", b"3\n"):
        out.add(line)
    assert stream.writes == [b"1\n", b"2\n", b"3\n"]


@pytest.mark.anyio
async def test_no_more_is_gathered_than_a_pipe_holds():
    stream = Counted()
    out = Output(stream)
    out.add(b"first\n")
    for _ in range(1000):
        out.add(b"x" * 1000)
    assert sum(map(len, stream.writes)) >= 1_000_000 - MOST_GATHERED
    assert max(map(len, stream.writes)) < MOST_GATHERED + 1000


@pytest.mark.anyio
async def test_a_reader_that_goes_in_a_burst_is_no_error_either():
    reader, writer = os.pipe()
    gone: list[bool] = []
    with os.fdopen(writer, "wb") as stream:
        out = Output(stream, on_closed=lambda: gone.append(True))
        out.add(b"one\n")
        os.close(reader)
        out.add(b"two\n")
        out.finish()
        out.add(b"three\n")
        out.finish()
    assert out.closed
    assert gone == [True]


def test_gathered_lines_that_cannot_be_written_are_an_error_in_the_end():
    gone: list[bool] = []
    out = Output(Broken(OSError(28, "full")), on_closed=lambda: gone.append(True))
    out.add(b"x")
    assert (out.closed, gone) == (True, [True])
    with pytest.raises(OSError, match="full"):
        out.finish()
    out.finish()
