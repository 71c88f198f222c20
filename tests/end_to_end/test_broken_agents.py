"""Every broken agent is refused by ``dev`` with what is wrong and where, and exit code 2."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.end_to_end.program import COMMAND

CORPUS = Path(__file__).parents[1] / "agent" / "broken"
PARTS = {"good_tools.py", "bad_signature.py", "raises_tools.py", "no_tools.py"}
"""Files that agents of the corpus name; they are not agents."""
FILES = sorted(
    path
    for path in CORPUS.iterdir()
    if path.suffix in (".yaml", ".py") and path.name not in PARTS and ".script." not in path.name
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_broken_agent_is_refused_with_its_place(path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "dev", str(path), "--json"],
        capture_output=True,
        timeout=60,
        cwd=tempfile.gettempdir(),
    )
    assert done.returncode == 2, done.stderr.decode()
    problems = [json.loads(line) for line in done.stdout.splitlines()]
    assert problems
    for problem in problems:
        assert problem["type"] == "error"
        assert problem["error"].keys() >= {"code", "message", "hint", "where"}
        file, _, place = problem["error"]["where"].rpartition(".")
        assert file
        assert ":" in place, "no line"
    talk = done.stderr.decode()
    assert talk.startswith("error: ")
    assert talk.count("error: ") >= len(problems)
    assert f"  where: {problems[0]['error']['where']}" in talk
    assert "Traceback" not in talk


def test_a_prompt_of_ten_megabytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompt.md").write_text("word " * 2_000_000, encoding="utf-8")
    agent = tmp_path / "agent.yaml"
    agent.write_text("{name: desk, prompt: !file prompt.md}", encoding="utf-8")
    done = subprocess.run([COMMAND, "dev", str(agent), "--json"], capture_output=True, timeout=60)
    assert done.returncode == 2
    (problem,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert problem["error"]["where"].endswith("agent.yaml:1:22")


def test_an_agent_that_prints_and_starts_a_thread_that_never_ends_can_be_ended(
    tmp_path: Path,
) -> None:
    agent = tmp_path / "noisy.py"
    agent.write_text(
        "import sys, threading\n"
        "from pinecall_cli import Agent\n"
        "print('to stdout'); print('to stderr', file=sys.stderr)\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "rules = [{'say': 'Hi.'}]\n"
        "agent = Agent('noisy', prompt='Hi.', local={'llm': 'script', 'script': rules})\n",
        encoding="utf-8",
    )
    dev = subprocess.Popen(
        [COMMAND, "dev", str(agent), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert dev.stdout is not None
        for line in dev.stdout:
            if json.loads(line)["type"] == "dev.ready":
                break
        dev.terminate()
        # A thread of the agent's that never ends does not keep the command alive.
        assert [json.loads(line)["type"] for line in dev.stdout][-1] == "dev.stopped"
        assert dev.wait(20) == 143
    finally:
        dev.kill()
        dev.communicate()
