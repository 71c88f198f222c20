import re
from html import unescape
from pathlib import Path

from pinecall_cli.view.picture import picture


def test_the_picture_is_the_same_every_time_and_shows_a_call(tmp_path: Path):
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    picture(first)
    picture(second)
    svg = first.read_text(encoding="utf-8")
    assert svg == second.read_text(encoding="utf-8")
    shown = unescape(re.sub(r"<[^>]+>", "", svg)).replace("\xa0", " ")
    for words in ("caller cut in", "opening_hours", "reloaded", "first audio", "● listening"):
        assert words in shown
