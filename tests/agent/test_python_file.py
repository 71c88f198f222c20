"""Importing users' files: fresh each time, bounded, caught, and honest about whose fault it is."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.capture import MAX_CAPTURED, captured_output
from pinecall_cli.agent.define import Agent
from pinecall_cli.agent.problems import AgentFileProblems
from pinecall_cli.agent.python_file import Imported, import_file

AGENT = "from pinecall_cli.agent.define import Agent, tool\n"


@pytest.fixture
def run(tmp_path: Path):
    def run(source: str, name: str = "agent.py", limit: float = 5.0) -> Imported:
        (tmp_path / name).write_text(source if "__future__" in source else AGENT + source)
        return import_file(tmp_path / name, limit=limit)

    return run


def refusal(run: Any, source: str, **options: Any) -> AgentFileProblems:
    with pytest.raises(AgentFileProblems) as caught:
        run(source, **options)
    return caught.value


def test_module_level_agents_belong_to_the_file(run):
    imported = run("""
a = Agent("a")
listed = [Agent("b")]
def make():
    return Agent("c")
c = make()
def never():
    return Agent("d")
""")
    assert [agent.name for agent in imported.agents()] == ["a", "b", "c"]


def test_agents_of_a_module_beside_it_belong_to_it_only_if_it_takes_them(run, tmp_path: Path):
    (tmp_path / "other.py").write_text(AGENT + "x = Agent('x')\ny = Agent('y')\n")
    imported = run("from other import x\nown = Agent('own')")
    assert [agent.name for agent in imported.agents()] == ["x", "own"]
    assert {path.name for path in imported.watched} == {"agent.py", "other.py"}


def test_a_module_that_imports_the_file_back_makes_no_second_agent(run, tmp_path: Path):
    (tmp_path / "back.py").write_text("import agent\n")
    imported = run("import back\none = Agent('one')")
    assert [agent.name for agent in imported.agents()] == ["one"]
    assert imported.agents()[0] is imported.namespace["one"]


def test_each_load_starts_anew(run, tmp_path: Path):
    (tmp_path / "state.py").write_text("seen = []\n")
    source = "import state\nstate.seen.append(1)\ncount = len(state.seen)"
    assert run(source).namespace["count"] == 1
    assert run(source).namespace["count"] == 1


def test_two_saves_within_a_second_are_two_versions(run, tmp_path: Path):
    helper = tmp_path / "helper.py"
    for n in range(3):
        helper.write_text(f"value = {n}\n")
        assert run("from helper import value").namespace["value"] == n


def test_packages_in_the_folder_are_found_and_fresh(run, tmp_path: Path):
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "__init__.py").write_text("from kit.deep import value\n")
    for n in range(2):
        (tmp_path / "kit" / "deep.py").write_text(f"value = {n}\n")
        imported = run("import kit\nvalue = kit.value")
        assert imported.namespace["value"] == n
    assert {p.name for p in imported.watched} == {"agent.py", "__init__.py", "deep.py"}


def test_a_folder_without_init_is_a_package_too(run, tmp_path: Path):
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "part.py").write_text("value = 1\n")
    imported = run("from loose import part\nvalue = part.value")
    assert imported.namespace["value"] == 1


def test_an_import_inside_a_function_works_later(run, tmp_path: Path):
    (tmp_path / "lazily.py").write_text("value = 7\n")
    imported = run("def later():\n    from lazily import value\n    return value")
    assert imported.namespace["later"]() == 7


def test_a_package_that_looks_for_an_optional_one_does_not_find_the_users(run, tmp_path: Path):
    (tmp_path / "optional_of_theirs.py").write_text("raise SystemExit('the user ran')\n")
    run("x = 1")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("optional_of_theirs")


def test_a_module_of_the_users_does_not_hide_one_of_the_standard_library(run, tmp_path: Path):
    (tmp_path / "colorsys.py").write_text("mine = True\n")
    sys.modules.pop("colorsys", None)
    run("x = 1")
    import colorsys

    assert not hasattr(colorsys, "mine")


def test_dataclasses_and_type_hints_find_their_module(run):
    imported = run("""
