"""Numbers that may be dialled, and every kind that may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.errors import UsageError
from pinecall_cli.protocol.dialable import Dialable, check_number
from pinecall_cli.protocol.phone import looks_like_number


@pytest.mark.parametrize(
    ("text", "number", "region"),
    [
        ("+14155550123", "+14155550123", "US"),
        (" +1 (415) 555-0123 ", "+14155550123", "US"),
        ("+1.415.555.0123", "+14155550123", "US"),
        ("tel:+14155550123", "+14155550123", "US"),
        ("+44 (0)20 7946 0958", "+442079460958", "GB"),
        ("+39 06 123 4567", "+39061234567", "IT"),
        ("+1 800 356 9377", "+18003569377", "US"),
        ("sip:ana@example.com", "sip:ana@example.com", None),
    ],
)
def test_a_number_is_brought_into_the_form_in_which_it_is_dialled(
    text: str, number: str, region: str | None
):
    found = check_number(text)
    assert (found.number, found.region, found.given_out) == (number, region, True)


@pytest.mark.parametrize("last", [1, 2, 3, 4, 6, 7, 8])
def test_the_test_numbers_of_the_exchange_pass(last: int):
    assert check_number(f"+1500555000{last}").test


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("911", "emergency_number", "emergency"),
        ("+1911", "emergency_number", "emergency"),
        ("112", "emergency_number", "emergency"),
        ("+112", "emergency_number", "emergency"),
        ("+44999", "emergency_number", "emergency"),
        ("+49 110", "emergency_number", "emergency"),
        ("+1 900 555 0123", "premium_number", "premium"),
        ("+1 900 123 4567", "premium_number", "premium"),
        ("+1 976 555 0123", "premium_number", "premium"),
        ("+449098790123", "premium_number", "premium"),
        ("+979 123 456 789", "premium_number", "premium"),
        ("+1415555", "invalid_number", "too short: 6 digits after +1, 10 are needed"),
        ("+33612345678901", "invalid_number", "too long: 12 digits after +33, 9 are needed"),
        ("+999123456789", "invalid_number", "no country's code"),
        ("+1 555 123 4567", "invalid_number", "in no range that is given out"),
        ("+5550123", "invalid_number", "too short"),
        ("+44", "invalid_number", "too short"),
        ("+1800FLOWERS", "invalid_number", "letters"),
        ("call me", "invalid_number", "letters"),
        ("4155550123", "invalid_number", "no country code"),
        ("+", "invalid_number", "no telephone number"),
        ("+1#415", "invalid_number", "no telephone number"),
        ("sip:", "invalid_number", "no SIP address"),
        ("sip:ana", "invalid_number", "no SIP address"),
    ],
)
def test_a_number_that_may_not_be_dialled_is_refused(text: str, code: str, said: str):
    with pytest.raises(UsageError) as refused:
        check_number(text)
    assert refused.value.code == code
    assert refused.value.exit_code == 2
    assert said in refused.value.message
    assert refused.value.fix


@pytest.mark.parametrize(
    ("text", "near", "meant"),
    [
        ("4155550123", (), "+14155550123"),
        ("(415) 555-0123", (), "+14155550123"),
        ("0044 20 7946 0958", (), "+442079460958"),
        ("011 44 20 7946 0958", (), "+442079460958"),
        ("044 668 18 00", ("+41446681800",), "+41446681800"),
        ("+1-800-FLOWERS", (), "+18003569377"),
        ("+4155550123", (), "+14155550123"),
    ],
)
def test_what_was_probably_meant_is_offered(text: str, near: tuple[str, ...], meant: str):
    with pytest.raises(UsageError) as refused:
        check_number(text, near=near)
    assert refused.value.fix is not None
    assert refused.value.fix.startswith("did you mean")
    assert f"`{meant}`" in refused.value.fix


def test_a_premium_number_is_never_offered():
    with pytest.raises(UsageError) as refused:
        check_number("9005550123")
    assert "900" not in (refused.value.fix or "")


def test_a_local_exchange_may_have_numbers_that_nobody_gives_out():
    found = check_number("+15551234567", strict=False)
    assert (found.number, found.given_out) == ("+15551234567", False)


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("+14155550123", True),
        ("+FLOWERS", True),
        ("911", True),
        ("(415) 555-0123", True),
        ("1-800-FLOWERS", True),
        ("sip:ana@example.com", True),
        ("front-desk", False),
        ("desk-2", False),
        ("2nd-desk", False),
        ("7", False),
        ("", False),
    ],
)
def test_a_target_that_means_a_number_is_told_from_an_agents_name(text: str, looks: bool):
    assert looks_like_number(text) is looks


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_refused(text: str):
    try:
        found = check_number(text)
    except UsageError:
        return
    assert isinstance(found, Dialable)
    assert found.number.startswith(("+", "sip"))


@given(st.from_regex(r"\+?[0-9 ()\-]{0,20}", fullmatch=True))
def test_what_passes_passes_again_unchanged(text: str):
    try:
        found = check_number(text, strict=False)
    except UsageError:
        return
    assert check_number(found.number, strict=False).number == found.number
