"""What the pages and the help say is true: commands run, examples load, nothing is left out.

README's blocks are the data. A shell line with pip is looked at and not run (`.ci/run` runs it);
every other one is run here as it stands, with this environment's `pinecall`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from pinecall_cli import __version__, errors
from pinecall_cli.app import build, run
from pinecall_cli.caller.yaml_file import load_caller
from pinecall_cli.server.phone.numbers import load_numbers
from pinecall_cli.view.picture import picture

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PINECALL = Path(sys.executable).parent / "pinecall"
SPEECH = {"--say", "--input", "--caller"}
"""Options of `call` that need no sound device."""
PATIENCE_S = 120.0
"""For real calls beside other tests on a busy machine; a test that runs into it has failed."""


# --- README's blocks --------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def named_blocks() -> dict[str, str]:
    """Return the blocks whose first line is a comment with their file's name."""
    found = [
        (re.match(r"# (\S+\.(?:yaml|py))\n", one), one)
        for one in re.findall(r"^```(?:yaml|python)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    ]
    return {match[1]: body for match, body in found if match}


def shell_lines() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line]


INSTALLS = [line for line in shell_lines() if "pip install" in line]
LINES = [line for line in shell_lines() if line not in INSTALLS]
RUNS = list(dict.fromkeys([*LINES, *(one.split("&&")[-1].strip() for one in INSTALLS)]))
PINECALLS = [re.sub(r"^\.venv/bin/", "", line) for line in RUNS if "pytest" not in line]


def circumstances(words: list[str]) -> str:
    """Return under what circumstances a command of README is tried here."""
    match words:
        case ["server"] | [*_, "--server", _]:
            return "server and client"
        case ["dev", *_]:
            return "runs until stopped"
        case [*_, "--list-devices"]:
            return "devices"
        case ["call", *options] if not (SPEECH | {"--agent"}) & {*options}:
            return "microphone"
        case ["token", *_] | ["agents", "diff", *_]:
            return "beside dev"
        case ["agents"] | [*_, "front-desk"] | ["call" | "chat", "front-desk", *_]:
            return "beside dev"
        case ["call", *_] if "--agent" in words:
            return "beside dev"
        case _:
            return "alone"


COMMANDS = [shlex.split(line)[1:] for line in dict.fromkeys(PINECALLS)]


def under(name: str) -> list[list[str]]:
    return [words for words in COMMANDS if circumstances(words) == name]


def test_readme_has_the_two_commands_that_set_everything_up():
    run_line, test_line = INSTALLS
    for line, last in ((run_line, "pinecall"), (test_line, "pytest")):
        venv, pip, then = (shlex.split(part) for part in line.split("&&"))
        assert venv == ["python3", "-m", "venv", ".venv"]
        assert pip[:2] == [".venv/bin/pip", "install"]
        extras = re.fullmatch(r"\.\[([a-z,]+)\]", pip[-1])
        assert extras, f"{pip[-1]} does not install from the clone"
        assert {*extras[1].split(",")} <= PROJECT["project"]["optional-dependencies"].keys()
        assert then[0] == f".venv/bin/{last}"
    assert "pinecall" in PROJECT["project"]["scripts"]


def test_ci_takes_both_commands_out_of_readme():
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    patterns = re.findall(r"grep -E '([^']+)' README\.md", script)
    assert [[line for line in README.splitlines() if re.search(p, line)] for p in patterns] == [
        [line] for line in INSTALLS
    ]


def test_every_line_of_readme_is_one_of_ours():
    assert all(line.startswith("pinecall ") for line in LINES)
    for words in COMMANDS:
        assert parses(words), words


# --- README's commands, run -------------------------------------------------------------------


class Terminal:
    """A shell in a folder of its own: what README's reader has around them."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        (home / "run").mkdir(parents=True, exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PINECALL_", "XDG_"))}
        if models := os.environ.get("PINECALL_MODELS"):
            kept["PINECALL_MODELS"] = models
        self.env = kept | {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}

    def run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PINECALL, *words],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    @contextmanager
    def running(self, words: list[str], ready: str) -> Iterator[None]:
        """Run a command that stays; it must say `ready`, and end as asked by SIGTERM."""
        process = subprocess.Popen(
            [PINECALL, *words],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said: list[str] = []
        patience = threading.Timer(PATIENCE_S, process.kill)
        with process, ThreadPoolExecutor() as reader:
            try:
                patience.start()
                assert process.stdout is not None
                while ready not in (line := process.stdout.readline()):
                    said.append(line)
                    assert line, f"{words} ended: {''.join(said)}"
                patience.cancel()
                reader.submit(process.stdout.read)  # so that no pipe fills up
                yield
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_S) == 143
            finally:
                patience.cancel()
                process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what README speaks of: the clone's agents, its own examples, a recording."""
    shutil.copytree(ROOT / "agents", tmp_path / "agents")
    shutil.copy(ROOT / "tests/audio_clips/caller_03.wav", tmp_path / "question.wav")
    for name, text in named_blocks().items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_the_calls_and_questions_of_readme_run_beside_a_running_dev(folder: Path, tmp_path: Path):
    _, dev = under("runs until stopped")
    lines = under("beside dev")
    assert len(lines) >= 5
    terminal = Terminal(folder, tmp_path / "home")
    with terminal.running(dev, ready="front-desk"), ThreadPoolExecutor() as callers:
        for words, done in zip(lines, callers.map(terminal.run, lines), strict=True):
            assert done.returncode == 0, (words, done.stderr)
            assert "front-desk" in done.stdout, words
    assert (folder / "reply.wav").stat().st_size > 16_000


def test_the_other_commands_of_readme_run_on_their_own(folder: Path, tmp_path: Path):
    lines = under("alone")
    assert len(lines) >= 4
    terminal = Terminal(folder, tmp_path / "home")
    for words in lines:
        done = terminal.run(words)
        assert done.returncode == 0, (words, done.stderr)
        assert done.stdout, words
        if "--json" in words:
            assert [json.loads(one) for one in done.stdout.splitlines()]


def test_listing_the_sound_devices_works_with_and_without_any(folder: Path, tmp_path: Path):
    (words,) = under("devices")
    done = Terminal(folder, tmp_path / "home").run(words)
    assert done.returncode == 0 or (done.returncode == 3 and "fix: " in done.stderr)


def test_the_server_of_readme_takes_the_agent_of_the_next_line(folder: Path, tmp_path: Path):
    server, dev = under("server and client")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert dev[-1].endswith(":4747"), "the port `server` takes when none is named"
    joined = [*dev[:-1], dev[-1].replace(":4747", f":{port}")]
    terminal = Terminal(folder, tmp_path / "home")
    with (
        terminal.running([*server, "--port", str(port)], ready=str(port)),
        terminal.running(joined, ready="front-desk"),
    ):
        assert "front-desk" in terminal.run(["agents"]).stdout


def test_the_examples_of_readme_are_agents(folder: Path, tmp_path: Path):
    dev, _ = under("runs until stopped")
    terminal = Terminal(folder, tmp_path / "home")
    with terminal.running(dev, ready="dev.ready"):
        listed = json.loads(terminal.run(["agents", "--json"]).stdout)
    assert {one["agent"] for one in listed["agents"]} == {"lamps", "lamps-in-python"}


def test_the_caller_of_readme_is_one(folder: Path):
    caller = load_caller(folder / "caller.yaml")
    assert caller.from_number == "+14155550100"
    assert len(caller.steps) == 5


def test_the_numbers_of_readme_are_some(folder: Path):
    found = load_numbers(folder / "numbers.yaml")
    assert list(found) == ["+14155550100", "+14155550101", "+14155550102"]
    assert {number.ring_ms for number in found.values()} == {500}


def test_the_script_of_readme_is_the_one_that_is_tried_in_a_browser():
    (script,) = blocks("js")
    page = (ROOT / "tests/end_to_end_browser/page.html").read_text("utf-8")
    assert textwrap.indent(script, "  ").strip() in page


def test_the_workflow_of_readme_installs_from_a_clone_and_runs_commands_of_ours():
    (text,) = (one for one in blocks("yaml") if one.startswith("# .github/workflows/"))
    (job,) = yaml.safe_load(text)["jobs"].values()
    runs = [shlex.split(step["run"]) for step in job["steps"] if "run" in step]
    options = [step.get("with", {}) for step in job["steps"]]
    clone = next(given["path"] for given in options if "repository" in given)
    assert runs[0] == ["pip", "install", f"./{clone}[voice]"]
    for words in runs[1:]:
        assert words[0] == "pinecall"
        assert parses(words[1:]), words
    assert ["test", "agents"] in [words[1:3] for words in runs]
    assert "--junit" in runs[-1]
    assert job["steps"][-1]["with"]["path"] == runs[-1][-1]


def test_a_rule_of_the_yaml_example_answers_from_its_tool(folder: Path, tmp_path: Path):
    words = ["call", "lamps.yaml", "--say", "How much is the red lamp?", "--json"]
    done = Terminal(folder, tmp_path / "home").run(words)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    said = [one["text"] for one in records if one["type"] == "message.confirmed"]
    assert "The red lamp is 40 euros." in said
    assert records[-1]["type"] == "call.summary"


# --- what README tells --------------------------------------------------------------------------


def test_the_picture_in_readme_is_the_one_the_program_draws(tmp_path: Path):
    (path,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    picture(tmp_path / "now.svg")
    drawn = (tmp_path / "now.svg").read_text("utf-8")
    assert (ROOT / path).read_text("utf-8") == drawn, f"python -m pinecall_cli.view.picture {path}"


def test_readme_names_every_exit_code_we_have():
    table = {
        int(code)
        for row in re.findall(r"^\| ([\d, ]+) \|", README, re.M)
        for code in row.split(",")
    }
    ours = {cls.exit_code for cls in vars(errors).values() if hasattr(cls, "exit_code")}
    assert table == ours | {0, 130, 143}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_link_to_a_file_leads_to_one(page: str):
    text = (ROOT / page).read_text("utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), link


def test_the_newest_part_of_the_changelog_is_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## \[?([^\s\]]+)", changelog, re.M)
    assert headings[0] in ("Unreleased", __version__)


# --- help ----------------------------------------------------------------------------------------


def commands(
    command: Any = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with the words that lead to it, the program itself included."""
    command = command or typer.main.get_command(build())
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


EVERY = {" ".join(path): command for path, command in commands()}


def parses(words: list[str]) -> bool:
    """Tell whether a command line is one the program takes; nothing of it is run."""
    return run([*words, "--help"]) == 0


def examples(command: Any) -> list[str]:
    """Return the command lines under ``Examples:`` in a command's help."""
    _, _, after = (command.help or "").partition("Examples:\n")
    return [line.strip() for line in after.splitlines() if line.strip()]


@pytest.mark.parametrize("path", EVERY)
def test_every_help_has_two_examples_that_parse(path: str, capsys: pytest.CaptureFixture[str]):
    shown = examples(EVERY[path])
    assert len(shown) >= 2
    for line in shown:
        words = shlex.split(line)
        assert words[0] == "pinecall"
        assert " ".join(words[1:]).startswith(path), f"{line} is an example of something else"
        assert parses(words[1:]), line
        for word in words:
            if word.startswith("agents/"):
                assert (ROOT / word).exists(), line
    capsys.readouterr()
    assert run([*path.split(), "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(line in printed for line in shown), "an example is wrapped or mangled"


@pytest.mark.parametrize("path", EVERY)
def test_every_option_has_help(path: str):
    for parameter in EVERY[path].params:
        if parameter.name not in ("install_completion", "show_completion"):
            assert getattr(parameter, "help", None), f"{path}: {parameter.name}"


@pytest.mark.parametrize("path", [path for path in EVERY if path])
def test_every_command_stands_in_readme(path: str):
    assert f"`pinecall {path}`" in README


# --- CONTRIBUTING ---------------------------------------------------------------------------------


def test_contributing_shows_every_folder_of_the_package_and_no_other():
    tree = re.search(r"^pinecall_cli/\n((?:  .*\n)+)", CONTRIBUTING, re.M)
    assert tree
    shown = set(re.findall(r"^  (\w+)/", tree[1], re.M))
    package = ROOT / "pinecall_cli"
    assert shown == {one.parent.name for one in package.glob("*/__init__.py")}


def test_every_file_contributing_names_is_there():
    for name in re.findall(
        r"`((?:pinecall_cli|tests|agents|\.ci|\.github)/[\w./-]*)`", CONTRIBUTING
    ):
        assert "NAME" in name or (ROOT / name).exists(), name
