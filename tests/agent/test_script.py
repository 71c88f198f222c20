"""Scripts as they are written, and as they leave for the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.load import Loaded, load
from pinecall_cli.agent.problems import AgentFileProblems

TOOL = """
from pinecall_cli.agent.define import tool

@tool
def lookup_order(order_id: str) -> dict:
    "Look up an order."
    return {}
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tools.py").write_text(TOOL)

    def script(rules: str) -> Loaded:
        Path("s.script.yaml").write_text(rules)
        Path("agent.yaml").write_text(
            "llm: openai/gpt-5\ntools: [tools.py]\nlocal: {script: s.script.yaml}\n"
        )
        return load(Path("agent.yaml"))[0]

    return script


def rules(loaded: Loaded) -> list[dict[str, Any]]:
    return [dict(rule) for rule in loaded.config.local.rules or ()]


def test_every_rule_leaves_with_its_place(script):
    loaded = script(r"""
- on: "order (?P<id>ORD-\\d+)"
  call: {lookup_order: {order_id: "{id}", fast: true, tries: 3}}
  say: "Order {id} is {result.status}."
- on: "be slow"
  first_token_ms: 800
  tokens_per_s: 2.5
  say: ["One answer.", "Another answer."]
- call: lookup_order
- on: never
  call: {lookup_order: }
""")
    assert rules(loaded) == [
        {
            "on": r"order (?P<id>ORD-\d+)",
            "call": {"lookup_order": {"order_id": "{id}", "fast": True, "tries": 3}},
            "say": "Order {id} is {result.status}.",
            "at": "s.script.yaml:2",
        },
        {
            "on": "be slow",
            "first_token_ms": 800,
            "tokens_per_s": 2.5,
            "say": ["One answer.", "Another answer."],
            "at": "s.script.yaml:5",
        },
        {"call": {"lookup_order": {}}, "at": "s.script.yaml:9"},
        {"on": "never", "call": {"lookup_order": {}}, "at": "s.script.yaml:10"},
    ]
    assert [(p.code, p.line) for p in loaded.warnings] == [("unreachable_rule", 10)]


def test_a_script_alone_means_the_script_answers(script):
    assert script("- say: Hi\n").config.local.llm == "script"


def test_rules_may_stand_in_the_agent_itself(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("llm: openai/x\nlocal:\n  llm: script\n  script:\n  - say: A")
    (loaded,) = load(tmp_path / "a.yaml")
    assert rules(loaded) == [{"say": "A", "at": f"{tmp_path / 'a.yaml'}:5"}]


def test_environment_variables_mean_nothing_in_scripts(script, monkeypatch):
    monkeypatch.setenv("CRM_URL", "x")
    assert rules(script("- say: ${CRM_URL}\n"))[0]["say"] == "${CRM_URL}"


@pytest.mark.parametrize(
    "say",
    [
        "{text} {prompt} {result.status} {results.lookup_order[0].b}",
        "{{braces}} and {{ {text} }}",
        'JSON like {"a": 1} and {} stand for themselves',
    ],
)
def test_placeholders_that_mean_something_earn_no_warning(script, say: str):
    assert script(f"- call: lookup_order\n  say: '{say}'\n").warnings == ()


def test_a_placeholder_nobody_sets_is_warned_of_in_arguments_too(script):
    loaded = script("- on: (?P<a>x)\n  call: {lookup_order: {order_id: ['{a}', '{b}']}}\n")
    assert [(p.code, p.line, p.column) for p in loaded.warnings] == [
        ("unknown_placeholder", 2, 44),
    ]


def test_a_script_may_be_no_longer_there(script, tmp_path: Path):
    script("- say: Hi\n")
    (tmp_path / "s.script.yaml").unlink()
    with pytest.raises(AgentFileProblems, match="there is no file") as caught:
        load(Path("agent.yaml"))
    assert tmp_path / "s.script.yaml" in caught.value.watched


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("- say: [a, {b: c}]", "wrong_type", "1:12"),
        ("- call: {}", "wrong_type", "1:9"),
        ("- call: [a]", "wrong_type", "1:9"),
        ("- call: {lookup_order: text}", "wrong_type", "1:24"),
        ("- on: [a]\n  say: b", "wrong_type", "1:7"),
        ("- say: a\n  tokens_per_s: 0", "wrong_type", "2:17"),
        ("- say: a\n---\n- say: b", "bad_script", "3:1"),
        ("say: a", "wrong_type", "1:1"),
        ("- say: 'a", "yaml_syntax", "1:8"),
        ("- on: (?P<1>a)\n  say: a", "bad_pattern", "1:7"),
        ("- on: a{99999999999999999999}\n  say: a", "bad_pattern", "1:7"),
    ],
)
def test_a_broken_script_is_told_at_its_place(script, text: str, code: str, place: str):
    with pytest.raises(AgentFileProblems) as caught:
        script(text)
    assert (caught.value.code, str(caught.value.where)) == (code, f"s.script.yaml:{place}")


def test_a_path_that_is_no_text_is_refused(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("llm: script\nlocal: {script: {}}")
    with pytest.raises(AgentFileProblems, match="must be the name of a script file"):
        load(tmp_path / "a.yaml")
