"""What each error of a registration means to a client."""

from __future__ import annotations

import pytest

from pinecall_cli.protocol.events import Error
from pinecall_cli.protocol.refusal import Outcome, outcome_of


@pytest.mark.parametrize(
    ("code", "text", "outcome"),
    [
        ("PHONE_IN_USE", "", Outcome.PHONE_IN_USE),
        ("OTHER", "PHONE_IN_USE: +1318… is claimed by 'sales'", Outcome.PHONE_IN_USE),
        ("AGENT_IN_USE", "", Outcome.CONFLICT),
        ("AGENT_CONFLICT", "", Outcome.CONFLICT),
        ("X", "error AGENT_IN_USE", Outcome.CONFLICT),
        ("AGENT_CONFLICT_FATAL", "held", Outcome.CONFLICT_FATAL),
        ("SERVER_AT_CAPACITY", "", Outcome.CAPACITY),
        ("X", "SERVER_AT_CAPACITY: Maximum clients (1) reached", Outcome.CAPACITY),
        ("X", "not SERVER_AT_CAPACITY:", Outcome.OTHER),
        ("REGISTRATION_ERROR", "", Outcome.REFUSED),
        ("INVALID_KEY", "", Outcome.UNAUTHORISED),
        ("UNAUTHORIZED", "", Outcome.UNAUTHORISED),
        ("PROVIDER_KEY_REQUIRED", "openai", Outcome.OTHER),
    ],
)
def test_errors_by_code_and_by_words(code: str, text: str, outcome: Outcome):
    assert outcome_of(Error(error=text, code=code, agent_id="a")) is outcome


def test_an_error_without_a_code_goes_by_its_words():
    assert outcome_of(Error(error="PHONE_IN_USE")) is Outcome.PHONE_IN_USE


def test_a_fatal_conflict_that_names_no_agent_is_a_plain_error():
    assert outcome_of(Error(error="x", code="AGENT_CONFLICT_FATAL")) is Outcome.OTHER
