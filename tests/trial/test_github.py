"""Results as GitHub shows them: nothing that an agent says becomes a command or markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.agent.problems import AgentFileProblems, Problems
from pinecall_cli.errors import UsageError, Where
from pinecall_cli.trial.github import (
    annotation,
    in_repository,
    summary,
    workflow_commands,
    workflow_commands_of,
)
from pinecall_cli.trial.spec import Spec
from tests.trial.results import SPEC, conversation, one_of_each, result, spec


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    monkeypatch.chdir(tmp_path)
    return spec(Path.cwd())


def test_a_failure_is_an_annotation_at_its_line(desk: Spec):
    _, failed, error = one_of_each(desk)
    assert list(workflow_commands([failed, error])) == [
        "::error file=desk.spec.yaml,line=11,col=9,title=Orders::expected says `sent`"
        '%0Asaid: "Lost."%0Aheard: "Where is order seven?"',
        "::error file=desk.spec.yaml,line=1,title=Orders::nobody answers",
    ]


def test_what_passed_is_no_annotation(desk: Spec):
    assert list(workflow_commands([result(desk)])) == []


def test_what_is_wrong_with_files_is_an_annotation_each():
    problems = Problems()
    problems.error("x", "unknown key `sya`", Where("a.spec.yaml", 3, 5), "did you mean `say`?")
    problems.error("x", "`steps` is missing", Where("b.spec.yaml"))
    assert list(workflow_commands_of(AgentFileProblems(problems.sorted()))) == [
        "::error file=a.spec.yaml,line=3,col=5,title=pinecall test::unknown key `sya`"
        "%0Afix: did you mean `say`?",
        "::error file=b.spec.yaml,title=pinecall test::`steps` is missing",
    ]
    assert list(workflow_commands_of(UsageError("no such file"))) == [
        "::error title=pinecall test::no such file"
    ]


def test_what_would_end_or_split_a_command_is_spelt_out():
    where = Where("a,b:c%.yaml", 1, 2)
    assert annotation(where, "x::y,z\r\n", "100 %\r\n::stop-commands::x") == (
        "::error file=a%2Cb%3Ac%25.yaml,line=1,col=2,title=x%3A%3Ay%2Cz%0D%0A::"
        "100 %25%0D%0A::stop-commands::x"
    )


@given(st.text(), st.text(), st.text())
def test_an_annotation_is_one_line_with_its_message_last(file: str, title: str, message: str):
    made = annotation(Where(file, 1, 2), title, message)
    assert "\n" not in made
    assert "\r" not in made
    _, command, fields, *_ = made.split("::")
    assert command.startswith("error ")
    assert made.startswith(f"::{command}::")
    assert fields is not None


def test_a_path_is_told_from_the_root_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    assert in_repository("a.spec.yaml") == "a.spec.yaml"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert in_repository("a.spec.yaml") == "sub/a.spec.yaml"
    assert in_repository("../a.spec.yaml") == "a.spec.yaml"
    assert in_repository("/elsewhere/a.spec.yaml") == "/elsewhere/a.spec.yaml"
    assert in_repository("") == ""


def test_the_page_of_a_run_is_a_table(desk: Spec):
    assert summary(one_of_each(desk), 2).splitlines() == [
        "### pinecall test: 1 passed, 1 failed, 1 could not be run in 2.0 s",
        "",
        "| | spec | |",
        "|---|---|---|",
        "| ✅ | desk.spec.yaml |  |",
        r"| ❌ | desk.spec.yaml | expected says \`sent\` |",
        "| ❌ | desk.spec.yaml | nobody answers |",
    ]


def test_a_failure_cannot_break_out_of_its_cell(tmp_path: Path):
    hostile = "a | b\n| <script> [x](http://y) ![z](w) @all `code` **bold** & ~no~ # \\|"
    found = result(spec(tmp_path, SPEC), conversation(), broke=hostile)
    row = summary([found], 1).splitlines()[-1]
    assert row.endswith(
        r"| a \| b \| \<script\> \[x\](http://y) \!\[z\](w) @all \`code\` "
        r"\*\*bold\*\* \& \~no\~ \# \\\| |"
    )
