from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.server.dialogue.prompt import PromptParts, Skill, expand, render, variables

NEW_YEAR = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)


def test_the_built_in_values_are_told_in_the_agents_timezone() -> None:
    values = variables(NEW_YEAR, "Europe/Madrid")
    assert values["date"] == "2027-01-01"
    assert values["time"] == "00:30"
    assert values["day"] == "Friday"
    assert values["datetime"] == "2027-01-01 00:30"
    assert values["date_block"] == ("Today is Friday, 1 January 2027. It is 00:30 (Europe/Madrid).")


@pytest.mark.parametrize(
    "timezone", [None, "", "Mars/Base", "Europe", "/etc/passwd", "../x", "a\0b"]
)
def test_a_timezone_that_is_none_is_utc(timezone: str | None) -> None:
    values = variables(NEW_YEAR, timezone)
    assert values["datetime"] == "2026-12-31 23:30"
    assert values["date_block"].endswith("(UTC).")


def test_values_set_in_the_call_win_over_the_agents_and_those_over_the_built_in_ones() -> None:
    values = variables(NEW_YEAR, None, {"name": "Ana", "day": "a holiday"}, {"name": "Eva"})
    assert expand("{{name}} {{ day }} {{date}}", values) == "Eva a holiday 2026-12-31"


def test_a_name_without_a_value_is_empty_and_names_are_case_sensitive() -> None:
    assert expand(
        "<{{nobody}}|{{DATE}}|{{MEMORY}}|{{RAG_CONTEXT}}>", variables(NEW_YEAR, None)
    ) == ("<|||>")


def test_a_value_is_never_expanded_again() -> None:
    assert expand("{{a}}", {"a": "{{b}}", "b": "secret"}) == "{{b}}"


def test_values_that_are_no_texts_go_in_as_json() -> None:
    values = variables(NEW_YEAR, None, {"n": 3, "yes": True, "none": None, "list": [1]})
    assert expand("{{n}} {{yes}} {{none}} {{list}}", values) == "3 true  [\n  1\n]"


@pytest.mark.parametrize(
    ("channel", "word"),
    [("phone", "heard"), ("webrtc", "heard"), ("chat", "chat"), ("whatsapp", "WhatsApp")],
)
def test_each_channel_has_its_house_style(channel: str, word: str) -> None:
    prompt = render(PromptParts("Be kind.", channel), {})
    assert prompt.startswith("Be kind.\n\n## Style\n")
    assert word in prompt


def test_a_raw_prompt_is_left_alone() -> None:
    skills = (Skill("booking", "Book", "Ask."),)
    assert render(PromptParts("Be kind.", "phone", raw=True, loadable=skills), {}) == "Be kind."


def test_the_sections_stand_in_the_protocols_order() -> None:
    skill = Skill("booking", "Book a table", "Ask {{who}}.")
    parts = PromptParts(
        "Base",
        "phone",
        loadable=(skill,),
        active=(skill,),
        context=("First {{who}}", "Second"),
        keyed_context={"page": "checkout", "cart": {"items": ["té"]}},
    )
    prompt = render(parts, {"who": "Ana"})
    places = [
        prompt.index(part)
        for part in (
            *("Base", "## Style", "## Skills", "- booking: Book a table", "## Skill: booking"),
            *("Ask Ana.", "First {{who}}", "Second", "## UI Context", "### page\ncheckout"),
            '### cart\n{\n  "items": [\n    "té"\n  ]\n}',
        )
    ]
    assert places == sorted(places)


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_any_template_and_any_values_make_a_prompt(template: str, values: dict[str, str]) -> None:
    assert "{{nobody}}" not in expand(template + "{{nobody}}", {**values, "nobody": ""})
