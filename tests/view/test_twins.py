import io
import sys

import pytest

from pinecall_cli.view.live import LiveView
from pinecall_cli.view.ndjson import NdjsonView
from pinecall_cli.view.plain import PlainView
from pinecall_cli.view.twins import can_draw, colour_forced, console_for, open_view


class Tty(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)


def terminal() -> Tty:
    return Tty(io.BytesIO(), encoding="utf-8")


def test_a_terminal_gets_the_live_view_unless_another_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sys, "stdout", terminal())
    view = open_view(events=True)
    assert isinstance(view, LiveView)
    assert view.ui.events
    assert isinstance(open_view(json=True), NdjsonView)
    assert isinstance(open_view(plain=True), PlainView)


def test_a_pipe_and_a_dumb_terminal_get_plain_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    assert isinstance(open_view(), PlainView)
    assert can_draw(terminal())
    assert not can_draw(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not can_draw(terminal())


def test_colours_follow_the_environment(monkeypatch: pytest.MonkeyPatch):
    assert console_for(terminal()).color_system == "256"
    assert console_for(io.StringIO()).color_system is None
    monkeypatch.setenv("NO_COLOR", "1")
    assert console_for(terminal()).no_color
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert not colour_forced()
    monkeypatch.delenv("NO_COLOR")
    assert colour_forced()
    assert console_for(io.StringIO()).color_system == "standard"
    monkeypatch.setenv("CLICOLOR_FORCE", "0")
    assert console_for(io.StringIO()).color_system is None