from __future__ import annotations
from dataclasses import dataclass
from pinecall_cli.agent.define import tool
@dataclass
class Guest:
    name: str
@tool
def greet(guest: Guest) -> str:
    return guest.name
""")
    tool = imported.namespace["greet"]
    assert tool.parameters["properties"]["guest"]["type"] == "object"
    assert sys.modules[imported.namespace["__name__"]].__dict__ is imported.namespace


def test_what_it_prints_is_kept_and_not_shown(run, capsys: pytest.CaptureFixture[str]):
    imported = run("""
import sys
print("hello")
print()
sys.stderr.write("careful\\n")
sys.stdout.flush()
assert not sys.stdout.isatty() and sys.stdout.writable()
sys.stdout.buffer.write(b"bytes")
assert sys.stdout.encoding and sys.stdout.errors
""")
    assert imported.notices == ("hello", "careful")
    assert capsys.readouterr() == ("", "")


def test_a_file_that_prints_without_end_is_kept_to_its_beginning(run):
    imported = run("for n in range(20000): print('x' * 99)")
    assert sum(len(line) + 1 for line in imported.notices) <= MAX_CAPTURED + 1


def test_other_threads_print_as_before_while_a_file_is_imported(
    capsys: pytest.CaptureFixture[str],
):
    with captured_output() as output:
        print("ours")
        sys.stdout.flush()
        sys.stdout.isatty()
        worker = threading.Thread(target=print, args=("theirs",))
        worker.start()
        worker.join()
    assert output.lines() == ["theirs"]
    assert capsys.readouterr().out == "ours\n"


def test_a_stream_kept_from_the_import_goes_on_to_the_real_one(
    run, capsys: pytest.CaptureFixture[str]
):
    imported = run("""
