"""`-k EXPR`: which specs it chooses, and what it is told where it is no expression."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pinecall_cli.errors import UsageError, Where
from pinecall_cli.trial.select import selection
from pinecall_cli.trial.spec import AgentRef, Spec


def spec(shown: str, description: str | None = None) -> Spec:
    where = Where(shown, 1, 1)
    return Spec(
        file=Path(shown),
        shown=shown,
        agent=AgentRef(Path("agent.yaml"), None, where),
        mode="text",
        description=description,
        steps=(),
    )


SPECS = {
    "text": spec("agents/desk.text.spec.yaml", "Orders are looked up"),
    "voice": spec("agents/desk.voice.spec.yaml", "Orders, by voice"),
    "slow": spec("agents/slow/desk.spec.yaml", "Takes long (and is dear)"),
    "plain": spec("agents/or.spec.yaml"),
}


def test_it_chooses_by_mode_where_no_name_has_it():
    plain = SPECS["plain"]
    assert selection("text")(plain)
    assert selection("voice")(replace(plain, mode="voice"))
    assert not selection("voice")(plain)


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("desk", {"text", "voice", "slow"}),
        ("DESK.VOICE", {"voice"}),
        ("orders", {"text", "voice"}),
        ("orders and voice", {"voice"}),
        ("voice or slow", {"voice", "slow"}),
        ("not desk", {"plain"}),
        ("not not desk", {"text", "voice", "slow"}),
        ("desk and not (voice or slow)", {"text"}),
        ("slow or orders and voice", {"slow", "voice"}),
        ("NOT desk", {"plain"}),
        ("by voice", {"voice"}),
        ("  looked   up  ", {"text"}),
        ("'or.spec'", {"plain"}),
        ('"(and is dear)"', {"slow"}),
        ("takes 'long (and'", {"slow"}),
        ("desk.voice desk.text", set()),
        ("\"'", None),
        ("nothing of this", set()),
    ],
)
def test_it_chooses_by_words_in_file_description_and_mode(expression: str, chosen: set[str] | None):
    if chosen is None:
        with pytest.raises(UsageError):
            selection(expression)
        return
    chooses = selection(expression)
    assert {name for name, one in SPECS.items() if chooses(one)} == chosen


def test_quotation_marks_inside_other_ones_are_text():
    quoted = spec("a.spec.yaml", 'Says "hello" twice')
    assert selection("""'"hello"'""")(quoted)
    assert not selection("""'"hello '""")(quoted)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "a word is missing"),
        ("voice and", "a word is missing"),
        ("or voice", "a word is missing"),
        ("voice and not", "a word is missing"),
        ("(voice", "a parenthesis is never closed"),
        ("voice)", "`)` does not fit there"),
        ("voice (slow)", "`(` does not fit there"),
        ("'voice", "a quotation mark is never closed"),
        ("(" * 100_000, "it is too long"),
        ("not " * 300 + "a", "it is too long"),
    ],
)
def test_what_is_no_expression_is_told_why(expression: str, why: str):
    with pytest.raises(UsageError) as caught:
        selection(expression)
    assert why in caught.value.message
    assert len(caught.value.message) < 150
    assert caught.value.code == "bad_expression"
    assert caught.value.fix


def test_the_longest_expression_is_read_to_its_depth():
    deep = "(" * 99 + "desk" + ")" * 99
    assert selection(deep)(SPECS["text"])
    assert selection("not " * 198 + "desk")(SPECS["text"])
