import io

from rich.console import Console

from pinecall_cli.view.tables import print_table

COLUMNS = ("agent", "phones", "since")
ROWS = [("front-desk", "+13186330963", "12:04"), ("evil\x1b[2J", "[bold]\t", "")]


def printed(*, terminal: bool, width: int = 72) -> list[str]:
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=terminal, color_system=None, width=width, legacy_windows=False
    )
    print_table(console, COLUMNS, ROWS)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_pipe_gets_a_line_a_row_with_tabs():
    assert printed(terminal=False) == [
        "agent\tphones\tsince",
        "front-desk\t+13186330963\t12:04",
        "evil\\x1b[2J\t[bold]",
    ]


def test_a_terminal_gets_a_table():
    assert printed(terminal=True) == [
        "",
        " agent         phones         since",
        " ──────────────────────────────────",
        " front-desk    +13186330963   12:04",
        " evil\\x1b[2J   [bold]",
        "",
    ]


def test_a_narrow_table_folds_and_loses_nothing():
    lines = printed(terminal=True, width=24)
    assert all(len(line) <= 24 for line in lines)
    assert "front-desk" in "".join(lines).replace(" ", "") or any("front" in x for x in lines)
