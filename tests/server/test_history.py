from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.server.dialogue.history import (
    MAX_MESSAGES,
    HistoryRefusedError,
    checked,
    kept,
    tool_call,
    usable,
)


def asked(*ids: str, content: str | None = None) -> dict[str, Any]:
    calls = [tool_call(id, "look_up", "{}") for id in ids]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def answered(id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "1"}


HI = {"role": "user", "content": "Hi"}


def test_a_complete_round_is_shown_as_it_is() -> None:
    messages = [HI, asked("a", "b"), answered("a"), answered("b")]
    assert usable(messages) == messages


def test_results_stand_in_the_order_of_their_calls() -> None:
    assert usable([asked("a", "b"), answered("b"), answered("a")])[1:] == [
        answered("a"),
        answered("b"),
    ]


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        ([HI, asked("a")], [HI]),
        ([HI, answered("a")], [HI]),
        ([asked("a"), HI, answered("a")], [HI]),
        (
            [asked("a", content="Wait."), HI],
            [{"role": "assistant", "content": "Wait."}, HI],
        ),
        ([asked("a", "b"), answered("a")], [asked("a"), answered("a")]),
        ([asked("a"), answered("a"), answered("a")], [asked("a"), answered("a")]),
        ([{"role": "assistant", "content": ""}], []),
        ([{"role": "assistant", "content": None, "tool_calls": "x"}], []),
        ([{"role": "developer", "content": "x"}], [{"role": "system", "content": "x"}]),
    ],
)
def test_what_a_provider_would_refuse_is_left_out(
    messages: list[dict[str, Any]], shown: list[dict[str, Any]]
) -> None:
    assert usable(messages) == shown


def test_the_flat_shape_of_a_tool_call_is_understood() -> None:
    flat = {"id": "a", "name": "look_up", "arguments": {"id": 1}}
    messages = [{"role": "assistant", "tool_calls": [flat, 3, {"id": "b"}]}, answered("a")]
    assert usable(messages)[0]["tool_calls"] == [tool_call("a", "look_up", '{"id":1}')]


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ("Hi", "must be a list"),
        ([3], "messages[0] is not an object"),
        ([HI, {"content": "x"}], "messages[1].role"),
        ([{"role": "user", "content": 3}], "messages[0].content"),
        ([HI] * (MAX_MESSAGES + 1), "at most"),
        ([{"role": "user", "content": "x" * 2_000_000}], "KiB"),
    ],
)
def test_messages_that_are_none_are_refused_with_the_reason(messages: Any, problem: str) -> None:
    with pytest.raises(HistoryRefusedError) as refused:
        checked(messages)
    assert problem in str(refused.value)


def test_messages_are_copied_whole() -> None:
    message = {"role": "user", "content": "Hi", "name": "ana", "extra": {"deep": [1]}}
    copies = checked([message])
    assert copies == [message]
    assert copies[0]["extra"] is not message["extra"]


def test_a_value_that_is_too_long_for_a_session_is_refused() -> None:
    assert kept({"a": "b"}, "variables") == {"a": "b"}
    with pytest.raises(HistoryRefusedError, match="variables"):
        kept({"a": "b" * 300_000}, "variables")


ids = st.sampled_from(["a", "b", "c"])
message = st.one_of(
    st.just(HI),
    st.builds(answered, ids),
    st.lists(ids, max_size=3).map(lambda some: asked(*some)),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": st.text(max_size=3)}),
)


@given(st.lists(message, max_size=12))
def test_every_call_shown_has_its_result_right_behind_it(messages: list[dict[str, Any]]) -> None:
    wanted: list[str] = []
    for shown in usable(messages):
        if shown["role"] == "tool":
            assert wanted.pop(0) == shown["tool_call_id"]
        else:
            assert wanted == []
            wanted = [call["id"] for call in shown.get("tool_calls", ())]
    assert wanted == []
    assert usable(usable(messages)) == usable(messages)
