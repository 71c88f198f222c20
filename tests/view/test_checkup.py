"""What `doctor` found, drawn: wrapped to any terminal, whole lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from pinecall_cli.view.checkup import NAME_CELLS, Check, print_check

CHECKS = [
    Check("python", True, "3.11.7 (/usr/bin/python3)", needed=True),
    Check("engines", False, "no speech, text only: numpy not installed", "pip install '.[voice]'"),
    Check("run", False, "/run/user/0 belongs to \x1b[31manother", "sudo chown [x]", needed=True),
]


def printed(*, width: int = 80, terminal: bool = True, plain: bool = False) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, color_system=None, width=width)
    for check in CHECKS:
        print_check(console, check, plain=plain)
    return file.getvalue().splitlines()


def test_marks_names_and_hints_are_aligned():
    assert printed() == [
        "✓ python     3.11.7 (/usr/bin/python3)",
        "! engines    no speech, text only: numpy not installed",
        "             fix: pip install '.[voice]'",
        "✗ run        /run/user/0 belongs to \\x1b[31manother",
        "             fix: sudo chown [x]",
    ]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_all_text_stands_behind_the_names(width: int):
    lines = printed(width=width)
    assert all(cell_len(line) <= width for line in lines)
    assert all(line[:2].strip() or line.startswith(" " * (NAME_CELLS + 4)) for line in lines)


@pytest.mark.parametrize(("terminal", "plain"), [(False, False), (True, True)])
def test_off_a_terminal_a_message_is_one_line_however_long(terminal: bool, plain: bool):
    assert printed(width=20, terminal=terminal, plain=plain) == printed(width=200)


def test_as_json_it_has_every_key_of_the_contract():
    assert CHECKS[0].as_json() == {
        "name": "python",
        "ok": True,
        "needed": True,
        "message": "3.11.7 (/usr/bin/python3)",
        "hint": None,
    }
