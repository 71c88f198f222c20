"""Ids: slugs, matching, minting."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol import ids


def zeros(length: int) -> bytes:
    return bytes(length)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Agent", "my-agent"),
        ("  futbolAgent ", "futbolagent"),
        ("a__b \t c", "a-b-c"),
        ("-a--b-", "a-b"),
        ("Café & Bar", "caf-bar"),
        ("a\ufeffb", "a-b"),
        ("日本", ""),
        ("", ""),
    ],
)
def test_slugs(name: str, slug: str):
    assert ids.slugify(name) == slug


@given(st.text(max_size=30))
def test_a_slug_is_its_own_slug_and_made_of_slug_characters(name: str):
    slug = ids.slugify(name)
    assert ids.slugify(slug) == slug
    assert re.fullmatch(r"([a-z0-9]+(-[a-z0-9]+)*)?", slug)


@pytest.mark.parametrize(
    ("incoming", "local"),
    [
        ("My Agent", "My Agent"),
        ("my-agent", "My Agent"),
        ("org_1:my-agent", "My Agent"),
        ("org_1:other", "other"),
        ("a:b:other", "other"),
        ("line:+12186633772", "line:+12186633772"),
        ("+12186633772", None),
        ("stranger", None),
        ("日本", None),
        ("", None),
    ],
)
def test_an_incoming_agent_id_finds_its_local_agent(incoming: str, local: str | None):
    assert ids.match_agent_id(incoming, ["My Agent", "other", "✨", "line:+12186633772"]) == local


def test_an_exact_id_comes_before_a_slug():
    assert ids.match_agent_id("fd", iter(["F D", "Fd", "fd"])) == "fd"


@pytest.mark.parametrize(
    ("made", "pattern"),
    [
        (ids.message_id(), r"msg_[a-z0-9]{12}"),
        (ids.request_id(0), r"rq_0_[a-z0-9]{6}"),
        (ids.request_id(46656), r"rq_1000_[a-z0-9]{6}"),
        (ids.phone_call_id(), r"CA[0-9a-f]{32}"),
        (ids.chat_id(), r"chat-[a-z0-9]{12}"),
        (ids.connection_id(), r"conn_[a-z0-9]{8}"),
        (ids.line_owner("+1218"), r"line:\+1218"),
    ],
    ids=["message", "request", "late request", "phone", "chat", "connection", "line"],
)
def test_ids_have_their_shapes(made: str, pattern: str):
    assert re.fullmatch(pattern, made)


def test_a_call_id_is_a_uuid_and_none_of_the_prefixes_clients_branch_on():
    assert uuid.UUID(ids.call_id()).version == 4
    assert not ids.call_id().startswith(("wrt_", "chat-", "wa-", "line:"))


def test_randomness_is_handed_in():
    assert ids.message_id(zeros) == "msg_000000000000"
    assert ids.request_id(35, zeros) == "rq_z_000000"


def test_a_hundred_ids_are_a_hundred_ids():
    assert len({ids.message_id() for _ in range(100)}) == 100
