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


def test_where_a_table_is_too_wide_its_rows_stand_under_each_other():
    assert printed(terminal=True, width=35) == [
        "front-desk",
        "  phones  +13186330963",
        "  since   12:04",
        "evil\\x1b[2J",
        "  phones  [bold]",
        "  since",
    ]
    assert printed(terminal=True, width=36)[1] == " agent         phones         since"


def test_nothing_is_lost_on_the_narrowest_terminal():
    lines = printed(terminal=True, width=12)
    assert all(len(line) <= 12 for line in lines)
    assert "+13186330963" in "".join(line.strip() for line in lines)


def test_two_columns_stay_side_by_side():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system=None, width=30)
    print_table(console, ("setting", "value"), [("data_dir", "/a/very/long/path/to/nowhere")])
    lines = file.getvalue().splitlines()
    assert all(len(line) <= 30 for line in lines)
    assert " data_dir   /a/very/long/path " in lines[3:]
