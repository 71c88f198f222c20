"""Applications are checked with mypy and pyright: what is right passes, what is wrong is found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sdk.test_own_model import MODELS
from tests.sdk.test_readme_programs import program

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BIN = Path(sys.executable).parent
SETTINGS = {"typeCheckingMode": "standard", "reportUnusedExpression": False}
"""Of pyright. Reading an attribute for nothing is how `rejected.py` asks whether it is there."""

Found = set[tuple[str, int]]
"""Complaints, as names of files with the numbers of their lines."""


def mypy(folder: Path, *files: str) -> Found:
    done = subprocess.run(
        [BIN / "mypy", "--strict", "--config-file=", "--cache-dir=.mypy_cache", *files],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    lines = re.findall(r"^([\w./]+\.py):(\d+): error: ", done.stdout, re.M)
    return {(file, int(line)) for file, line in lines}


def pyright(folder: Path, *files: str) -> Found:
    """Ask pyright, which its wheels run without a network (extra ``test``)."""
    strict = [file for file in files if file != "rejected.py"]
    settings = {**SETTINGS, "extraPaths": [str(ROOT)], "include": list(files), "strict": strict}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [BIN / "pyright", "--outputjson", f"--pythonpath={sys.executable}"],
        cwd=folder,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == len(files)
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1)
        for one in found["generalDiagnostics"]
    }


@pytest.mark.parametrize("check", [mypy, pyright], ids=["mypy", "pyright"])
def test_what_is_right_passes_and_what_is_wrong_is_found(check: object, tmp_path: Path) -> None:
    assert callable(check)
    for name in ("accepted.py", "rejected.py"):
        (tmp_path / name).write_text((HERE / name).read_text("utf-8"), "utf-8")
    lines = enumerate((HERE / "rejected.py").read_text("utf-8").splitlines(), start=1)
    wrong = {("rejected.py", number) for number, line in lines if line.endswith("  # wrong")}
    assert len(wrong) > 20
    assert check(tmp_path, "accepted.py", "rejected.py") == wrong


@pytest.mark.parametrize("check", [mypy, pyright], ids=["mypy", "pyright"])
def test_readme_s_programs_pass(check: object, tmp_path: Path) -> None:
    assert callable(check)
    programs = {f"own_{name}.py": text for name, text in MODELS.items()}
    programs |= {name: program(name) for name in ("office.py", "reminder.py")}
    for name, text in programs.items():
        (tmp_path / name).write_text(text, "utf-8")
    assert check(tmp_path, *programs) == set()
