from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.engines.pattern import MAX_TEXT, STEPS_HERE, Cost, Pattern
from pinecall_cli.engines.script import BuiltInScript, ScriptModel
from pinecall_cli.engines.template import fill
from pinecall_cli.engines.types import Model, ModelRequest, ToolCall
from pinecall_cli.errors import EngineError


class Clock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Play:
    """A script in a session whose tools give the results named here."""

    def __init__(self, rules: Sequence[Any] | Model, **results: Any) -> None:
        self.reports: list[str] = []
        self.clock = Clock()
        self.model: Model = (
            ScriptModel(rules, report=self.reports.append, sleep=self.clock.sleep)
            if isinstance(rules, Sequence)
            else rules
        )
        self.results = results
        self.messages: list[Mapping[str, Any]] = [{"role": "system", "content": "Be {kind}."}]
        self.calls: list[list[ToolCall]] = []

    async def say(self, text: str) -> str:
        """Return the answer to a turn, tools run as they are called."""
        self.messages.append({"role": "user", "content": text})
        while True:
            pieces = [piece async for piece in self.model.stream(ModelRequest(self.messages))]
            calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
            if not calls:
                answer = "".join(piece for piece in pieces if isinstance(piece, str))
                self.messages.append({"role": "assistant", "content": answer})
                return answer
            self.calls.append(calls)
            entries = [
                {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
                for call in calls
            ]
            self.messages.append({"role": "assistant", "content": None, "tool_calls": entries})
            for call in calls:
                content = json.dumps(self.results.get(call.name))
                self.messages.append({"role": "tool", "tool_call_id": call.id, "content": content})


# -- rules ---------------------------------------------------------------------------------


async def test_the_first_rule_that_is_found_in_the_turn_answers_whatever_the_case() -> None:
    play = Play([{"on": "order|parcel", "say": "An order."}, {"on": "order", "say": "Never."}])
    assert await play.say("Where is my PARCEL?") == "An order."


async def test_a_rule_without_on_answers_everything() -> None:
    assert await Play([{"on": "x", "say": "X"}, {"say": "Hm."}]).say("Hello") == "Hm."


async def test_a_turn_that_no_rule_answers_is_reported() -> None:
    play = Play([{"on": "order", "say": "An order."}])
    assert await play.say("Hello") == ""
    assert "no rule answers `Hello`" in play.reports[0]


async def test_named_groups_text_and_prompt_go_in_as_they_are() -> None:
    play = Play([{"on": r"order (?P<id>ORD-\d+)", "say": "{id}|{text}|{prompt}|{{id}}"}])
    text = "Order ord-12 {prompt}"
    assert await play.say(text) == f"ord-12|{text}|Be {{kind}}.|{{id}}"


async def test_a_group_that_took_no_part_is_empty_and_not_reported() -> None:
    play = Play([{"on": r"order(?P<id> \d+)?", "say": "<{id}>"}])
    assert await play.say("order") == "<>"
    assert play.reports == []


async def test_a_missing_name_or_field_is_empty_and_reported_once_with_its_place() -> None:
    play = Play([{"say": "<{nobody}{result.eta}{text.x}>", "at": "scripts/a.yaml:7"}])
    assert await play.say("Hi") == "<>"
    assert await play.say("Hi") == "<>"
    assert len(play.reports) == 3
    assert all(report.startswith("scripts/a.yaml:7: ") for report in play.reports)
    assert "`{result.eta}`" in play.reports[1]


async def test_a_list_of_answers_advances_per_rule() -> None:
    play = Play([{"on": "a", "say": ["1", "2"]}, {"say": ["x", "y"]}])
    assert [await play.say(text) for text in "aabab"] == ["1", "2", "x", "1", "y"]


# -- tools ---------------------------------------------------------------------------------


async def test_a_tool_is_called_with_filled_arguments_and_its_result_said() -> None:
    rule = {
        "on": r"order (?P<id>\S+)",
        "call": {"lookup_order": {"order_id": "{id}", "note": "was {id}", "deep": [{"n": 1}]}},
        "say": "Order {id} is {result.items[0].status}, {results.lookup_order.count}.",
    }
    play = Play([rule], lookup_order={"items": [{"status": "shipped"}], "count": 2})
    assert await play.say("order ORD-1") == "Order ORD-1 is shipped, 2."
    ((call,),) = play.calls
    assert call.name == "lookup_order"
    assert json.loads(call.arguments) == {
        "order_id": "ORD-1",
        "note": "was ORD-1",
        "deep": [{"n": 1}],
    }


async def test_an_argument_that_is_one_placeholder_keeps_its_json_type() -> None:
    rules = [
        {"on": "list", "call": {"orders": None}, "say": "Which?"},
        {"on": "first", "call": {"cancel": {"id": "{result[0].id}", "why": "{results.orders}"}}},
    ]
    play = Play(rules, orders=[{"id": 7}], cancel=True)
    await play.say("list them")
    await play.say("the first")
    assert json.loads(play.calls[1][0].arguments) == {"id": 7, "why": [{"id": 7}]}


async def test_several_tools_go_out_in_one_round_and_result_is_the_firsts() -> None:
    rule = {"call": {"a": {}, "b": {}}, "say": "{result} {results.b}"}
    play = Play([rule], a="A", b={"n": 1})
    assert await play.say("go") == 'A {"n": 1}'
    assert [call.name for call in play.calls[0]] == ["a", "b"]


async def test_a_call_without_say_says_the_result_as_json() -> None:
    assert await Play([{"call": {"a": {}}}], a={"n": "é"}).say("go") == '{"n": "é"}'
    assert await Play([{"call": "a"}], a="text").say("go") == '"text"'


async def test_an_error_result_is_an_ordinary_value() -> None:
    play = Play([{"call": {"a": {}}, "say": "Sorry: {result.error}"}], a={"error": "no such order"})
    assert await play.say("go") == "Sorry: no such order"


async def test_call_ids_rise_through_the_session_and_are_the_same_every_time() -> None:
    async def ids() -> list[str]:
        play = Play([{"call": {"a": {}, "b": {}}}])
        await play.say("go")
        await play.say("go")
        return [call.id for calls in play.calls for call in calls]

    assert await ids() == ["call_1", "call_2", "call_3", "call_4"] == await ids()


# -- speed -----------------------------------------------------------------------------------


async def test_words_leave_at_the_simulated_speed() -> None:
    play = Play([{"say": "one two  three", "first_token_ms": 800, "tokens_per_s": 4}])
    request = ModelRequest([{"role": "user", "content": "Hi"}])
    left = [(piece, play.clock.now) async for piece in play.model.stream(request)]
    assert left == [("one ", 0.8), ("two  ", 1.05), ("three", 1.3)]


async def test_without_a_speed_everything_leaves_at_once() -> None:
    play = Play([{"say": "one two"}])
    await play.say("Hi")
    assert play.clock.now == 0


# -- broken scripts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("text", "a list of rules"),
        (["text"], "rule 1: a rule is a mapping"),
        ([{"say": "x"}, {"on": "(", "at": "a.yaml:9"}], "a.yaml:9: `on` is not a regular"),
        ([{"on": 3}], "`on` is a regular expression"),
        ([{"on": "a{99999999999}"}], "not a regular expression"),
        ([{"sya": "x"}], "no key `sya`"),
        ([{"call": ["a"]}], "`call` maps"),
        ([{"call": {"a": "b"}}], "`call` maps"),
        ([{"say": {"a": 1}}], "`say` is"),
        ([{"say": ["a", 1]}], "`say` is"),
        ([{"say": "x", "first_token_ms": "fast"}], "`first_token_ms` is a number"),
        ([{"say": "x", "tokens_per_s": True}], "`tokens_per_s` is a number"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_its_place(rules: Any, problem: str) -> None:
    with pytest.raises(EngineError) as refused:
        ScriptModel(rules)
    assert problem in refused.value.message
    assert refused.value.fix


# -- patterns that would take for ever ---------------------------------------------------------


@pytest.mark.parametrize("on", [r"(a+)+$", r"(a|aa)*$", r"(?:(?:a?){9}){9}$", r"([ab]*c?){2,}$"])
def test_repeats_of_repeats_are_not_searched_here(on: str) -> None:
    assert Cost.of(on).steps(30) > STEPS_HERE


@pytest.mark.parametrize(
    "on",
    [
        r"order (?P<id>ORD-\d+)",
        r"(?:yes|ok|sure)\b",
        r"(?i:table) for (\d{1,2})",
        r"[+*?]{3}\+\(a\)",
        r"(?P<a>x)?(?:y)?",
        r"[]a)]|[^]b(]",
    ],
)
def test_ordinary_patterns_are_searched_here(on: str) -> None:
    Pattern(on)
    assert Cost.of(on).steps(200) <= STEPS_HERE


async def test_a_catastrophic_pattern_is_given_up_and_the_next_rule_answers() -> None:
    play = Play([{"on": "(a+)+$", "say": "Never."}, {"say": "Here."}])
    assert await play.say("a" * 60 + "!") == "Here."
    assert "takes too long" in play.reports[0]


async def test_a_dear_pattern_that_is_found_in_time_answers_with_its_groups() -> None:
    play = Play([{"on": r"(?P<all>(?:la ?)+)", "say": "<{all}>"}])
    assert await play.say("sing La la é") == "<La la >"
    assert await play.say("no song") == ""


async def test_only_the_start_of_a_very_long_turn_is_searched() -> None:
    pattern = Pattern("needle")
    assert await pattern.search("x" * (MAX_TEXT - 6) + "needle") == {}
    assert await pattern.search("x" * MAX_TEXT + "needle") is None


# -- the built-in script -----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Hello?", "tool", "tool a {broken", "prompt the user"])
async def test_the_built_in_script_repeats_what_it_is_told(text: str) -> None:
    assert await Play(BuiltInScript()).say(text) == f"You said: {text}"


@pytest.mark.parametrize("text", ["prompt", "Prompt."])
async def test_the_built_in_script_says_the_prompt(text: str) -> None:
    assert await Play(BuiltInScript()).say(text) == "Be {kind}."


async def test_the_built_in_script_calls_a_tool_and_says_its_result() -> None:
    play = Play(BuiltInScript(), look_up={"n": 1})
    assert await play.say('tool look_up {"id": {"a": 1}}') == '{"n": 1}'
    assert await play.say("tool look_up") == '{"n": 1}'
    assert [call for calls in play.calls for call in calls] == [
        ToolCall("call_1", "look_up", '{"id": {"a": 1}}'),
        ToolCall("call_2", "look_up", "{}"),
    ]


# -- placeholders --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{{a}}}", "{A}"),
        ("{ a } {a b} {} {", "{ a } {a b} {} {"),
        ('{"json": [1]}', '{"json": [1]}'),
        ("{list[1]} {list[9]}{list.x} {deep.list[0].b-c}", "2  3"),
        ("{none}|{yes}|{number}|{deep}", '|true|1.5|{"list": [{"b-c": 3}]}'),
    ],
)
def test_placeholders_are_filled_and_other_braces_left_alone(template: str, said: str) -> None:
    values = {
        **{"a": "A", "list": [1, 2], "none": None, "yes": True, "number": 1.5},
        "deep": {"list": [{"b-c": 3}]},
    }
    assert fill(template, values, lambda _: None) == said


@given(st.text(alphabet="{}ab.[0] "), st.text(alphabet="{}ab"))
def test_a_value_is_never_expanded_again(template: str, value: str) -> None:
    values = {"a": value, "b": "B", "ab": ""}
    assert fill("{a}", values, lambda _: None) == value
    fill(template, values, lambda _: None)


@given(st.text())
def test_a_text_with_doubled_braces_is_said_as_it_was(text: str) -> None:
    assert fill(text.replace("{", "{{").replace("}", "}}"), {}, lambda _: None) == text
