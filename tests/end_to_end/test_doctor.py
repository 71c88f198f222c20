"""`doctor` on a terminal."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from tests.end_to_end.conftest import Open

COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_its_rows_fit_any_terminal(
    open_terminal: Open, width: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("COLUMNS", raising=False)  # it would go before the terminal's own width
    terminal = open_terminal("doctor", size=(60, width))
    assert terminal.end() == 0, terminal.text
    lines = terminal.text.splitlines()
    assert all(cell_len(line) <= width for line in lines if "all that is needed" not in line)
    assert f"{width} columns" in " ".join(" ".join(lines).split())
    assert COLOUR.search(terminal.drawn)
    assert terminal.after == terminal.before


def test_without_colours_the_marks_say_all(open_terminal: Open):
    terminal = open_terminal("doctor", env={"NO_COLOR": "1"}, size=(60, 80))
    assert terminal.end() == 0, terminal.text
    assert "✓ python" in terminal.text
    assert not re.search(rb"\x1b\[(?:[0-9;]*;)?3[0-7]", terminal.drawn)
