from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.server.agents.organisation import Organisation, Organisations
from pinecall_cli.server.tokens import OUTSTANDING, Grant, Tokens, TooManyTokens

ORG, OTHER = Organisation("org_1", "pk_one"), Organisation("org_2", "pk_two")
GRANT = Grant("webrtc", ORG, "front-desk", {"user": "u_9"})


class Clock:
    """A clock that stands still unless it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_token_stands_for_its_grant_once():
    tokens = Tokens()
    token = tokens.mint(GRANT)
    assert token.startswith("wrtc_")
    assert len(token) >= 43
    assert tokens.consume(token, "webrtc") == GRANT
    assert tokens.consume(token, "webrtc") is None


def test_a_token_is_good_for_sixty_seconds():
    clock = Clock()
    tokens = Tokens(now=clock)
    early, late = tokens.mint(GRANT), tokens.mint(GRANT)
    clock.now = 59.9
    assert tokens.consume(early, "webrtc") == GRANT
    clock.now = 60.0
    assert tokens.consume(late, "webrtc") is None


def test_a_token_of_another_channel_is_refused_and_used_up():
    tokens = Tokens()
    token = tokens.mint(Grant("chat", ORG, "front-desk"))
    assert token.startswith("cht_")
    assert tokens.consume(token, "webrtc") is None
    assert tokens.consume(token, "chat") is None


@given(st.text())
def test_no_made_up_token_is_good(text: str):
    tokens = Tokens()
    token = tokens.mint(GRANT)
    for guess in (text, token + text[:1] + "x", token[:-1], "wrtc_" + text, ""):
        assert tokens.consume(guess, "webrtc") is None
    assert tokens.consume(token, "webrtc") == GRANT


def test_tokens_are_all_different():
    tokens = Tokens()
    assert len({tokens.mint(GRANT) for _ in range(1_000)}) == 1_000


def test_only_so_many_wait_to_be_used_until_the_oldest_expire():
    clock = Clock()
    tokens = Tokens(now=clock)
    for _ in range(OUTSTANDING):
        tokens.mint(GRANT)
    with pytest.raises(TooManyTokens):
        tokens.mint(GRANT)
    clock.now = 60.0
    assert tokens.mint(GRANT)


def test_an_organisation_that_uses_its_room_up_leaves_others_theirs():
    tokens = Tokens()
    for _ in range(OUTSTANDING):
        tokens.mint(GRANT)
    with pytest.raises(TooManyTokens):
        tokens.mint(Grant("stream", ORG, "front-desk"))
    theirs = Grant("webrtc", OTHER, "front-desk")
    assert tokens.consume(tokens.mint(theirs), "webrtc") == theirs


def test_a_stream_token_is_good_again_however_many_another_organisation_shows():
    tokens = Tokens()
    ours, theirs = Grant("stream", ORG, "front-desk"), Grant("stream", OTHER, "front-desk")
    mine, first = tokens.mint(ours), tokens.mint(theirs)
    assert (tokens.attach(mine), tokens.attach(first)) == (ours, theirs)
    for _ in range(OUTSTANDING):
        tokens.attach(tokens.mint(theirs))
    assert tokens.attach(mine) == ours
    assert tokens.attach(first) is None  # their oldest had to go


def test_a_token_that_is_not_good_costs_no_more_among_many_than_among_few():
    assert calls_for_a_bad_token(among=10) < 100
    assert calls_for_a_bad_token(among=1_000) < 100


def calls_for_a_bad_token(*, among: int) -> int:
    """Return how many functions are called to find that a token is none of those there are."""
    tokens = Tokens()
    for _ in range(among):
        tokens.attach(tokens.mint(Grant("stream", ORG, "front-desk")))
        tokens.mint(GRANT)
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        assert tokens.attach("str_none") is None
    finally:
        sys.setprofile(before)
    return calls


def test_an_organisation_is_found_by_its_key_alone_and_keeps_its_id():
    organisations = Organisations(["pk_one", "pk_two", "pk_one"])
    one, two = organisations
    assert organisations.of_key("pk_one") == one
    assert organisations.of_header("bearer pk_two") == two
    assert one.id != two.id
    assert one.id == next(iter(Organisations(["pk_one"]))).id
    for header in (None, "", "pk_one", "Basic pk_one", "Bearer", "Bearer pk_three"):
        assert organisations.of_header(header) is None
    assert "pk_one" not in repr(one)