import logging, sys
handler = logging.StreamHandler(sys.stderr)
""")
    imported.namespace["handler"].handle(logging.makeLogRecord({"msg": "later"}))
    assert capsys.readouterr().err == "later\n"


def test_a_stream_that_was_replaced_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    theirs = sys.__stdout__
    with captured_output():
        monkeypatch.setattr(sys, "stdout", theirs)
    assert sys.stdout is theirs


# --- faults -----------------------------------------------------------------------------------


def test_no_such_file_is_ours_to_say(tmp_path: Path):
    with pytest.raises(AgentFileProblems, match="is not there") as caught:
        import_file(tmp_path / "nowhere.py")
    assert caught.value.code == "missing_file"
    with pytest.raises(AgentFileProblems, match="is no file"):
        import_file(tmp_path)


def test_a_file_that_cannot_be_read_is_told(run, tmp_path: Path, monkeypatch):
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "agent.py").write_text("")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(AgentFileProblems, match="Permission denied"):
        import_file(tmp_path / "agent.py")


def test_a_file_beyond_all_measure_is_not_read(run, tmp_path: Path):
    with (tmp_path / "agent.py").open("wb") as file:
        file.truncate(5 * 1024 * 1024)
    with pytest.raises(AgentFileProblems, match="larger than 4 MiB"):
        import_file(tmp_path / "agent.py")


def test_a_binary_file_is_told(tmp_path: Path):
    (tmp_path / "agent.py").write_bytes(b"x = 1\n\x00")
    with pytest.raises(AgentFileProblems, match="binary file"):
        import_file(tmp_path / "agent.py")


def test_what_it_raises_is_told_with_the_users_own_line(run):
    error = refusal(run, "def f():\n    return 1 / 0\n\nf()")
    assert (error.code, error.where.line) == ("python_raised", 3)
    assert error.message == "your file raised ZeroDivisionError: division by zero"


def test_what_a_library_raises_is_told_at_the_users_line(run):
    error = refusal(run, "import json\njson.loads('{')")
    assert error.where.line == 3


def test_what_a_module_beside_it_raises_is_told_in_that_module(run, tmp_path: Path):
    (tmp_path / "helper.py").write_text("\nraise OSError('gone')\n")
    error = refusal(run, "import helper")
    assert str(error.where) == f"{tmp_path / 'helper.py'}:2"
    assert tmp_path / "agent.py" in error.watched


def test_a_syntax_error_in_a_module_beside_it_is_told_there(run, tmp_path: Path):
    (tmp_path / "helper.py").write_text("x = (\n")
    error = refusal(run, "import helper")
    assert (error.code, str(error.where)) == ("python_syntax", f"{tmp_path / 'helper.py'}:1:5")


def test_a_syntax_error_of_its_own_making_is_an_ordinary_one(run):
    assert refusal(run, "raise SyntaxError('odd')").code == "python_raised"


def test_leaving_the_program_is_not_leaving_ours(run):
    for leaving in ("raise SystemExit", "import sys; sys.exit('bye')", "quit()"):
        assert refusal(run, leaving).code == "python_exit"


def test_an_interrupt_raised_in_the_file_is_its_own(run):
    assert refusal(run, "raise KeyboardInterrupt").code == "python_raised"


def test_an_import_without_a_name_is_told_as_it_is(run):
    assert refusal(run, "raise ModuleNotFoundError").code == "python_raised"


def test_a_tool_that_cannot_be_one_is_told_at_its_function(run):
    error = refusal(run, "class X: ...\n@tool\ndef f(x: X): ...")
    assert (error.code, error.where.line) == ("tool_signature", 3)


def test_a_wrong_agent_is_told_at_its_keyword(run, tmp_path: Path):
    error = refusal(run, "a = Agent('a', stt='deepgram/nova-2')")
    assert str(error.where) == f"{tmp_path / 'agent.py'}:2:20"


@pytest.mark.parametrize(
    "endless",
    ["while True: pass", "import threading\nthreading.Event().wait()", "import slow"],
)
def test_a_file_that_hangs_is_given_up_and_the_next_load_is_not_held_up(
    run, tmp_path: Path, endless: str
):
    (tmp_path / "slow.py").write_text("import threading\nthreading.Event().wait()\n")
    error = refusal(run, endless, limit=1.0)
    assert error.code == "import_timeout"
    assert error.where.line is not None
    assert "after 1 s" in error.message
    (tmp_path / "slow.py").write_text("ok = True\n")
    assert run(endless.replace("while True: pass", "x = 1").replace(".wait()", "")).watched


def test_a_busy_loop_is_asked_to_stop(run):
    before = {thread.ident for thread in threading.enumerate()}
    refusal(run, "while True: pass", limit=0.5)
    for thread in threading.enumerate():
        if thread.ident not in before:
            thread.join(10)
            assert not thread.is_alive()


def test_threads_that_the_file_leaves_behind_are_let_be(run):
    imported = run("""
import threading
stop = threading.Event()
worker = threading.Thread(target=stop.wait, daemon=True)
worker.start()
""")
    assert imported.namespace["worker"].is_alive()
    imported.namespace["stop"].set()
    imported.namespace["worker"].join(10)


def test_a_loop_may_run_while_it_is_imported_for_none_runs_there(run):
    imported = run("import asyncio\nasync def f(): return 3\nvalue = asyncio.run(f())")
    assert imported.namespace["value"] == 3


def test_no_byte_code_is_written(run, tmp_path: Path):
    (tmp_path / "helper.py").write_text("value = 1\n")
    run("import helper")
    assert not (tmp_path / "__pycache__").exists()


def test_agents_made_outside_of_a_load_are_nobodys(run):
    Agent("outside")
    assert run("x = 1").agents() == []
