"""``pinecall agents new``: what it writes runs, and nothing is written over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pinecall_cli.app import run
from tests.end_to_end.conftest import Start, start

__all__ = ["start"]  # a fixture

New = Callable[..., tuple[int, str, str]]
YAML = [
    *("agents/desk.yaml", "agents/prompts/desk.md", "agents/scripts/desk.script.yaml"),
    *("agents/desk_tools.py", "agents/desk.spec.yaml", "agents/desk.voice.spec.yaml"),
]
PYTHON = ["agents/desk.py", "agents/desk.spec.yaml", "agents/desk.voice.spec.yaml"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def new(capfd: pytest.CaptureFixture[str]) -> New:
    def begin(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["agents", "new", *words])
        return (code, *capfd.readouterr())

    return begin


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("words", "written"), [([], YAML), (["--python"], PYTHON)])
def test_it_says_what_it_wrote_and_what_to_do_with_it(
    new: New, folder: Path, words: list[str], written: list[str]
) -> None:
    code, out, err = new("desk", *words)
    assert (code, out.splitlines()) == (0, written)
    assert files(folder) == {*written}
    assert f"pinecall dev {written[0]}\n" in err
    assert "pinecall test agents/desk.spec.yaml\n" in err
    code, out, err = new("other", *words, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "agent": "other",
        "files": [name.replace("desk", "other") for name in written],
    }
    assert run(["agents", "check", "agents", "--strict"]) == 0


@pytest.mark.parametrize("python", [True, False])
def test_the_installed_command_checks_and_tests_what_it_wrote(start: Start, python: bool) -> None:
    assert start("agents", "new", "desk", *(["--python"] if python else [])).end() == 0
    assert start("agents", "check", "agents", "--strict").end() == 0
    specs = start("test", "agents", "--json")
    assert specs.end() == 0, specs.talk
    tested = json.loads("".join(specs.out))
    assert json.dumps(tested).count("desk.spec.yaml") >= 1
    assert json.dumps(tested).count("desk.voice.spec.yaml") >= 1


def test_the_python_scaffold_is_a_program_of_its_own(new: New, folder: Path) -> None:
    assert new("desk", "--python")[0] == 0
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import desk; print(desk.agent.name)"],
        cwd=folder / "agents",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, done.stdout) == (0, "desk\n"), done.stderr


# --- nothing is written over ------------------------------------------------------------------


@pytest.mark.parametrize("there", [*YAML, "agents/desk.yaml/"])
def test_no_file_is_written_over_and_none_is_left_half(new: New, folder: Path, there: str) -> None:
    path = folder / there
    path.parent.mkdir(parents=True, exist_ok=True)
    if there.endswith("/"):
        path.mkdir()
    else:
        path.write_text("mine")
    before = files(folder)
    code, out, err = new("desk", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "file_exists"
    assert "  fix: take another name" in err
    assert files(folder) == before
    assert path.is_dir() or path.read_text() == "mine"


def test_a_name_that_another_file_has_is_refused(new: New, folder: Path) -> None:
    (folder / "agents").mkdir()
    (folder / "agents" / "mine.yaml").write_text("{name: desk, llm: openai/gpt-5, prompt: x}")
    code, out, _ = new("desk", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "duplicate_agent"
    assert "agents/mine.yaml" in json.loads(out)["error"]["message"]
    assert new("desk", "--dir", "elsewhere")[0] == 0


def test_a_folder_that_cannot_be_written_to_is_an_error_with_a_fix(new: New, folder: Path) -> None:
    (folder / "agents").write_text("a file")
    code, out, err = new("desk", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "cannot_write"
    assert "--dir" in err


def test_what_was_begun_is_taken_back_when_the_rest_cannot_be_written(
    new: New, folder: Path
) -> None:
    (folder / "agents").mkdir()
    (folder / "agents" / "scripts").write_text("a file where a folder is wanted")
    assert new("desk")[0] == 2
    assert files(folder) == {"agents/scripts"}


# --- where to ------------------------------------------------------------------------------------


def test_inside_a_folder_of_agents_it_writes_there(
    new: New, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "agents").mkdir()
    monkeypatch.chdir(folder / "agents")
    assert new("desk")[1].splitlines()[0] == "desk.yaml"


def test_a_folder_with_a_space_is_quoted_where_it_is_to_be_typed(new: New, folder: Path) -> None:
    code, out, err = new("desk", "--dir", "my agents")
    assert (code, out.splitlines()[0]) == (0, "my agents/desk.yaml")
    assert "pinecall dev 'my agents/desk.yaml'" in err
    shutil.rmtree(folder / "my agents")


def test_a_bad_name_is_exit_2(new: New, folder: Path) -> None:
    for name in ("Front Desk", "", "../up"):
        code, out, err = new(name, "--json")
        assert code == 2
        assert json.loads(out)["error"]["code"] == "bad_name"
        assert "  fix: " in err
    assert files(folder) == set()
