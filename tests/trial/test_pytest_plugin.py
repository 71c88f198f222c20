"""Specs as tests of pytest, in a run of its own; and what the plugin costs where none is meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_startup import HEAVY

PLUGIN = "pinecall_cli.pytest_plugin"
AGENT = """\
name: desk
llm: script
prompt: Hello
tools: [tools.py]
local:
  llm: script
  script:
    - on: order
      call: {lookup: {number: "7"}}
      say: "It is {result}."
    - say: "You said: {text}"
"""
TOOLS = """\
import os

from pinecall_cli import tool


@tool
def lookup(number: str) -> str:
    '''Look up an order.'''
    assert os.environ["SHOP"] == "acme"
    return "sent"
"""
GREEN = "agent: ../desk.yaml\nsteps: [{say: Where is my order, expect: [{says: sent}]}]\n"
RED = "agent: ../desk.yaml\ndescription: Wrong\nsteps: [{say: Hi, expect: [{says: Goodbye}]}]\n"
OTHER = "import os\n\n\ndef test_other():\n    assert 'SHOP' not in os.environ\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "specs").mkdir()
    for name, text in {
        "desk.yaml": AGENT,
        "tools.py": TOOLS,
        ".env": "SHOP=acme\n",
        "pyproject.toml": "[tool.pytest]\nstrict = true\nfilterwarnings = ['error']\n",
        "specs/green.spec.yaml": GREEN,
        "test_other.py": OTHER,
    }.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Run pytest with the installed plugin and no other one."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", "-v", *words],
        cwd=folder,
        env=env | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_no_spec_is_looked_at_unless_that_is_asked_for(folder: Path):
    (folder / "specs" / "other-tools.spec.yaml").write_text("openapi: 3.1.0\n", "utf-8")
    code, out = run(folder)
    assert code == 0, out
    assert "1 passed" in out
    assert "spec.yaml" not in out


def test_specs_are_tests_and_what_they_load_is_gone_after_them(folder: Path):
    code, out = run(folder, "--pinecall")
    assert code == 0, out
    assert "specs/green.spec.yaml::text PASSED" in out
    assert "2 passed" in out


def test_a_spec_that_is_named_is_asked_for(folder: Path):
    code, out = run(folder, "specs/green.spec.yaml")
    assert (code, "1 passed" in out) == (0, True), out


def test_what_failed_is_told_in_our_words(folder: Path):
    (folder / "specs" / "red.spec.yaml").write_text(RED, "utf-8")
    (folder / "specs" / "mock.spec.yaml").write_text(GREEN + "mocks: {lokup: 1}\n", "utf-8")
    code, out = run(folder, "--pinecall", "-k", "spec")
    assert code == 1, out
    assert "2 failed, 1 passed, 1 deselected" in out
    assert '\nspecs/red.spec.yaml:3:28: expected says `Goodbye`\n  said: "You said: Hi"\n' in out
    assert "say: Hi\nagent: You said: Hi" in out
    assert (
        "error: agent `desk` has no tool `lokup`\n"
        "  where: specs/mock.spec.yaml:3:9\n"
        "  fix: did you mean `lookup`?"
    ) in out
    assert "Traceback" not in out


def test_a_spec_that_is_none_is_an_error_with_its_place(folder: Path):
    (folder / "specs" / "broken.spec.yaml").write_text("agent: ../desk.yaml\nsetps: []\n", "utf-8")
    code, out = run(folder, "--pinecall")
    assert code == 2, out
    assert "error: unknown key `setps`\n  where: specs/broken.spec.yaml:2:1\n" in out
    assert "Traceback" not in out


def test_the_plugin_costs_other_runs_nothing():
    new = "print(*sys.modules.keys() - before)"
    code = f"import pytest, sys; before = set(sys.modules); import {PLUGIN}; {new}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded == {"pinecall_cli", PLUGIN}
    assert not loaded & HEAVY
