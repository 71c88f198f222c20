"""Whatever a YAML file holds, reading it ends in an agent or in our own errors."""

from __future__ import annotations

import contextlib
import random
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinecall_cli.agent.check import check
from pinecall_cli.agent.load import load
from pinecall_cli.agent.problems import AgentFileProblems, Problem, Problems
from pinecall_cli.agent.schema import agent_schema
from pinecall_cli.agent.yaml_nodes import documents

CORPUS = Path(__file__).parent / "broken"
EXAMPLES = Path(__file__).parents[2] / "agents"
SEEDS = [
    path.read_text("utf-8", "replace")
    for path in sorted((*CORPUS.glob("*.yaml"), *EXAMPLES.rglob("*.yaml")))
]
PIECES = [
    *(
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "|\n  ",
        ">\n",
        "!file ",
        "!!int ",
        "? ",
        "<<: ",
    ),
    *("---\n", "...\n", "\n", "\n  ", "\t", "#", "'", '"', "\\U99999999", "%YAML 1.2\n", "${A}"),
    *("\x00", "\x07", "\u2028", "\ufeff", "é", "😀", "{{x}}", "null", "~", "1e999", "-", "@", "`"),
    *(f"{key}: " for key in agent_schema()["properties"]),
]


def mutated(text: str, seed: int, changes: int) -> str:
    """Cut, double and sprinkle a text."""
    rng = random.Random(seed)
    for _ in range(changes):
        at, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        match rng.randrange(4):
            case 0:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[min(end, at + 20) :]
            case 2:
                text = text[:at] + text[at : min(end, at + 40)] * 2 + text[at:]
            case _:
                text = text[:at] + rng.choice(string.printable) + text[at + 1 :]
    return text


def read(content: str | bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "agent.yaml"
        data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        file.write_bytes(data)
        found: tuple[Problem, ...] = ()
        with contextlib.suppress(AgentFileProblems):
            found = tuple(problem for one in load(file) for problem in one.warnings)
        (checked,) = check(file)
        for problem in (*found, *checked.problems):
            assert problem.line is None or problem.line >= 1
            assert problem.column is None or problem.column >= 1


@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.integers(1, 12))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_mutated_agent_loads_or_is_refused_in_order(text: str, seed: int, changes: int):
    read(mutated(text, seed, changes))


@given(st.text(max_size=300))
@settings(deadline=None, max_examples=100)
def test_any_text_loads_or_is_refused_in_order(text: str):
    read(text)


@given(st.lists(st.sampled_from(PIECES), max_size=40))
@settings(deadline=None, max_examples=150)
def test_any_heap_of_yaml_loads_or_is_refused_in_order(pieces: list[str]):
    read("".join(pieces))


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=50)
def test_any_bytes_are_refused_in_order(data: bytes):
    read(data)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 10_000,
        "- " * 10_000,
        "a:\n" + "".join(" " * n + "- b:\n" for n in range(1, 300)),
        "mode: " + "'" * 9999,
        "%YAML " + "9" * 5000 + ".1\n---\n",
        "&" + "a" * 5000 + " x",
        "? " * 5000,
    ],
)
def test_texts_made_to_exhaust_a_parser_are_refused_in_order(text: str):
    problems = Problems()
    documents(text, "agent.yaml", problems)
    assert problems.failed or text.startswith("&")
