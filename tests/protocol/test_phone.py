"""Telephone numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol.config import ConfigRefused
from pinecall_cli.protocol.phone import is_number, normalise_number


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("+13186330963", "+13186330963"),
        ("1 (318) 633-0963", "+13186330963"),
        (" +34 600 12 34 56 ", "+34600123456"),
        ("1234567", "+1234567"),
        ("sip:desk@example.com", "sip:desk@example.com"),
        ("SIP:Desk@example.com", "SIP:Desk@example.com"),
    ],
)
def test_a_number_is_normalised(typed: str, number: str):
    assert normalise_number(typed) == number
    assert is_number(typed)


@pytest.mark.parametrize(
    "typed", ["", "+", "123456", "+1234567890123456", "++1234567", "12345678x", "+١٢٣٤٥٦٧٨", "a"]
)
def test_what_is_no_number_is_refused_with_the_form(typed: str):
    assert not is_number(typed)
    with pytest.raises(ConfigRefused, match="no telephone number") as refused:
        normalise_number(typed)
    assert refused.value.exit_code == 2
    assert refused.value.code == "invalid_number"
    assert "+14155550100" in str(refused.value.fix)


@given(st.text(alphabet="+-() 0123456789", max_size=24))
def test_normalising_twice_changes_nothing(typed: str):
    if is_number(typed):
        assert normalise_number(normalise_number(typed)) == normalise_number(typed)
