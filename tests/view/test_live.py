import asyncio
import io
from collections.abc import Iterable
from typing import Any

import pytest
from rich.console import Console

from pinecall_cli.call.session import AgentState, SessionState
from pinecall_cli.view.live import LiveView
from pinecall_cli.view.output import Output
from pinecall_cli.view.region import Ui
from tests.call.conversations import START, order_call, received
from tests.view.screen import Screen
from tests.view.sessions import READY, Happened, step

HINTS = "c call   t type   q quit   ? help   h hang up   m mute   r reload"


class Terminal:
    """A live view on a small terminal, with a clock that stands still."""

    def __init__(
        self,
        width: int = 72,
        height: int = 24,
        ui: Ui | None = None,
        stream: io.BytesIO | None = None,
    ) -> None:
        self.console = Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system=None,
            legacy_windows=False,
            width=width,
            height=height,
        )
        self.stream = stream or io.BytesIO()
        self.clock = 0.0
        self.view = LiveView(self.console, Output(self.stream), ui=ui, clock=lambda: self.clock)
        self.screen = Screen(width)
        self.session = SessionState(agents=(AgentState(slug="front-desk"),))

    def happen(self, happened: Iterable[Happened]) -> list[str]:
        for one in happened:
            self.session = step(self.session, one)
            self.view.show(self.session, one, at=START)
        return self.seen()

    def seen(self) -> list[str]:
        self.screen.feed(self.stream.getvalue().decode())
        self.stream.seek(0)
        self.stream.truncate()
        return self.screen.text


def test_final_lines_are_scrollback_and_the_region_is_drawn_below():
    terminal = Terminal()
    assert terminal.happen([READY, *order_call()[:8]]) == [
        "● front-desk  agents/front_desk.yaml  +13186330963",
        "· embedded server http://127.0.0.1:43211",
        "☎ incoming call — webrtc",
        "front-desk › Hi, Acme ⏏ caller cut in · unsaid: front desk.",
        "    caller › Where is",
        "● listening · 0:00",
        HINTS,
    ]
    assert not terminal.screen.cursor_shown
    assert terminal.screen.synchronized == 0


def test_after_the_end_only_the_transcript_is_left():
    terminal = Terminal()
    terminal.happen([READY, *order_call()])
    terminal.view.close()
    terminal.view.close()
    assert terminal.seen() == [
        "● front-desk  agents/front_desk.yaml  +13186330963",
        "· embedded server http://127.0.0.1:43211",
        "☎ incoming call — webrtc",
        "front-desk › Hi, Acme ⏏ caller cut in · unsaid: front desk.",
        "    caller › Where is my order?",
        '  ⚡ lookup_order(id="ORD-1")',
        '  ✓ lookup_order {"status": "shipped"} · 50 ms',
        "front-desk › It shipped.",
        "  ↳ heard 192 → text +40 → decided +100 → tools +50 → first word +1 →",
        "    first audio +110 = 493 ms",
        "☎ call ended — hangup (2.2 s)",
        "",
    ]
    assert terminal.screen.cursor_shown


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_it_fits_every_width(width: int):
    terminal = Terminal(width)
    long = received("user.message", 9.0, call_id="c2", message_id="u", text="日本語 x" * 100)
    for row in terminal.happen([READY, *order_call()[:-1], long]):
        assert len(row) <= width


def test_long_lines_hang_behind_their_speaker():
    terminal = Terminal(40)
    said = "I would like to know where my order is, please."
    rows = terminal.happen([received("user.message", 0.1, message_id="u", text=said)])
    assert rows[:3] == [
        "    caller › I would like to know where",
        "             my order is, please.",
        "● listening",
    ]


@pytest.mark.parametrize("width", [30, 41, 55, 100])
def test_a_resize_leaves_nothing_of_the_region_behind(width: int):
    terminal = Terminal()
    terminal.happen([READY, *order_call()[:8]])
    terminal.screen.resize(width)
    terminal.console.width = width
    terminal.view.draw()
    rows = terminal.seen()
    assert len([row for row in rows if "Where is" in row]) == 1
    assert len([row for row in rows if row.startswith("● listening")]) == 1
    assert len([row for row in rows if row.startswith("c call")]) == 1


def test_the_prompt_shows_the_cursor_where_one_types():
    terminal = Terminal()
    terminal.happen([READY])
    terminal.view.update(prompt="Hel")
    rows = terminal.seen()
    assert rows[-1] == "you › Hel"
    assert terminal.screen.cursor_shown
    assert terminal.screen.column == len("you › Hel")
    terminal.view.update(prompt=None)
    assert terminal.seen()[-1] == HINTS


def test_events_are_lines_when_they_are_wanted():
    terminal = Terminal(ui=Ui(events=True))
    rows = terminal.happen([received("speech.started", 0.5, turn_id=1)])
    assert rows[0] == '  speech.started {"turn_id": 1}'


def test_latency_lines_can_be_left_out():
    terminal = Terminal(ui=Ui(latency=False))
    assert not any("heard" in row for row in terminal.happen(order_call()))


def test_a_suspended_program_leaves_the_screen_and_comes_back():
    terminal = Terminal()
    terminal.happen([READY])
    terminal.view.pause()
    terminal.view.pause()
    assert terminal.seen()[-1] == ""
    assert terminal.screen.cursor_shown
    assert terminal.happen([received("call.held", 1.0)])[-1] == ""
    terminal.screen.feed("shell$ fg\n")
    terminal.view.resume()
    rows = terminal.seen()
    assert rows[-3:] == ["  · on hold", "● listening · on hold", HINTS]
    assert rows[-4] == "shell$ fg"
    terminal.view.pause()
    terminal.view.close()
    terminal.view.pause()
    terminal.view.draw()
    terminal.view.update(help=True)
    assert HINTS not in terminal.seen()


def test_hostile_text_never_reaches_the_terminal_as_it_is():
    terminal = Terminal()
    evil = "\x1b[2J\x1b]0;owned\x07\u202e\u200b[red]x[/red]\x9b31m" + "y" * 100_000
    rows = terminal.happen(
        [
            received("user.message", 0.1, message_id="u", text=evil),
            received("user.speaking", 0.2, text=evil),
            received("llm.error", 0.3, error=evil),
        ]
    )
    text = "\n".join(rows)
    assert "\\x1b[2J" in text
    assert "[red]x[/red]" in text
    assert text.replace("\n", "").isprintable()


def test_the_running_time_goes_on_whatever_else_happens():
    terminal = Terminal()
    began = received("call.started", 0.0, from_="webrtc", to="webrtc", transport="webrtc")
    assert "● listening · 0:00" in terminal.happen([READY, began])
    terminal.clock = 9.0
    terminal.happen([READY])
    terminal.clock = 30.0
    terminal.view.draw()
    assert "● listening · 0:30" in terminal.seen()


class Awaited(io.BytesIO):
    """A stream that tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, data: Any) -> int:
        self.written.set()
        return super().write(data)


async def test_on_a_loop_bursts_are_drawn_together_and_the_clock_ticks():
    terminal = Terminal(stream=Awaited())
    with terminal.view as view:
        frames = order_call()[:5]
        for one in frames:
            terminal.session = step(terminal.session, one)
            view.show(terminal.session, one, at=START)
            view.show(terminal.session, None, at=START)
        assert terminal.stream.getvalue() == b""
        await terminal.stream.written.wait()
        text = terminal.stream.getvalue().decode()
        assert text.count("\x1b[?2026h") == 1
        view.draw()
        assert view._ticker is not None
    assert view._ticker.cancelled()
    assert terminal.seen()[-1] == ""
