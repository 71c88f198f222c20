"""Which spec files are meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pinecall_cli.errors import UsageError
from pinecall_cli.trial.find import spec_files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "agents/b.spec.yaml",
        "agents/a.spec.yml",
        "agents/tests/c.spec.yaml",
        "agents/agent.yaml",
        "agents/agent.script.yaml",
        "agents/.hidden.spec.yaml",
        ".git/d.spec.yaml",
        "node_modules/x/e.spec.yaml",
        "my-environment/pyvenv.cfg",
        "my-environment/lib/f.spec.yaml",
        "my-environment.spec.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def found(*targets: str) -> list[str]:
    return [path.as_posix() for path in spec_files(map(Path, targets))]


@pytest.mark.usefixtures("folder")
def test_a_folder_means_all_specs_in_it_and_below_but_none_of_what_was_installed():
    assert found("agents") == [
        "agents/a.spec.yml",
        "agents/b.spec.yaml",
        "agents/tests/c.spec.yaml",
    ]
    assert found(".") == [*found("agents"), "my-environment.spec.yaml"]


@pytest.mark.usefixtures("folder")
def test_a_file_is_meant_whatever_its_name_and_the_order_is_kept():
    assert found("agents/tests", "agents/agent.yaml", "agents/b.spec.yaml") == [
        "agents/tests/c.spec.yaml",
        "agents/agent.yaml",
        "agents/b.spec.yaml",
    ]


@pytest.mark.usefixtures("folder")
def test_a_file_that_is_named_twice_is_meant_once():
    os.symlink("agents", "other")
    assert found("agents/b.spec.yaml", "agents", "./agents/../agents", "other/b.spec.yaml") == [
        "agents/b.spec.yaml",
        "agents/a.spec.yml",
        "agents/tests/c.spec.yaml",
    ]


@pytest.mark.usefixtures("folder")
def test_a_pattern_that_no_shell_expanded_is_expanded():
    assert found("agents/*.spec.*") == ["agents/a.spec.yml", "agents/b.spec.yaml"]
    assert found("nothing/*.spec.yaml") == []


def test_a_file_named_like_a_pattern_is_that_file(folder: Path):
    (folder / "[x].spec.yaml").touch()
    assert found("[x].spec.yaml") == ["[x].spec.yaml"]


@pytest.mark.usefixtures("folder")
def test_what_is_not_there_is_an_error():
    with pytest.raises(UsageError) as caught:
        found("agents", "agnets")
    assert "`agnets`" in caught.value.message
    assert caught.value.code == "missing_file"


def test_a_folder_that_cannot_be_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: str) -> object:  # root may read everything, and CI is root
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError) as caught:
        found("agents")
    assert caught.value.message == "cannot read `agents`: Permission denied"
