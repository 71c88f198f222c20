"""`pinecall test` as CI runs it: the installed command, the agents that are here, no network."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.end_to_end.conftest import Start
from tests.end_to_end.program import COMMAND, Program

ROOT = Path(__file__).parents[2]
REQUIRED = os.environ.get("PINECALL_NAMESPACE_TESTS") == "required"
"""Set by `.ci/run` where it is root: there a skip is a failure."""
WITHOUT_ROUTES = """
import errno, fcntl, os, socket, struct, sys
with socket.socket() as any:
    UP = 0x1 | 0x40  # IFF_UP, IFF_RUNNING: a new namespace has its loopback down
    fcntl.ioctl(any, 0x8914, struct.pack("16sH22x", b"lo", UP))
    assert any.connect_ex(("192.0.2.1", 80)) == errno.ENETUNREACH
os.execv(sys.argv[1], sys.argv[1:])
"""
PATIENCE_S = 120.0


def namespace() -> list[str]:
    """Return the words that run a program in a network of its own; none if nothing does."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        return []
    for words in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    return []


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "agents", tmp_path / "agents"))


def finished(program: Program) -> tuple[int, dict[str, bool]]:
    """Return how a run ended, and for each spec whether it passed."""
    code = program.end(patience=PATIENCE_S)
    marks = [line.split()[:2] for line in program.out if line.startswith(("PASS", "FAIL", "ERROR"))]
    return code, {Path(file).name.partition(".spec")[0]: mark == "PASS" for mark, file in marks}


# --- green --------------------------------------------------------------------------------


def test_the_agents_pass_their_specs_in_a_namespace_without_routes(
    start: Start, agents: Path, tmp_path: Path
):
    words = namespace()
    if not words:
        assert not REQUIRED, "no network namespace can be made (Docker: --cap-add SYS_ADMIN)"
        pytest.skip("no network namespace can be made")
    alone = [*words, sys.executable, "-c", WITHOUT_ROUTES, COMMAND]
    program = start("test", f"{agents.name}/", "--junit", "junit.xml", command=alone)
    code, passed = finished(program)
    assert code == 0, program.out + program.talk
    assert passed == {
        "front_desk.text": True,
        "front_desk.voice": True,
        "reservations.text": True,
        "reservations.voice": True,
    }
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("tests") == "4"


# --- red ----------------------------------------------------------------------------------


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), "utf-8")


REGRESSIONS: dict[str, tuple[str, str, str, str]] = {
    "prompt": (
        "prompts/front_desk.md",
        "You are the front desk of",
        "You work for",
        "says: front desk of Initech",
    ),
    "script": (
        "scripts/front_desk.script.yaml",
        "Sure. What is the order number?",
        "Sure.",
        "says: What is the order number",
    ),
    "a tool that is not called any more": (
        "scripts/front_desk.script.yaml",
        'call: {opening_hours: {day: "{day}"}}\n  say: "{result.message}"',
        'say: "We are closed on {day}."',
        "tool: opening_hours",
    ),
    "a tool that answers something else": (
        "front_desk_tools.py",
        "arrives tomorrow",
        "arrives some day",
        "says: desk lamp.*arrives tomorrow",
    ),
    "latency": (
        "scripts/front_desk.script.yaml",
        "- on: '\\border\\b\\D",
        "- first_token_ms: 4100\n  on: '\\border\\b\\D",
        "within_ms: {reply: 4000}",
    ),
}


@pytest.mark.parametrize(
    ("file", "old", "new", "expectation"), REGRESSIONS.values(), ids=REGRESSIONS
)
def test_a_regression_turns_its_spec_red_and_no_other(
    start: Start, agents: Path, file: str, old: str, new: str, expectation: str
):
    change(agents / file, old, new)
    code, passed = finished(start("test", agents, "-k", "text"))
    assert (code, passed) == (1, {"front_desk.text": False, "reservations.text": True})
    text = (agents / "tests" / "front_desk.text.spec.yaml").read_text("utf-8")
    (line,) = (n for n, one in enumerate(text.splitlines(), 1) if expectation in one)
    as_json = start("test", agents, "-k", "front_desk.text", "--json")
    assert as_json.end() == 1
    (result,) = json.loads("".join(as_json.out))["results"]
    assert line in [failure["line"] for failure in result["failures"]]


