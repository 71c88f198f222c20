"""Changes as they are printed: signs, values, long texts by their lines."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from pinecall_cli.agent.registered import Change
from pinecall_cli.view.changes import print_changes


def printed(*changes: Change, encoding: str = "utf-8") -> list[str]:
    class Stream(StringIO):
        @property
        def encoding(self) -> str:  # type: ignore[override]
            return encoding

    stream = Stream()
    print_changes(Console(file=stream, width=40, color_system=None), changes)
    return stream.getvalue().splitlines()


def changed(old: object, new: object, *path: str) -> Change:
    return Change(path or ("prompt",), "changed", old, new)


def test_a_short_value_stands_beside_its_key() -> None:
    assert printed(
        changed("en", "es", "language"),
        changed(600, None, "session_limits", "max_duration_seconds"),
        Change(("timezone",), "added", None, "Europe/Madrid"),
        Change(("flash",), "removed", True, None),
    ) == [
        '  ~ language: "en" → "es"',
        "  ~ session_limits.max_duration_seconds: 600 → null",
        '  + timezone: "Europe/Madrid"',
        "  - flash: true",
    ]


def test_a_tool_is_told_by_what_it_does_and_a_plain_channel_by_its_name() -> None:
    tool = {"description": "Cancel an order.", "parameters": {"type": "object"}}
    assert printed(
        Change(("tools", "cancel"), "added", None, tool),
        Change(("channels", "phone:+1"), "removed", {}, None),
    ) == ["  + tools.cancel: Cancel an order.", "  - channels.phone:+1"]


def test_a_prompt_is_told_by_the_lines_that_differ_and_one_around_them() -> None:
    old = "One.\nTwo.\nBe brief.\nFour.\nFive.\nSix.\nSeven.\nEight."
    new = old.replace("brief", "short").replace("Eight.", "Eight.\nNine.")
    assert printed(changed(old, new)) == [
        "  ~ prompt: +2 −1 words",
        "      Two.",
        "    - Be brief.",
        "    + Be short.",
        "      Four.",
        "      …",
        "      Eight.",
        "    + Nine.",
    ]


def test_of_a_very_long_line_the_words_that_differ_are_told() -> None:
    old = "word " * 60 + "kind and brief" + " tail" * 60
    assert printed(changed(old, old.replace("kind and", "cheerful, but"))) == [
        "  ~ prompt: +2 −2 words",
        "    - … kind and …",
        "    + … cheerful, but …",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("one\ntwo", "one\ntwo\n", "only the ends of lines differ"),
        ("x " * 200, "x  " * 200, "only spaces differ"),
    ],
)
def test_what_cannot_be_seen_is_said(old: str, new: str, said: str) -> None:
    assert printed(changed(old, new))[-1] == f"      {said}"


def test_nothing_in_a_value_steers_the_terminal() -> None:
    lines = printed(changed("\x1b[31mold", "a\nb\x1b]0;title\x07"), changed("x", "\u202ey", "k"))
    assert "\x1b" not in "".join(lines)
    assert "\u202e" not in "".join(lines)


def test_a_terminal_without_unicode_gets_signs_it_can_draw() -> None:
    assert printed(changed("a", "b", "k"), encoding="ascii") == ['  ~ k: "a" -> "b"']


def test_colours_are_for_terminals_alone() -> None:
    stream = StringIO()
    console = Console(file=stream, force_terminal=True, color_system="standard", width=80)
    print_changes(console, [changed("a", "b", "k")])
    assert "\x1b[33m" in stream.getvalue()
    stream.truncate(0)
    print_changes(console, [changed("a", "b", "k")], plain=True)
    assert "\x1b" not in stream.getvalue()
