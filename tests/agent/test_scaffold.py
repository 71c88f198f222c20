"""The files of a new agent: whatever its name, they are a valid agent of that name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pinecall_cli.agent.check import check
from pinecall_cli.agent.load import load
from pinecall_cli.agent.scaffold import LONGEST, checked_name, scaffold
from pinecall_cli.errors import UsageError

NAMES = ["front-desk", "a", "404", "no", "on", "null", "2026-01-01", "1e5", "0x1f", "x" * LONGEST]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("python", [True, False])
def test_a_scaffold_is_an_agent_of_its_name_without_a_warning(
    tmp_path: Path, name: str, python: bool
) -> None:
    files = scaffold(checked_name(name, python=python), python=python)
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
        assert "$" not in text
        assert len(name) > 20 or all(len(line) <= 100 for line in text.splitlines())
    main = tmp_path / next(iter(files))
    (checked,) = check(main)
    assert (checked.agents, checked.problems) == ((name,), ())
    (loaded,) = load(main)
    assert (loaded.config.name, loaded.warnings) == (name, ())
    assert [tool.name for tool in loaded.config.all_tools()] == ["opening_hours"]
    assert loaded.config.local.rules is not None
    assert len(loaded.config.local.rules) == 4


def test_both_scaffolds_are_the_same_agent(tmp_path: Path) -> None:
    configs = []
    for python in (True, False):
        folder = tmp_path / str(python)
        for path, text in scaffold("desk", python=python).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        (loaded,) = load(folder)
        configs.append(loaded.config)
    one, other = configs
    for key in ("language", "voice", "stt", "llm", "greeting"):
        assert getattr(one, key) == getattr(other, key)
    assert [t.wire() for t in one.all_tools()] == [t.wire() for t in other.all_tools()]


def test_the_python_that_is_written_is_python() -> None:
    for python in (True, False):
        for path, text in scaffold("desk", python=python).items():
            if path.endswith(".py"):
                ast.parse(text)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("", "for example `front-desk`"),
        ("---", "for example `front-desk`"),
        ("Front Desk", "did you mean `front-desk`?"),
        ("front_desk", "did you mean `front-desk`?"),
        ("../etc/passwd", "did you mean `etcpasswd`?"),
        ("x" * (LONGEST + 1), f"did you mean `{'x' * LONGEST}`?"),
        ("desk.yaml", "did you mean `deskyaml`?"),
    ],
)
def test_a_name_that_is_none_is_refused_with_one_that_is(name: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked_name(name, python=False)
    assert caught.value.fix == fix


@pytest.mark.parametrize("name", ["json", "asyncio", "pinecall-cli"])
def test_a_python_file_never_hides_a_module(name: str) -> None:
    assert checked_name(name, python=False) == name
    with pytest.raises(UsageError, match="would hide") as caught:
        checked_name(name, python=True)
    assert caught.value.fix == f"did you mean `{name}-agent`?"
