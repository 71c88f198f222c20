"""An agent's file against its registration: what differs, what does not, and what is secret."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
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
from pinecall_cli.agent.registered import Change, Comparing, compare, fits

TOOL = ToolSpec("lookup", "Look it up.", {"type": "object", "properties": {}})
PHONE = "+13186630963"
DESK = AgentConfig(
    name="desk",
    voice="elevenlabs/sarah",
    language="en",
    stt="deepgram:flux",
    llm={"provider": "openai", "model": "gpt-5", "temperature": 0.5},
    prompt="You are kind.\nBe brief.",
    prompt_vars={"company": "Acme"},
    greeting="Hello.",
    tools=(TOOL,),
    skills=(SkillSpec("booking", "Books.", (replace(TOOL, name="book"),)),),
    session_limits={"max_duration_seconds": 600},
    interruption={"min_words": 2},
    allowed_origins=("https://a.test", "https://b.test"),
    phone_numbers=(PhoneNumber(PHONE, {"language": "es", "ringing": True}),),
    local=Local("script", ({"say": "Hi.", "at": "a.yaml:1"}, {"say": "Bye.", "at": "a.yaml:2"})),
)


def registered(config: AgentConfig, *, embedded: bool = False) -> dict[str, Any]:
    """Return what the server answers about an agent that was registered as `config` says."""
    channels = []
    for fields in config.channels():
        rest = {k: v for k, v in fields.items() if k not in ("type", "ref", "ringing")}
        ringing = fields.get("ringing") is True
        channels.append(
            {"type": fields["type"], "ref": fields["ref"], "ringing": ringing, "config": rest}
        )
    answer = {
        "agent": config.name,
        "config": payload(config, embedded=embedded),
        "allowed_origins": list(config.allowed_origins or ()),
        "channels": channels,
    }
    return dict(json.loads(json.dumps(answer)))


def keys(old: AgentConfig, new: AgentConfig, **options: Any) -> list[tuple[str, str]]:
    return [(one.key, one.kind) for one in compare(new, registered(old), **options).changes]


@pytest.mark.parametrize("embedded", [True, False])
def test_an_agent_is_equal_to_its_own_registration(embedded: bool) -> None:
    found = compare(DESK, registered(DESK, embedded=embedded), embedded=embedded)
    assert (found.equal, found.changes, found.not_compared) == (True, (), ())


def test_that_a_server_reads_local_is_told_by_its_script() -> None:
    assert compare(DESK, registered(DESK, embedded=True)).equal
    assert compare(DESK, registered(DESK, embedded=False)).equal
    assert not compare(DESK, registered(DESK), embedded=True).equal


def test_every_key_is_told_with_its_old_and_its_new_value() -> None:
    new = replace(DESK, voice="elevenlabs/bob", session_limits={"max_duration_seconds": 60})
    assert compare(new, registered(DESK)).changes == (
        Change(("voice",), "changed", "elevenlabs/sarah", "elevenlabs/bob"),
        Change(("session_limits", "max_duration_seconds"), "changed", 600, 60),
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"voice": None}, [("voice", "removed")]),
        ({"timezone": "Europe/Madrid"}, [("timezone", "added")]),
        ({"prompt_vars": {"company": "Acme", "x": "1"}}, [("vars.x", "added")]),
        ({"llm": "openai/gpt-5"}, [("llm", "changed")]),
        ({"tools": ()}, [("tools.lookup", "removed")]),
        ({"tools": (TOOL, replace(TOOL, name="other"))}, [("tools.other", "added")]),
        (
            {"tools": (replace(TOOL, description="Find it."),)},
            [("tools.lookup.description", "changed")],
        ),
        (
            {"tools": (replace(TOOL, parameters={"type": "object", "properties": {"a": {}}}),)},
            [("tools.lookup.parameters.properties.a", "added")],
        ),
        ({"skills": None}, [("skills.booking", "removed")]),
        (
            {"skills": (SkillSpec("booking", "Books."),)},
            [("skills.booking.tools.book", "removed")],
        ),
        ({"allowed_origins": ("https://b.test",)}, [("allowed_origins[0]", "removed")]),
        ({"allowed_origins": None}, [(f"allowed_origins[{n}]", "removed") for n in (0, 1)]),
        ({"phone_numbers": ()}, [(f"channels.phone:{PHONE}", "removed")]),
        (
            {"phone_numbers": (PhoneNumber(PHONE, {"language": "fr", "ringing": True}),)},
            [(f"channels.phone:{PHONE}.language", "changed")],
        ),
        (
            {"phone_numbers": (PhoneNumber(PHONE, {"language": "es"}),)},
            [(f"channels.phone:{PHONE}.ringing", "removed")],
        ),
    ],
    ids=str,
)
def test_the_smallest_key_that_differs_is_named(
    change: dict[str, Any], told: list[tuple[str, str]]
) -> None:
    assert keys(DESK, replace(DESK, **change)) == told


@pytest.mark.parametrize(
    "change",
    [
        {"tools": (replace(TOOL, body="another"),)},
        {"allowed_origins": ("https://b.test", "https://a.test")},
        {"phone_numbers": (PhoneNumber("+1 (318) 663-0963", {"language": "es", "ringing": True}),)},
        {"stt": {"provider": "deepgram", "model": "flux"}},
        {"session_limits": {"max_duration_seconds": 600.0}},
        {
            "local": Local(
                "script", ({"say": "Hi.", "at": "z.yaml:9"}, {"say": "Bye.", "at": "z.yaml:99"})
            )
        },
    ],
    ids=str,
)
def test_what_means_the_same_is_no_difference(change: dict[str, Any]) -> None:
    new = replace(DESK, **change)
    assert compare(new, registered(DESK, embedded=True), embedded=True).changes == ()


def test_true_is_not_one() -> None:
    old = replace(DESK, flash=True)
    body = registered(old)
    body["config"]["flash"] = 1
    assert [one.key for one in compare(old, body).changes] == ["flash"]


def test_a_rule_of_a_script_is_named_by_its_place() -> None:
    rules = ({"say": "Hello."}, {"say": "Bye."}, {"say": "Again."})
    new = replace(DESK, local=Local("script", rules))
    found = compare(new, registered(DESK, embedded=True)).changes
    assert [(one.key, one.old, one.new) for one in found] == [
        ("llm.rules[0].say", "Hi.", "Hello."),
        ("llm.rules[2]", None, {"say": "Again."}),
    ]


def test_tools_and_channels_are_counted_by_what_happened_to_them() -> None:
    new = replace(
        DESK,
        tools=(replace(TOOL, description="x", parameters={}), replace(TOOL, name="more")),
        phone_numbers=(PhoneNumber("sip:desk@pbx.test"),),
    )
    found = compare(new, registered(DESK))
    assert found.names("tools") == {"added": ["more"], "removed": [], "changed": ["lookup"]}
    assert found.names("channels") == {
        "added": ["phone:sip:desk@pbx.test"],
        "removed": [f"phone:{PHONE}"],
        "changed": [],
    }


def test_a_browser_s_channel_without_settings_is_no_difference() -> None:
    body = registered(DESK)
    plain = {"type": "webrtc", "ref": None, "ringing": False, "config": {}}
    body["channels"].append(plain)
    assert compare(DESK, body).equal
    body["channels"].append({**plain, "type": "chat", "config": {"language": "de"}})
    assert [one.key for one in compare(DESK, body).changes] == ["channels.chat"]


def test_origins_that_a_server_does_not_tell_are_not_compared() -> None:
    body = registered(DESK)
    del body["allowed_origins"]
    assert compare(DESK, body).not_compared == ("allowed_origins",)
    assert compare(replace(DESK, allowed_origins=None), body).not_compared == ()


# --- secrets ----------------------------------------------------------------------------------

SECRET = "sk-very-secret"
WITH_KEY = replace(
    DESK,
    llm={"provider": "x", "api_key": SECRET, "headers": {"Authorization": f"Bearer {SECRET}"}},
    whatsapp=WhatsApp("77", SECRET, app_secret=SECRET),
)


def test_what_the_server_hides_is_no_difference_and_is_said_not_to_be_compared() -> None:
    body = registered(WITH_KEY)
    body["config"]["llm"] |= {"api_key": "***", "headers": {"Authorization": "***"}}
    body["channels"][1]["config"] |= {"accessToken": "***", "appSecret": "***"}
    found = compare(WITH_KEY, body)
    assert found.changes == ()
    assert set(found.not_compared) == {
        *("llm.api_key", "llm.headers.Authorization"),
        *("channels.whatsapp:77.accessToken", "channels.whatsapp:77.appSecret"),
    }


@pytest.mark.parametrize("held", [SECRET, "sk-older", "***"])
def test_no_secret_is_shown_whatever_the_server_holds(held: str) -> None:
    body = registered(WITH_KEY)
    body["config"]["llm"] = {"provider": "y", "api_key": held, "other_key": held}
    shown = repr(compare(WITH_KEY, body))
    assert SECRET not in shown
    assert "sk-older" not in shown
    assert "headers" in shown


def test_a_variable_s_secret_in_a_text_is_compared_by_what_stands_around_it() -> None:
    url = f"https://crm.test/?k={SECRET}&v=1"
    config = replace(DESK, greeting=url, secrets=frozenset({SECRET}))
    held = registered(config)
    assert compare(config, held).equal
    held["config"]["greeting"] = "https://crm.test/?k=sk-older&v=1"
    assert compare(config, held).changes == ()
    assert compare(config, held).not_compared == ("greeting",)
    held["config"]["greeting"] = "https://crm.test/?k=sk-older&v=2"
    (change,) = compare(config, held).changes
    assert (change.old, change.new) == ("***", "https://crm.test/?k=***&v=1")
    plain = replace(config, greeting="none any more")
    (change,) = compare(plain, registered(config)).changes
    assert (change.old, change.new) == ("https://crm.test/?k=***&v=1", "none any more")


@pytest.mark.parametrize(
    ("text", "parts", "expected"),
    [
        ("a secret b", ["a ", " b"], True),
        ("a x c y b", ["a ", " c ", " b"], True),
        ("a x d y b", ["a ", " c ", " b"], False),
        ("ab", ["ab", "b"], False),
        ("", ["", ""], True),
        ("x", ["", "", ""], True),
    ],
)
def test_a_text_fits_around_anything(text: str, parts: list[str], expected: bool) -> None:
    assert fits(text, parts) is expected


# --- any documents ------------------------------------------------------------------------------

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSONS, JSONS)
def test_there_is_a_change_exactly_where_two_documents_differ(old: Any, new: Any) -> None:
    comparing = Comparing(frozenset())
    changes = list(comparing.walk(("x",), old, new))
    if json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True):
        assert changes == []
    elif not comparing.hidden:
        assert changes
    assert all(json.dumps(change.as_json()) for change in changes)


KEYS = st.sampled_from(["llm", "tools", "skills", "stt", "voice", "config", "prompt"])


@given(st.dictionaries(KEYS, JSONS), JSONS, JSONS)
def test_no_answer_of_a_server_is_too_strange(
    config: dict[str, Any], channels: Any, origins: Any
) -> None:
    compare(DESK, {"config": config, "channels": channels, "allowed_origins": origins})


def test_a_file_is_equal_to_what_it_registers(tmp_path: Path) -> None:
    from pinecall_cli.agent.load import load

    root = Path(__file__).parents[2] / "agents"
    for one in load(root):
        for embedded in (True, False):
            body = registered(one.config, embedded=embedded)
            assert compare(one.config, body, embedded=embedded).equal, one.file