def test_a_slow_answer_turns_a_voice_spec_red(start: Start, agents: Path):
    old = "- on: '\\border\\b\\D"
    change(
        agents / "scripts/front_desk.script.yaml",
        old,
        old.replace("-", "- first_token_ms: 5000\n ", 1),
    )
    spec = agents / "tests" / "front_desk.voice.spec.yaml"
    kept, _, rest = spec.read_text("utf-8").partition("  - say: Tell me about")
    spec.write_text(kept + rest[rest.index("mocks:") :], "utf-8")
    program = start("test", spec)
    code, passed = finished(program)
    assert (code, passed) == (1, {"front_desk.voice": False})
    assert [line for line in program.out if "expected" in line] == [
        line for line in program.out if "expected first_audio within 5000 ms" in line
    ]


# --- neither ------------------------------------------------------------------------------


def test_a_broken_spec_ends_with_2_and_places(start: Start, agents: Path):
    change(agents / "tests" / "reservations.text.spec.yaml", "tool: book_table", "tol: book_table")
    program = start("test", "agents", "--json")
    assert program.end() == 2
    assert program.talk[0] == "error: unknown key `tol`"
    assert program.talk[1] == "  where: agents/tests/reservations.text.spec.yaml:11:9"
    assert program.talk[2] == "  fix: did you mean `tool`?"
    (line,) = program.out
    assert json.loads(line)["error"]["where"] == "agents/tests/reservations.text.spec.yaml:11:9"


def test_a_dead_server_ends_with_3(start: Start, agents: Path):
    words = ("test", "agents", "-k", "text", "--api-key", "-")
    program = start(*words, "--server", "http://127.0.0.1:9", stdin="pk_any\n")
    assert (program.end(), program.out) == (3, [])
    assert program.talk[0] == "error: cannot reach ws://127.0.0.1:9/client: connection refused"


def test_no_match_ends_with_5(start: Start, agents: Path):
    program = start("test", "agents", "-k", "nothing")
    assert (program.end(), program.out) == (5, [])
    assert program.talk[0] == "error: no spec matches `-k nothing`"
    as_json = start("test", "agents", "-k", "nothing", "--json")
    assert as_json.end() == 5
    assert json.loads("".join(as_json.out))["error"]["code"] == "nothing_ran"


# --- interrupted --------------------------------------------------------------------------


def still_there(folder: Path) -> list[str]:
    """Return the command lines of processes that name a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if os.fsencode(folder) in words:
            found.append(words.decode(errors="replace"))
    return found


HANGS = "import time\n\nprint('hanging')\ntime.sleep(60)\n"


def in_a_call(program: Program) -> None:
    program.shows("PASS")  # a text spec is done, and a call goes on


def in_an_import(program: Program) -> None:
    program.hears("specs run on a server inside this program")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", [in_a_call, in_an_import])
def test_an_interrupted_run_leaves_no_process_and_no_half_a_report(
    start: Start,
    agents: Path,
    tmp_path: Path,
    moment: Callable[[Program], None],
    sent: signal.Signals,
    code: int,
):
    if moment is in_an_import:
        (agents / "reservations.py").write_text(HANGS, "utf-8")
    report = tmp_path / "reports" / "junit.xml"
    program = start("test", agents, "--junit", report)
    moment(program)
    program.signal(sent)
    assert program.end() == code
    assert not any("Traceback" in line for line in program.talk)
    assert still_there(tmp_path) == []
    assert [path.name for path in report.parent.iterdir()] in ([], ["junit.xml"])
    if report.exists():
        assert len(ElementTree.parse(report).getroot().findall(".//testcase")) < 4
