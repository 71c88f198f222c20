import io
import os
from typing import Any

import pytest

from pinecall_cli.view.output import Output


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
