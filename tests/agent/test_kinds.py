"""What each kind of value takes, and how it says no."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.kinds import (
    Anything,
    Choice,
    Either,
    Flag,
    Kind,
    ListOf,
    MapOf,
    Number,
    Text,
    number,
)
from pinecall_cli.agent.nodes import Foreign, Node, Scalar, from_python
from pinecall_cli.agent.objects import Key, Object, camel_case, snake_case
from pinecall_cli.agent.problems import AgentFileProblems, Problems
from pinecall_cli.agent.reader import FAILED, Reader
from pinecall_cli.agent.yaml_nodes import documents
from pinecall_cli.errors import Where

HERE = Where("a.yaml", 1, 1)


def yaml(text: str) -> Node:
    problems = Problems()
    (node,) = documents(text, "a.yaml", problems)
    assert not problems.items
    return node


def read(kind: Kind, node: Node) -> tuple[Any, list[str]]:
    reader = Reader(Path(), {})
    value = kind.read(node, reader, "key")
    return value, [problem.message for problem in reader.problems.items]


@pytest.mark.parametrize(
    ("kind", "written", "error"),
    [
        (Number(), "x", "must be a number, not `x`"),
        (Number(whole=True), "1.5", "must be a whole number, not `1.5`"),
        (Number(minimum=1), "0", "must be a number of at least 1, not `0`"),
        (Number(maximum=0), "1", "must be a number of at most 0, not `1`"),
        (Number(minimum=0, maximum=2), "3", "must be a number from 0 to 2, not `3`"),
        (Number(), "[1]", "must be a number, not a list"),
        (Number(), "!file x", "must be a number, not `x`"),
        (Flag(), "1", "must be `true` or `false`, not `1`"),
        (Flag(), "[true]", "must be `true` or `false`, not a list"),
        (Flag(), "!file x", "must be `true` or `false`, not `x`"),
        (Choice(("a", "b")), "[a]", "must be `a` or `b`, not a list"),
        (ListOf(Text()), "{a: b}", "must be a list, not a mapping"),
        (MapOf(Text()), "[a]", "must be a mapping, not a list"),
        (Either("one or more", sequence=ListOf(Text())), "a", "must be one or more, not `a`"),
        (Text(), "x" * 50, ""),
        (Number(), "x" * 50, f"must be a number, not `{'x' * 40}…`"),
    ],
)
def test_each_kind_says_what_it_wants_and_what_it_got(kind: Kind, written: str, error: str):
    value, problems = read(kind, yaml(written))
    assert problems == ([f"`key` {error}"] if error else [])
    assert (value is FAILED) is bool(error)


@pytest.mark.parametrize(
    ("kind", "given", "error"),
    [
        (Text(), object(), "must be text, not a `object`"),
        (Anything(), object(), "must be a value, not a `object`"),
        (ListOf(Text()), None, "must be a list, not nothing"),
        (Number(), True, "must be a number, not `true`"),
        (Flag(), "true", "must be `true` or `false`, not `true`"),
        (Flag(), "TRUE", "must be `true` or `false`, not `TRUE`"),
    ],
)
def test_python_values_are_told_in_the_same_words(kind: Kind, given: Any, error: str):
    assert read(kind, from_python(given, HERE)) == (FAILED, [f"`key` {error}"])


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("on", "write `true`"),
        ("n", "write `false`"),
        ("No", "write `false`"),
        ("'true'", "take the quotation marks away"),
        ("2", None),
    ],
)
def test_a_flag_of_yaml_1_1_earns_a_hint(written: str, hint: str | None):
    reader = Reader(Path(), {})
    Flag().read(yaml(written), reader, "")
    assert [(p.message[:4], p.hint) for p in reader.problems.items] == [("must", hint)]


def test_a_word_almost_right_earns_a_hint():
    reader = Reader(Path(), {})
    Choice(("model", "manual")).read(yaml("modle"), reader, "")
    assert reader.problems.items[0].hint == "did you mean `model`?"


def test_a_list_that_goes_on_after_a_wrong_item_keeps_the_rest():
    value, problems = read(ListOf(Number()), yaml("[1, x, 3]"))
    assert value == [1, 3]
    assert len(problems) == 1


def test_a_single_value_may_count_as_a_list_of_one():
    assert read(ListOf(Text(), single=True), yaml("a"))[0] == ["a"]
    assert read(ListOf(Number(), single=True), yaml("a"))[0] is FAILED
    assert ListOf(Text(), single=True).schema()["anyOf"][0] == {"type": "string"}


def test_a_missing_variable_fails_quietly_wherever_it_is_used():
    for kind in (Text(max_bytes=5), Number(), Anything(), MapOf(Text()), Flag()):
        node = yaml("{a: '${A}'}") if isinstance(kind, MapOf) else yaml("'${A}'")
        reader = Reader(Path(), {}, declared=frozenset({"A"}))
        value = kind.read(node, reader, "key")
        assert value in (FAILED, {})
        assert (reader.problems.items == []) is not isinstance(kind, Flag)


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("0o17", 15), ("0xff", 255), ("-0.5", -0.5), ("1.", 1.0), ("1_000", None)],
)
def test_numbers_are_spelled_as_in_yaml_1_2(text: str, value: float | None):
    assert number(text) == value


def test_names_go_both_ways_between_the_spellings():
    assert snake_case("sessionLimits") == "session_limits"
    assert camel_case("session_limits") == "sessionLimits"
    assert snake_case("URL") == "url"


def test_an_object_may_pass_unknown_keys_on():
    kind = Object({"a": Key(Number(), "A.")}, unknown="keep")
    assert read(kind, yaml("{a: 1, b: {c: true}}")) == ({"a": 1, "b": {"c": True}}, [])
    assert "additionalProperties" not in kind.schema()
    assert read(kind, from_python({"b": object()}, HERE))[0] == {}


def test_a_part_of_a_text_is_found_in_folded_and_quoted_scalars():
    node = yaml('a: "x\\n {b}"\n')
    ((_, value),) = node.pairs  # type: ignore[union-attr]
    assert isinstance(value, Scalar)
    assert (value.locate("{b}").line, value.locate("{b}").column) == (1, 9)
    assert value.locate("nowhere") == value.where
    bare = Scalar("x {b}", "quoted", HERE)
    assert bare.locate("{b}") == HERE
    assert isinstance(from_python(b"x", HERE), Foreign)


def test_problems_are_noted_once_and_sorted():
    problems = Problems()
    for line in (2, 1, 2):
        problems.error("code", "message", Where("a", line, 1))
    problems.warning("code", "message", Where("a"))
    assert [p.line for p in problems.sorted()] == [None, 1, 2]
    assert problems.failed
    error = AgentFileProblems(problems.sorted())
    assert str(error.where) == "a:1:1"
    assert len(error.errors) == 2
    assert [str(each.where) for each in error.each()] == ["a:1:1", "a:2:1"]
