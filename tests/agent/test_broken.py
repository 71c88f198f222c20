"""The corpus of broken agents: each file earns its errors, at their places, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pinecall_cli.agent.check import check
from pinecall_cli.agent.load import load
from pinecall_cli.agent.problems import AgentFileProblems, Problem

CORPUS = Path(__file__).parent / "broken"

BROKEN = {
    "alias_bomb.yaml": ["too_large alias_bomb.yaml:7:21"],
    "alias_cycle.yaml": ["alias_cycle alias_cycle.yaml:3:14"],
    "bad_escape.yaml": ["yaml_syntax bad_escape.yaml:2:1"],
    "binary.yaml": ["binary_file binary.yaml:2:1"],
    "complex_key.yaml": ["bad_key complex_key.yaml:2:3"],
    "control_character.yaml": ["control_character control_character.yaml:2:10"],
    "cyclic_include.yaml": ["cyclic_include cyclic_include.yaml:2:9"],
    "documents.yaml": [
        "missing_key documents.yaml:4:1",
        "duplicate_agent documents.yaml:6:7",
        "bad_name documents.yaml:9:7",
    ],
    "duplicate_key.yaml": ["duplicate_key duplicate_key.yaml:3:1"],
    "empty.yaml": ["empty_file empty.yaml:1:1"],
    "environment.yaml": [
        "missing_variable environment.yaml:2:13",
        "undeclared_variable environment.yaml:3:40",
    ],
    "exits.py": ["python_exit exits.py:6"],
    "grammars.yaml": [
        "bad_language grammars.yaml:1:11",
        "unknown_voice_provider grammars.yaml:2:8",
        "unsupported_stt grammars.yaml:3:6",
        "unknown_llm_provider grammars.yaml:4:6",
        "bad_timezone grammars.yaml:5:11",
        "invalid_number grammars.yaml:6:17",
        "duplicate_number grammars.yaml:6:40",
        "invalid_origin grammars.yaml:7:37",
        "unknown_key grammars.yaml:8:18",
        "unknown_llm_provider grammars.yaml:9:14",
    ],
    "hangs.py": ["import_timeout hangs.py:6"],
    "imports.py": ["python_import imports.py:1"],
    "keywords.py": [
        "unknown_key keywords.py:5:5",
        "unsupported_stt keywords.py:6:9",
        "wrong_type keywords.py:7:11",
    ],
    "latin1.yaml": ["not_utf8 latin1.yaml:2:12"],
    "list.yaml": ["wrong_type list.yaml:1:1"],
    "merge_key.yaml": ["merge_key merge_key.yaml:3:3"],
    "missing_files.yaml": [
        "missing_file missing_files.yaml:2:9",
        "missing_file missing_files.yaml:4:5",
        "bad_tool missing_files.yaml:5:5",
        "missing_file missing_files.yaml:6:17",
    ],
    "no_agent.py": ["no_agents no_agent.py:1:1"],
    "only_comments.yaml": ["empty_file only_comments.yaml:1:1"],
    "prompt_is_a_directory.yaml": ["unreadable_file prompt_is_a_directory.yaml:2:9"],
    "raises.py": ["python_raised raises.py:7"],
    "scalar.yaml": ["wrong_type scalar.yaml:1:1"],
    "script.yaml": [
        "bad_pattern rules.script.yaml:1:7",
        "empty_rule rules.script.yaml:3:3",
        "unknown_tool rules.script.yaml:5:10",
        "unknown_placeholder rules.script.yaml:5:36",
        "unknown_placeholder rules.script.yaml:6:46",
        "unknown_key rules.script.yaml:7:3",
        "wrong_type rules.script.yaml:9:19",
        "unreachable_rule rules.script.yaml:10:3",
        "unknown_placeholder rules.script.yaml:10:27",
        "unreachable_rule rules.script.yaml:11:3",
        "wrong_type rules.script.yaml:13:3",
    ],
    "script_mapping.yaml": ["wrong_type script_mapping.yaml:2:17"],
    "script_shape.yaml": ["bad_script empty.yaml:1:1"],
    "skills.yaml": [
        "missing_key skills.yaml:3:5",
        "wrong_type skills.yaml:5:17",
        "missing_key skills.yaml:6:5",
        "wrong_type skills.yaml:7:16",
    ],
    "stt.yaml": ["unsupported_stt stt.yaml:2:6"],
    "syntax.yaml": ["yaml_syntax syntax.yaml:2:16"],
    "syntax_error.py": ["python_syntax syntax_error.py:3:14"],
    "tab.yaml": ["tab tab.yaml:3:1"],
    "tags.yaml": [
        "unknown_tag tags.yaml:2:9",
        "wrong_type tags.yaml:2:9",
        "unknown_tag tags.yaml:3:11",
        "unknown_tag tags.yaml:4:8",
        "bad_tool tags.yaml:4:15",
        "bad_tool tags.yaml:4:18",
    ],
    "too_deep.yaml": ["too_deep too_deep.yaml:2:70"],
    "tools.yaml": [
        "tool_signature bad_signature.py:8",
        "python_raised raises_tools.py:2",
        "unknown_tool tools.yaml:3:5",
        "duplicate_tool tools.yaml:5:5",
        "no_tools tools.yaml:6:5",
        "missing_key tools.yaml:9:32",
        "missing_key tools.yaml:9:32",
        "wrong_type tools.yaml:10:5",
    ],
    "unclosed.yaml": ["yaml_syntax unclosed.yaml:2:11"],
    "unknown_alias.yaml": ["unknown_alias unknown_alias.yaml:2:9"],
    "unknown_key.yaml": ["unknown_key unknown_key.yaml:3:1"],
    "utf16.yaml": ["not_utf8 utf16.yaml:1:1"],
    "wrong_types.yaml": [
        "wrong_type wrong_types.yaml:2:9",
        "wrong_type wrong_types.yaml:3:8",
        "wrong_type wrong_types.yaml:4:13",
        "wrong_type wrong_types.yaml:6:25",
        "wrong_type wrong_types.yaml:7:25",
        "wrong_type wrong_types.yaml:8:25",
        "wrong_type wrong_types.yaml:9:8",
        "wrong_type wrong_types.yaml:10:18",
        "wrong_type wrong_types.yaml:11:19",
        "wrong_type wrong_types.yaml:12:16",
        "wrong_type wrong_types.yaml:13:14",
    ],
}
"""File → code and place of each problem, in the order in which they are reported."""

NAMED_BY_OTHERS = {
    "bad_signature.py",
    "good_tools.py",
    "no_tools.py",
    "raises_tools.py",
    "rules.script.yaml",
    "ruff.toml",
}

SEEN_ONLY_BY_RUNNING = {
    "exits.py": [],
    "hangs.py": [],
    "imports.py": [],
    "raises.py": [],
    "tools.yaml": [
        "unknown_tool tools.yaml:3:5",
        "duplicate_tool tools.yaml:5:5",
        "no_tools tools.yaml:6:5",
        "unknown_tool tools.yaml:8:5",
        "missing_key tools.yaml:9:32",
        "missing_key tools.yaml:9:32",
        "wrong_type tools.yaml:10:5",
    ],
}
"""Where the offline check, which runs nothing, says something else than the loader."""


@pytest.fixture(autouse=True)
def in_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CORPUS)


def told(problems: tuple[Problem, ...]) -> list[str]:
    return [f"{problem.code} {problem.where}" for problem in problems]


def refusal(target: Path, limit: float = 2.0) -> AgentFileProblems:
    with pytest.raises(AgentFileProblems) as caught:
        load(target, limit=limit)
    return caught.value


def problems_of(target: Path) -> tuple[Problem, ...]:
    return refusal(target).problems


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_file_is_told_whole_with_every_place(name: str):
    error = refusal(Path(name))
    assert told(error.problems) == BROKEN[name]
    assert error.exit_code == 2
    assert error.where is not None
    for problem in error.problems:
        assert problem.message
        assert not problem.message.endswith(".")
        assert "Traceback" not in problem.message


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_the_offline_check_says_the_same_without_running_anything(name: str):
    (checked,) = check(Path(name))
    expected = SEEN_ONLY_BY_RUNNING.get(name, BROKEN[name])
    assert told(checked.problems) == expected
    assert checked.valid is (not expected)


def test_the_corpus_has_an_expectation_for_every_file():
    files = {path.name for path in CORPUS.iterdir() if path.is_file()}
    assert files - NAMED_BY_OTHERS == set(BROKEN)


def test_a_prompt_of_10_mb_is_refused_where_it_is_named(tmp_path: Path):
    (tmp_path / "huge.md").write_text("word " * 2_000_000)
    (tmp_path / "agent.yaml").write_text("llm: script\nprompt: !file huge.md\n")
    (problem,) = problems_of(tmp_path / "agent.yaml")
    assert (problem.code, problem.line, problem.column) == ("too_long", 2, 9)


def test_a_prompt_of_10_mb_in_the_agent_itself_is_refused_too(tmp_path: Path):
    (tmp_path / "agent.yaml").write_text("llm: script\nprompt: " + "word " * 2_000_000)
    assert told(problems_of(tmp_path / "agent.yaml")) == [f"too_long {tmp_path / 'agent.yaml'}"]


def test_a_prompt_may_have_256_kib_and_no_more(tmp_path: Path):
    agent = tmp_path / "agent.yaml"
    agent.write_text("llm: script\nprompt: " + "x" * 256 * 1024)
    assert len(load(agent)[0].config.prompt or "") == 256 * 1024
    agent.write_text("llm: script\nprompt: x" + "x" * 256 * 1024)
    (problem,) = problems_of(agent)
    assert (problem.code, problem.line, problem.column) == ("too_long", 2, 9)


@pytest.mark.parametrize(
    ("content", "code", "line", "column"),
    [
        (b"fine\n\xff\xfe", "not_utf8", 2, 1),
        (b"fine\nso \x00 far", "binary_file", 2, 4),
        ("é".encode() + b"\x00", "binary_file", 1, 2),
    ],
)
def test_a_prompt_that_is_no_text_is_told_at_its_own_place(
    tmp_path: Path, content: bytes, code: str, line: int, column: int
):
    (tmp_path / "p.md").write_bytes(content)
    (tmp_path / "agent.yaml").write_text("llm: script\nprompt: !file p.md\n")
    (problem,) = problems_of(tmp_path / "agent.yaml")
    assert (problem.code, problem.line, problem.column) == (code, line, column)
    assert problem.file.endswith("p.md")


def test_a_pipe_in_place_of_a_prompt_is_refused_and_never_read(tmp_path: Path):
    os.mkfifo(tmp_path / "p.md")
    (tmp_path / "agent.yaml").write_text("llm: script\nprompt: !file p.md\n")
    (problem,) = problems_of(tmp_path / "agent.yaml")
    assert problem.code == "unreadable_file"


def test_links_that_lead_in_a_circle_are_told(tmp_path: Path):
    (tmp_path / "a.md").symlink_to("b.md")
    (tmp_path / "b.md").symlink_to("a.md")
    (tmp_path / "agent.yaml").write_text("llm: script\nprompt: !file a.md\n")
    (problem,) = problems_of(tmp_path / "agent.yaml")
    assert problem.code == "unreadable_file"


def test_a_nul_in_a_file_name_is_told(tmp_path: Path):
    (tmp_path / "agent.yaml").write_text('llm: script\nprompt: !file "a\\0b"\n')
    (problem,) = problems_of(tmp_path / "agent.yaml")
    assert problem.code == "unreadable_file"


def test_a_missing_file_is_watched_for_because_making_it_mends_the_agent(tmp_path: Path):
    (tmp_path / "agent.yaml").write_text("llm: script\nprompt: !file p.md\n")
    with pytest.raises(AgentFileProblems) as caught:
        load(tmp_path / "agent.yaml")
    assert {tmp_path / "p.md", tmp_path / "agent.yaml"} <= caught.value.watched


def test_a_file_named_almost_like_the_missing_one_is_suggested(tmp_path: Path):
    (tmp_path / "Prompt.txt").write_text("x")
    (tmp_path / "agent.yaml").write_text("llm: script\nprompt: !file prompt.md\n")
    (problem,) = problems_of(tmp_path / "agent.yaml")
    assert problem.hint == "did you mean `Prompt.txt`?"


def test_a_whole_folder_of_broken_files_is_told_in_one_go(tmp_path: Path):
    for name in ("unknown_key.yaml", "raises.py", "stt.yaml"):
        shutil.copy(CORPUS / name, tmp_path)
    codes = {problem.code for problem in problems_of(tmp_path)}
    assert codes == {"unknown_key", "python_raised", "unsupported_stt"}
