"""Whatever a spec's file or `-k` holds, reading it ends in a value or in our own errors."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinecall_cli.agent.problems import AgentFileProblems
from pinecall_cli.caller.yaml_file import VERBS
from pinecall_cli.errors import UsageError
from pinecall_cli.trial.judge import Verdict, expected, fits, judge, kind
from pinecall_cli.trial.junit import inert
from pinecall_cli.trial.plan import plan
from pinecall_cli.trial.record import Record, Window
from pinecall_cli.trial.select import selection
from pinecall_cli.trial.spec import Spec
from pinecall_cli.trial.yaml_file import KEYS, load_specs
from pinecall_cli.trial.yaml_parts import KINDS
from tests.agent import test_yaml_properties as yaml
from tests.trial.specs import VOICES, heard, written
from tests.trial.test_yaml_file import FULL, ISSUE

EXAMPLES = Path(__file__).parents[2] / "agents" / "tests"
SEEDS = [ISSUE, FULL, *(path.read_text("utf-8") for path in sorted(EXAMPLES.iterdir()))]
WORDS = [*KEYS, *KINDS, *VERBS, "args", "result", "timeout", "after", "after_words", "expect"]
PIECES = [
    *yaml.PIECES,
    *(f"{word}: " for word in WORDS),
    *("/[/", "~x/", "[(", "bot.word", "voice", "text", "first_audio", "greeting", "1.5s"),
]
SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def happened() -> Window:
    """Return a window with a bit of everything."""
    record = Record()
    heard(record, "bot.speaking", message_id="m", text="Hello there.")
    heard(record, "bot.interrupted", message_id="m", reason="user_spoke")
    calls = [{"id": "t", "name": "lookup_order", "arguments": '{"number": "7", "days": [1]}'}]
    heard(record, "llm.tool_call", msg_id="r", tool_calls=calls)
    heard(record, "turn.latency", turn_id=1, e2e=700)
    return record.whole()


HAPPENED = happened()


@contextlib.contextmanager
def spec_file(text: str | bytes) -> Iterator[Path]:
    """Write a spec where the files that the seeds name are there."""
    with tempfile.TemporaryDirectory() as folder:
        tests = Path(folder) / "tests"
        tests.mkdir()
        for name in ("front_desk.yaml", "reservations.py", "tests/noise.wav"):
            (Path(folder) / name).touch()
        yield written(tests, text)


def read(text: str | bytes) -> None:
    """Load a spec; one that loads can be planned and judged."""
    with spec_file(text) as file:
        try:
            (spec,) = load_specs([file], voices=VOICES)
        except AgentFileProblems as refused:
            for problem in refused.problems:
                assert Path(problem.file) == file or problem.code == "missing_file"
                assert problem.line is None or problem.line >= 1
                assert problem.column is None or problem.column >= 1
            return
    assert len(plan(spec).steps) == len(plan(spec).of)
    for one in (*spec.expect, *(e for step in spec.steps for e in step.expect)):
        assert isinstance(judge(one, HAPPENED), Verdict)
        assert expected(one)
        assert kind(one).removeprefix("not_") in ("says", "tool", "event", "within_ms")


@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.integers(1, 12))
@settings(max_examples=200, **SLOW)
def test_a_mutated_spec_loads_or_is_refused_in_order(text: str, seed: int, changes: int):
    read(yaml.mutated(text, seed, changes))


@given(st.lists(st.sampled_from(PIECES), max_size=40))
@settings(max_examples=200, **SLOW)
def test_any_heap_of_yaml_loads_or_is_refused_in_order(pieces: list[str]):
    read("".join(pieces))


@given(st.text(max_size=300) | st.binary(max_size=200))
@settings(max_examples=100, **SLOW)
def test_any_text_is_refused_in_order(text: str | bytes):
    read(text)


def test_all_that_is_mutated_here_loads_as_it_stands():
    for text in SEEDS:
        with spec_file(text) as file:
            assert isinstance(load_specs([file], voices=VOICES)[0], Spec)


EXPRESSIONS = st.lists(st.sampled_from([*"'\"()", " and ", " or ", " not ", "a ", "b"])).map(
    "".join
)


@given(st.text(max_size=60) | EXPRESSIONS)
@settings(deadline=None)
def test_any_expression_chooses_or_is_refused_in_order(expression: str):
    try:
        chooses = selection(expression)
    except UsageError:
        return
    with spec_file(ISSUE) as file:
        (spec,) = load_specs([file])
    assert chooses(spec) in (True, False)


@given(json_values)
def test_every_value_fits_itself_unless_it_is_a_pattern(value: Any):
    if "/" not in json.dumps(value):
        assert fits(value, value)


@given(st.dictionaries(st.text(max_size=4), json_values), st.dictionaries(st.text(), json_values))
def test_more_keys_than_wanted_do_no_harm(wanted: dict[str, Any], more: dict[str, Any]):
    if "/" not in json.dumps(wanted):
        assert fits(wanted, more | wanted)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_stand_in_xml(text: str):
    element = ElementTree.Element("a", {"name": inert(text)})
    element.text = inert(text)
    back = ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8"))
    assert (back.text or "") == inert(text).replace("\r", "\n")
