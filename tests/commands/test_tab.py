"""How TAB is answered: what a shell asks in its environment, and the lines that it reads."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st
from typer._click.shell_completion import get_completion_class

from pinecall_cli.app import build, run
from pinecall_cli.commands import tab
from pinecall_cli.commands.completion_scripts import ASK, FILES, LINE, SCRIPTS, WORD, WORDS
from tests.end_to_end.shells import REQUIRED

ROOT = Path(__file__).parents[2]


def answer(line: str) -> list[str]:
    """Return the lines of the answer to TAB behind a line."""
    words, last = tab.split(line)
    answering = tab.Answer(typer.main.get_command(build()), {}, "pinecall", "_PINECALL_COMPLETE")
    return answering.answer(words[1:], last)


def offered(line: str) -> list[str]:
    return [row.partition("\t")[0] for row in answer(line)[1:]]


# --- what was typed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pinecall ", (["pinecall"], "")),
        ("pinecall ag", (["pinecall"], "ag")),
        ("pinecall  call \t x", (["pinecall", "call"], "x")),
        ("pinecall --server http://h:1 fr", (["pinecall", "--server", "http://h:1"], "fr")),
        ("pinecall call --say 'a b' ", (["pinecall", "call", "--say", "a b"], "")),
        ("pinecall call --say 'a b", (["pinecall", "call", "--say"], "a b")),
        (r"pinecall dev my\ fi", (["pinecall", "dev"], "my fi")),
        (r"pinecall dev my\ ", (["pinecall", "dev"], "my ")),
        ("pinecall dev x#y", (["pinecall", "dev"], "x#y")),
        ("", ([], "")),
    ],
)  # fmt: skip
def test_a_line_is_split_as_a_shell_splits_it(line: str, expected: tuple[list[str], str]):
    assert tab.split(line) == expected


@given(st.text())
def test_any_line_is_answered(line: str):
    words, last = tab.split(line)
    assert isinstance(last, str)
    assert all(isinstance(word, str) for word in words)


def test_a_shell_hands_over_its_line_or_its_words():
    assert tab.asked({LINE: "pinecall call fr", WORDS: "other"}) == (["call"], "fr")
    assert tab.asked({WORDS: "call\n--say\na b", WORD: "fr"}) == (["call", "--say", "a b"], "fr")
    assert tab.asked({WORDS: "", WORD: "ag"}) == ([], "ag")
    assert tab.asked({}) == ([], "")


# --- what is offered --------------------------------------------------------------------------


def test_commands_are_offered_with_the_first_line_of_their_help():
    rows = answer("pinecall ag")
    assert rows[0] == "nothing"
    (row,) = rows[1:]
    assert row.startswith("agents\tList connected agents")
    assert "check" in offered("pinecall agents ")


def test_behind_a_word_that_is_no_command_nothing_is_offered():
    assert answer("pinecall nosuch ") == answer("pinecall agents nosuch ") == ["nothing"]


def test_an_option_that_ends_the_program_does_not_run_while_completing(
    capsys: pytest.CaptureFixture[str],
):
    assert offered("pinecall --version lis") == ["listen"]
    assert capsys.readouterr().out == ""


def test_values_of_options_are_offered_alone_and_behind_an_equals_sign():
    assert offered("pinecall token x --channel w") == ["webrtc"]
    assert offered("pinecall token x --channel=w") == ["--channel=webrtc"]
    assert offered("pinecall completion ") == list(SCRIPTS)
    assert offered("pinecall logs --event tool.") == ["tool.call", "tool.result"]


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("pinecall dev ", "files"),
        ("pinecall call ", "files"),
        ("pinecall call --agent ", "files"),
        ("pinecall call --answer ", "files"),
        ("pinecall call --caller=", "files"),
        ("pinecall agents show ", "files"),
        ("pinecall agents check a.yaml ", "files"),
        ("pinecall dev --record ", "folders"),
        ("pinecall server --data ", "folders"),
        ("pinecall token ", "nothing"),
        ("pinecall listen ", "nothing"),
        ("pinecall agents kick ", "nothing"),
        ("pinecall logs --agent ", "nothing"),
        ("pinecall login --api-key ", "nothing"),
    ],
)
def test_files_and_folders_fit_where_they_are_meant(line: str, fits: str):
    assert answer(line)[0] == fits


def every_parameter() -> list[tuple[str, object]]:
    """Return every option and argument that takes a value, with its command."""
    found = []

    def walk(command: object, path: str) -> None:
        for parameter in command.params:  # type: ignore[attr-defined]
            if not getattr(parameter, "is_flag", False):
                found.append((path, parameter))
        for name, child in getattr(command, "commands", {}).items():
            walk(child, f"{path} {name}".strip())

    walk(typer.main.get_command(build()), "")
    return found


NAMES = {"AGENT", "SLUG", "CALL_ID", "IN[:OUT]", "OUT", "TARGET", "A"}
FREE = {("dev", "as_"), ("dev", "target"), ("agents diff", "target")}
"""Names that somebody makes up, and targets that are files alone."""


def test_whatever_takes_the_name_of_something_offers_names():
    """So that a new command does not forget it."""
    for path, parameter in every_parameter():
        meant = (parameter.metavar or "").strip("[].")  # type: ignore[attr-defined]
        if (parameter.metavar in NAMES or meant in NAMES) and (path, parameter.name) not in FREE:  # type: ignore[attr-defined]
            assert parameter._custom_shell_complete is not None, (path, parameter.name)  # type: ignore[attr-defined]


def test_what_is_said_about_a_name_is_short_plain_and_one_line():
    assert tab.about("Speak TEXT with a `local` voice; repeat for more.") == (
        "Speak TEXT with a local voice"
    )
    assert tab.about("a\tb\nc") == "a b"
    assert tab.about("\x1b[2J $(reboot) é") == "2J (reboot)"
    long = tab.about("word " * 40)
    assert len(long) <= tab.LONGEST_ABOUT
    assert long.endswith("...")


def test_what_cannot_be_read_offers_nothing_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setenv("_PINECALL_COMPLETE", f"complete_{ASK}")
    monkeypatch.setenv(LINE, "pinecall login --profile ")
    with pytest.raises(SystemExit) as ended:
        run([])
    assert ended.value.code == 0
    assert capfd.readouterr() == ("nothing\n", "")


# --- the scripts ------------------------------------------------------------------------------


def test_each_shell_has_a_file():
    assert {file.name for file in (ROOT / "completions").iterdir()} == {*FILES.values()}
    assert FILES.keys() == SCRIPTS.keys()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_files_in_completions_are_what_the_command_prints(
    shell: str, capsys: pytest.CaptureFixture[str]
):
    assert run(["completion", shell]) == 0
    printed = capsys.readouterr().out
    path = f"completions/{FILES[shell]}"
    written = (ROOT / path).read_text("utf-8")
    assert written == printed, f"write it anew: pinecall completion {shell} > {path}"


@pytest.mark.parametrize("shell", [*SCRIPTS, "pwsh"])
def test_typers_own_options_print_and_install_the_same_scripts(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # names the shell
    with pytest.raises(SystemExit):
        run(["--show-completion", shell])
    ours = SCRIPTS["powershell" if shell == "pwsh" else shell]
    assert capsys.readouterr().out.rstrip("\n") == ours


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".bash_completions/pinecall.sh"),
        ("zsh", ".zfunc/_pinecall"),
        ("fish", ".config/fish/completions/pinecall.fish"),
    ],
)
def test_installing_puts_the_script_in_its_place(
    shell: str, place: str, empty_home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    with pytest.raises(SystemExit):
        run(["--install-completion", shell])
    assert (empty_home / place).read_text().rstrip("\n") == SCRIPTS[shell]


def test_a_shell_without_a_script_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    assert run(["completion", "tcsh"]) == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_script_asks_in_the_way_that_is_answered(shell: str):
    script = SCRIPTS[shell]
    assert f"complete_{ASK}" in script
    assert (LINE in script) != (WORDS in script and WORD in script)
    assert get_completion_class(ASK) is tab.Answer
    assert "eval" not in script
    assert "Invoke-Expression" not in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_one_that_its_shell_can_read(shell: str):
    if shutil.which(shell) is None and not REQUIRED:
        pytest.skip(f"{shell} is not installed")
    file = ROOT / "completions" / FILES[shell]
    done = subprocess.run([shell, "-n", file], capture_output=True, check=False, env=os.environ)
    assert (done.returncode, done.stderr) == (0, b"")
