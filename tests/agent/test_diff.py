"""Two versions of an agent: what changed, and where the change has to go."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinecall_cli.agent.config import (
    AgentConfig,
    Local,
    PhoneNumber,
    SkillSpec,
    ToolSpec,
    WhatsApp,
    payload,
)
from pinecall_cli.agent.diff import (
    FAMILIES,
    MAX_ALIGNED_WORDS,
    ChannelChanges,
    Family,
    ToolChanges,
    diff,
    word_diff,
)

PING = ToolSpec("ping", "Pings.", {"type": "object"}, body="b1")
PONG = ToolSpec("pong", "Pongs.", {"type": "object"}, body="b1")
RULE = {"say": "Hi", "at": "a.yaml:1"}

FULL = AgentConfig(
    name="a",
    voice="elevenlabs/sarah",
    language="en",
    flash=True,
    stt="deepgram/flux",
    interruption=True,
    llm="openai/x",
    prompt="You are kind.",
    prompt_vars={"a": "b"},
    greeting="Hi",
    greeting_in_chat=True,
    memory={"enabled": True},
    timezone="Europe/Madrid",
    preparing=True,
    raw_prompt=True,
    tools=(PING,),
    skills=(SkillSpec("s", "d"),),
    session_limits={"max_duration_seconds": 5},
    config={"analysis": {}},
    knowledge_base="kb",
    mode="m",
    media={"live": True},
    allowed_origins=("https://a.com",),
    phone_numbers=(PhoneNumber("+13186330963"),),
    whatsapp=WhatsApp("1", "t"),
    local=Local("script", (RULE,)),
)
OTHER: dict[str, Any] = {
    "voice": "cartesia/blake",
    "language": "es",
    "flash": False,
    "stt": "gladia",
    "interruption": False,
    "llm": "openai/y",
    "prompt": "You are very kind indeed.",
    "prompt_vars": {"a": "c"},
    "greeting": "Hello",
    "greeting_in_chat": False,
    "memory": {"enabled": False},
    "timezone": "UTC",
    "preparing": False,
    "raw_prompt": False,
    "tools": (PONG,),
    "skills": (SkillSpec("s", "other"),),
    "session_limits": {},
    "config": {},
    "knowledge_base": ("kb", "kb2"),
    "mode": None,
    "media": {},
    "allowed_origins": ("https://b.com",),
    "phone_numbers": (PhoneNumber("+34600123456"),),
    "whatsapp": WhatsApp("1", "u"),
    "local": Local("ollama/x"),
}


def test_every_key_has_a_family_and_another_value_to_try():
    keys = {field.name for field in fields(AgentConfig) if field.compare} - {"name"}
    assert keys == FAMILIES.keys() == OTHER.keys()


def test_the_same_agent_twice_is_no_change():
    changes = diff(FULL, replace(FULL, secrets=frozenset({"x"})))
    assert changes.empty
    assert changes.changed == ()
    assert not changes.recreate
    assert changes.configure(embedded=True) == {}


@pytest.mark.parametrize("key", sorted(OTHER))
def test_each_key_is_noticed_alone_and_knows_its_family(key: str):
    changes = diff(FULL, replace(FULL, **{key: OTHER[key]}))
    assert changes.keys == (key,)
    assert not changes.empty
    assert changes.of(FAMILIES[key]) == (key,)
    assert changes.recreate is (key in ("allowed_origins", "mode"))
    sent = changes.configure(embedded=False)
    if FAMILIES[key] in (Family.CHANNELS, Family.RECREATE) or key in ("mode", "local"):
        assert sent == {}
    else:
        wire = payload(replace(FULL, **{key: OTHER[key]}), embedded=False)
        assert len(sent) == 1
        assert sent.items() <= wire.items()
    in_session = FAMILIES[key] in (Family.SESSION, Family.TOOLS) and key != "local"
    assert changes.session(embedded=False) == (sent if in_session else {})


@pytest.mark.parametrize("key", sorted(OTHER))
def test_a_key_taken_out_needs_the_whole_agent_sent_again(key: str):
    empty: Any = {"phone_numbers": (), "local": Local()}.get(key)
    changes = diff(FULL, replace(FULL, **{key: empty}))
    assert changes.keys == (key,)
    channels = FAMILIES[key] is Family.CHANNELS
    assert changes.recreate is (not channels and key != "local")
    assert diff(replace(FULL, **{key: empty}), FULL).taken_out == ()


def test_another_name_is_another_agent():
    changes = diff(FULL, replace(FULL, name="b"))
    assert changes.renamed
    assert changes.keys == ()


# --- the model, and what stands in for it -----------------------------------------------------


def test_a_hidden_model_goes_nowhere_on_the_embedded_server():
    changes = diff(FULL, replace(FULL, llm="openai/y"))
    assert changes.session(embedded=True) == {}
    assert changes.session(embedded=False) == {"llm": "openai/y"}


def test_a_changed_script_goes_to_the_embedded_server_alone():
    rules = ({"say": "Hello", "at": "a.yaml:1"},)
    changes = diff(FULL, replace(FULL, local=Local("script", rules)))
    assert changes.keys == ("local",)
    assert changes.session(embedded=True) == {"llm": {"provider": "script", "rules": list(rules)}}
    assert changes.configure(embedded=False) == {}


def test_a_script_that_only_moved_in_its_file_has_not_changed():
    moved = ({"say": "Hi", "at": "a.yaml:7"},)
    assert diff(FULL, replace(FULL, local=Local("script", moved))).empty


# --- tools ------------------------------------------------------------------------------------


def test_a_changed_body_stays_in_the_process_and_is_named():
    changes = diff(FULL, replace(FULL, tools=(replace(PING, body="b2"),)))
    assert changes.tools == ToolChanges(body=("ping",))
    assert changes.keys == ()
    assert changes.changed == ("ping",)
    assert not changes.empty
    assert changes.configure(embedded=True) == {}


def test_tools_that_come_go_and_change_send_the_whole_list():
    old = replace(FULL, tools=(PING, PONG))
    new = replace(
        FULL, tools=(replace(PING, description="Now.", body="b2"), replace(PONG, name="peng"))
    )
    changes = diff(old, new)
    assert changes.tools == ToolChanges(added=("peng",), removed=("pong",), schema=("ping",))
    assert changes.tools.names == ("peng", "ping", "pong")
    assert changes.changed == ("tools", "peng", "ping", "pong")
    assert changes.session(embedded=True) == {"tools": [tool.wire() for tool in new.tools or ()]}


def test_a_skills_tool_counts_as_a_tool():
    old = replace(FULL, skills=(SkillSpec("s", "d", (PONG,)),))
    new = replace(FULL, skills=(SkillSpec("s", "d", (replace(PONG, body="b2"),)),))
    assert diff(old, new).tools == ToolChanges(body=("pong",))
    newer = replace(FULL, skills=(SkillSpec("s", "d", (replace(PONG, description="x"),)),))
    assert diff(old, newer).keys == ("skills",)


# --- channels ---------------------------------------------------------------------------------


def test_channels_are_added_configured_and_removed():
    old = replace(FULL, phone_numbers=(PhoneNumber("+1111111"), PhoneNumber("+2222222")))
    new = replace(
        FULL,
        phone_numbers=(PhoneNumber("+2222222", {"language": "es"}), PhoneNumber("+3333333")),
    )
    assert diff(old, new).channels == ChannelChanges(
        add=({"type": "phone", "ref": "+3333333"},),
        configure=({"type": "phone", "ref": "+2222222", "language": "es"},),
        remove=({"type": "phone", "ref": "+1111111"},),
    )


# --- prompts ----------------------------------------------------------------------------------


def test_a_prompts_change_is_counted_in_words():
    changes = diff(FULL, replace(FULL, prompt="You are very kind indeed."))
    assert changes.prompt is not None
    assert str(changes.prompt) == "+3 −1 words"
    assert changes.prompt.runs == (("kind.", "very kind indeed."),)
    assert diff(FULL, replace(FULL, voice="x")).prompt is None


@pytest.mark.parametrize(
    ("old", "new", "added", "removed"),
    [
        ("", "one two", 2, 0),
        ("one two", "", 0, 2),
        ("one two three", "one 2 three", 1, 1),
        ("a b a b", "a b", 0, 2),
        ("one  two", "one\ntwo", 0, 0),
        ("same", "same", 0, 0),
    ],
)
def test_words_are_counted_both_ways(old: str, new: str, added: int, removed: int):
    found = word_diff(old, new)
    assert (found.added, found.removed) == (added, removed)


def test_long_prompts_are_counted_without_aligning_them():
    old = " ".join(f"a{n}" for n in range(MAX_ALIGNED_WORDS))
    new = " ".join(f"b{n}" for n in range(MAX_ALIGNED_WORDS)) + " a5"
    found = word_diff(old, new)
    assert (found.added, found.removed, found.runs) == (
        *(MAX_ALIGNED_WORDS, MAX_ALIGNED_WORDS - 1),
        (),
    )


WORDS = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=12).map(" ".join)


@given(WORDS, WORDS)
def test_the_counts_add_up_whatever_the_texts(old: str, new: str):
    found = word_diff(old, new)
    assert len(old.split()) - found.removed + found.added == len(new.split())
    assert (found.added == found.removed == 0) is (old.split() == new.split())
    back = word_diff(new, old)
    assert len(new.split()) - back.removed + back.added == len(old.split())


@given(st.sets(st.sampled_from(sorted(OTHER))))
@settings(max_examples=60)
def test_any_mixture_of_changes_is_listed_key_by_key(keys: set[str]):
    new = replace(FULL, **{key: OTHER[key] for key in keys})
    changes = diff(FULL, new)
    assert set(changes.keys) == keys
    by_family = [key for family in Family for key in changes.of(family)]
    assert sorted(by_family) == sorted(keys)
    for embedded in (True, False):
        after = payload(new, embedded=embedded)
        before = payload(FULL, embedded=embedded)
        assert changes.configure(embedded=embedded) == {
            key: value for key, value in after.items() if before.get(key) != value
        }
