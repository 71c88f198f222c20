"""The echo's reference stays in step with the microphone, whoever is late."""

from __future__ import annotations

from pinecall_cli.audio.played import CUSHION_MS, DRIFT_MS, Played

RATE = 16_000
BLOCK = 640


def block(number: int) -> bytes:
    """Return 20 ms that can be told from all others."""
    return bytes([number]) * BLOCK


class Echo:
    """A loudspeaker whose blocks are numbered, and a microphone that is read beside it."""

    def __init__(self) -> None:
        self.played = Played(RATE, keep_ms=1200)
        self.blocks = 0

    def plays(self, blocks: int) -> None:
        for _ in range(blocks):
            self.blocks += 1
            self.played.write(block(self.blocks))

    def reads(self, frames: int) -> list[int]:
        """Read as many frames as the microphone has; return which blocks went with them."""
        return [self.played.read(20 * (frames - n))[0] for n in range(1, frames + 1)]


def test_it_runs_a_cushion_behind_the_loudspeaker():
    echo = Echo()
    heard = []
    for _ in range(6):
        echo.plays(1)
        heard += echo.reads(1)
    assert heard == [0, 1, 2, 3, 4, 5]
    assert echo.blocks - heard[-1] == CUSHION_MS // 20 - 1


def test_a_loop_that_was_held_up_catches_up_with_both_sides_in_step():
    echo = Echo()
    for _ in range(10):
        echo.plays(1)
        last = echo.reads(1)
    echo.plays(40)
    assert echo.reads(40) == list(range(last[0] + 1, last[0] + 41))


def test_a_backlog_that_the_microphone_does_not_share_is_skipped():
    echo = Echo()
    for _ in range(5):
        echo.plays(1)
        echo.reads(1)
    echo.plays(DRIFT_MS // 20 + 2)
    (number,) = echo.reads(1)
    assert echo.blocks - number == CUSHION_MS // 20 - 1


def test_a_loudspeaker_that_does_not_call_back_leaves_silence():
    echo = Echo()
    for _ in range(5):
        echo.plays(1)
        echo.reads(1)
    assert echo.reads(3)[-1] == 0
