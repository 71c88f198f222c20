"""`doctor`: what is looked at, what is said of it, and what it ends with."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.commands import checkup, checkup_machine, checkup_server, checkup_speech
from pinecall_cli.errors import UsageError
from pinecall_cli.settings import (
    Flags,
    Origin,
    Secret,
    Setting,
    Settings,
    Target,
    config_dir,
    data_dir,
    run_dir,
)
from pinecall_cli.view.checkup import Check
from tests.server.peer import connected, embedded

PINECALL = Path(sys.executable).parent / "pinecall"
KEY = "sk_never_to_be_seen"

HIDDEN = """
import importlib.machinery as machinery
found = machinery.PathFinder.find_spec

def find_spec(name, path=None, target=None):
    hidden = {hidden!r}
    return None if name.partition(".")[0] in hidden else found(name, path, target)

machinery.PathFinder.find_spec = find_spec
"""
"""Makes packages be as if they were not installed."""
ALONE = """
import os, socket
connect, resolve = socket.socket.connect, socket.getaddrinfo

def near(host):
    return host in ("127.0.0.1", "::1", "localhost", None)

def watched_connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not near(address[0]):
        os.write(2, b"CONNECTED AWAY"); os._exit(99)
    return connect(self, address)

def watched_resolve(host, *args, **options):
    if not near(host):
        os.write(2, b"ASKED FOR A NAME"); os._exit(99)
    return resolve(host, *args, **options)

socket.socket.connect, socket.getaddrinfo = watched_connect, watched_resolve
"""
"""Ends a program that leaves this machine."""


class Done:
    """A run that is over."""

    def __init__(self, *words: str, cwd: Path | None = None, **env: str) -> None:
        self.process = subprocess.run(
            [PINECALL, "doctor", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=cwd,
            env=os.environ | env,
        )
        self.code = self.process.returncode
        self.out, self.err = self.process.stdout, self.process.stderr
        assert "Traceback" not in self.out + self.err
        assert KEY not in self.out + self.err

    @property
    def checks(self) -> dict[str, dict[str, Any]]:
        document = json.loads(self.out)
        assert document.keys() == {"checks"}
        for check in document["checks"]:
            assert check.keys() == {"name", "ok", "needed", "message", "hint"}
        return {check["name"]: check for check in document["checks"]}


def site(folder: Path, text: str) -> dict[str, str]:
    """Return an environment in which every Python runs ``text`` first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


# --- as a whole -------------------------------------------------------------------------------


def test_with_everything_there_it_is_exit_0_and_nobody_elsewhere_is_asked(tmp_path: Path):
    done = Done("--json", **site(tmp_path / "site", ALONE))
    assert done.code == 0, done.out + done.err
    checks = done.checks
    assert [*checks] == [
        *("python", "pinecall", "packages", "path", "config", "data", "state", "run"),
        *("terminal", "key", "server", "clock", "engines", "speech", "echo", "audio"),
    ]
    assert all(check["ok"] for check in checks.values() if check["needed"])
    assert checks["engines"]["ok"]
    assert "open on Sunday" in checks["speech"]["message"].partition("heard")[2]
    assert all(check["ok"] or check["hint"] for check in checks.values())


def test_for_people_every_check_is_a_line_and_the_sum_is_on_stderr():
    done = Done("--plain")
    lines = [line for line in done.out.splitlines() if "fix: " not in line]
    assert len(lines) == 16
    assert all(line[:2] in ("✓ ", "! ") for line in lines)
    assert "\x1b" not in done.out
    assert done.err.splitlines()[-1].startswith(("all that is needed", "everything"))
    quiet = Done("--quiet", "--plain")
    assert quiet.err == ""
    assert "✓" not in quiet.out


def test_without_the_extra_for_speech_text_is_all_that_is_promised(tmp_path: Path):
    hidden = ("numpy", "onnxruntime", "hibari", "moonshine_voice", "pywebrtc_audio")
    done = Done("--json", **site(tmp_path / "site", HIDDEN.format(hidden=hidden)))
    assert done.code == 0, done.out + done.err
    engines = done.checks["engines"]
    assert (engines["ok"], engines["needed"]) == (False, False)
    assert "numpy" in engines["message"]
    assert "voice]" in engines["hint"]
    assert "speech" not in done.checks
    assert not done.checks["echo"]["ok"]


def test_engines_that_are_there_and_do_not_load_are_a_fault(tmp_path: Path):
    done = Done("--json", PINECALL_MODELS=str(tmp_path))
    assert done.code == 1
    engines = done.checks["engines"]
    assert (engines["ok"], engines["needed"]) == (False, True)
    assert str(tmp_path) in engines["message"]
    assert "engines" in done.err


@pytest.mark.parametrize("package", ["httpx", "starlette", "msgspec"])
def test_a_package_that_every_command_needs_is_missed_by_name(package: str, tmp_path: Path):
    """Its metadata is still there: what cannot be imported breaks its check, and no other."""
    done = Done("--json", **site(tmp_path / "site", HIDDEN.format(hidden=(package,))))
    assert done.code == 1
    assert package in done.checks["server"]["message"]
    assert done.checks["python"]["ok"]


def test_a_project_file_that_is_broken_is_told_and_the_rest_is_looked_at(tmp_path: Path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "pinecall.toml").write_text("[")
    done = Done("--json", cwd=tmp_path)
    assert done.code == 1
    assert not done.checks["key"]["ok"]
    assert "pinecall.toml" in done.checks["key"]["message"]
    assert done.checks["server"]["ok"]


def test_a_check_that_breaks_is_a_row_and_no_crash():
    def breaks() -> Iterator[Check]:
        yield Check("one", True, "fine")
        raise ZeroDivisionError("of all things\nsecond line")

    first, second = checkup.guarded("two", breaks)
    assert first.ok
    assert (second.name, second.ok, second.needed) == ("two", False, True)
    assert second.message == "this check broke: ZeroDivisionError: of all things"

    def refused() -> Iterator[Check]:
        raise UsageError("that is wrong", fix="do it right")
        yield

    assert [*checkup.guarded("three", refused)] == [
        Check("three", False, "that is wrong", "do it right", needed=True)
    ]


# --- key, server, clock -----------------------------------------------------------------------


def test_a_key_is_told_by_where_it_came_from(tmp_path: Path):
    done = Done("--json", "--local", PINECALL_API_KEY=KEY, **site(tmp_path / "site", ALONE))
    assert done.code == 0
    assert "PINECALL_API_KEY" in done.checks["key"]["message"]


def test_a_server_that_is_named_and_not_there_is_needed():
    done = Done("--json", "--server", "http://127.0.0.1:9", "--api-key", KEY)
    assert done.code == 1
    server = done.checks["server"]
    assert (server["ok"], server["needed"]) == (False, True)
    assert "http://127.0.0.1:9" in server["message"]


def found(key: str) -> Settings:
    return Settings(None, Setting(Secret(key), Origin("environment", "`PINECALL_API_KEY`")))


async def test_a_local_server_that_is_named_is_asked_with_its_own_key():
    server = embedded(keys=(), run_dir=run_dir())
    async with server, connected(server, server.key) as peer:
        await peer.agent("desk", llm="script")
        flags = Flags(server=server.url)
        checks = await asyncio.to_thread(lambda: [*checkup_server.key_and_server(flags)])
    assert [(check.name, check.ok) for check in checks] == [
        ("key", True),
        ("server", True),
        ("clock", True),
    ]
    assert checks[1].message == f"{server.url}, agents: 1"


def test_a_hosted_server_takes_the_key_or_refuses_it():
    with embedded(keys=["pk_right"]) as server:
        right = Target("hosted", server.url, Secret("pk_right"))
        assert all(check.ok for check in checkup_server.hosted(found("pk_right"), right))
        wrong = Target("hosted", server.url, Secret("pk_wrong"))
        checks = {check.name: check for check in checkup_server.hosted(found("pk_wrong"), wrong)}
    assert not checks["key"].ok
    assert checks["key"].needed
    assert checks["key"].message.startswith("from `PINECALL_API_KEY`: ")
    assert checks["server"].ok
    assert "pk_" not in str(checks)


@contextmanager
def dated(date: str | None) -> Iterator[str]:
    """Be a server without agents whose answers bear a date."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            if date is not None:
                self.send_header("Date", date)
            self.end_headers()
            self.wfile.write(b'{"agents": []}')

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize(
    ("date", "ok", "said"),
    [
        (format_datetime(datetime(2001, 1, 1, tzinfo=UTC), usegmt=True), False, "ahead of"),
        (format_datetime(datetime(2101, 1, 1, tzinfo=UTC), usegmt=True), False, "behind"),
        ("no date at all", True, ""),
        (None, True, ""),
    ],
)
def test_the_clock_is_laid_beside_the_servers(date: str | None, ok: bool, said: str):
    with dated(date) as url:
        *_, clock = checkup_server.hosted(found("k"), Target("hosted", url, Secret("k")))
    assert clock.name == "clock"
    assert clock.ok == ok
    assert said in clock.message


def test_a_clock_before_what_is_here_already_is_wrong():
    assert checkup_server.of_clock(2e9, 1.9e9).ok
    assert checkup_server.of_clock(2e9, 2e9 + 10).ok
    wrong = checkup_server.of_clock(1e9, 2e9)
    assert not wrong.ok
    assert not wrong.needed
    assert wrong.hint


# --- folders ----------------------------------------------------------------------------------


def test_what_others_may_open_is_needed_and_the_fix_mends_it():
    for folder, file in ((config_dir(), "config.toml"), (data_dir(), "calls.db")):
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        (folder / file).touch(mode=0o644)
    run_dir().mkdir(parents=True, mode=0o700)
    checks = {check.name: check for check in checkup_machine.folders()}
    assert [name for name, check in checks.items() if not check.ok] == ["config", "data"]
    assert checks["config"].needed
    assert "config.toml" in checks["config"].message
    for name in ("config", "data"):
        subprocess.run(["sh", "-c", str(checks[name].hint)], check=True)
    assert all(check.ok for check in checkup_machine.folders())


def test_a_folder_that_is_none_or_cannot_be_made_is_needed():
    data_dir().parent.mkdir(parents=True)
    data_dir().write_text("in the way")
    config_dir().parent.write_text("in the way")
    checks = {check.name: check for check in checkup_machine.folders()}
    assert "is no folder" in checks["data"].message
    assert "cannot be made" in checks["config"].message
    assert not any(checks[name].ok for name in ("data", "config"))
    assert all(checks[name].ok for name in ("state", "run"))


# --- who is called pinecall ----------------------------------------------------------------------


def program(folder: Path, text: str = "#!/bin/sh\n") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "pinecall"
    file.write_text(text)
    file.chmod(0o755)
    return file


def test_another_program_of_the_name_is_found_told_apart_and_never_run(tmp_path: Path):
    other = program(tmp_path / "first", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    path = os.pathsep.join((str(other.parent), str(PINECALL.parent), os.environ["PATH"]))
    done = Done("--json", PATH=path)
    check = done.checks["path"]
    assert (check["ok"], check["needed"]) == (False, False)
    assert str(other) in check["message"]
    assert "PyPI" in check["hint"]
    assert str(PINECALL.parent) in check["hint"]
    assert not (tmp_path / "ran").exists()


def test_whoever_comes_first_on_path_is_who_is_meant(tmp_path: Path):
    ours = program(tmp_path / "ours", "#!/bin/python\nfrom pinecall_cli.__main__ import main\n")
    again = program(tmp_path / "again", ours.read_text())
    node = program(tmp_path / "node", "#!/usr/bin/env node\n")
    assert checkup_machine.of_path([ours], ours).ok
    assert checkup_machine.of_path([], ours).ok
    behind = checkup_machine.of_path([ours, node], ours)
    assert not behind.ok
    assert "a Node program" in behind.message
    assert "ours comes first" in str(behind.hint)
    first = checkup_machine.of_path([again, ours], ours)
    assert checkup_machine.SAME in first.message
    assert "PyPI" not in str(first.hint)
    folders = os.pathsep.join(str(one.parent) for one in (node, ours, node))
    assert [*checkup_machine.called("pinecall", folders)] == [node, ours]


# --- versions and terminal ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "specifier", "fits"),
    [
        ("0.28.0", ">=0.26,<0.29", True),
        ("0.29.0", "<0.29,>=0.26", False),
        ("0.29rc1", "<0.29,>=0.26", False),
        ("0.25.9", ">=0.26,<0.29", False),
        ("14", ">=14.0.0", True),
        ("6.0.10", ">=6.0.2", True),
        ("1.2.3.post1", "==1.2.3", True),
        ("7", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, specifier: str, fits: bool):
    assert checkup_machine.fits(version, specifier) == fits


def test_packages_that_are_missing_or_do_not_fit_are_named_with_the_fix():
    present, wrong = checkup_machine.fitting(["rich>=14", "typer<0.1", "not-there-at-all>=2"])
    assert [one.split()[0] for one in present] == ["rich"]
    assert "not-there-at-all is missing" in wrong
    assert any(one.startswith("typer is 0.") for one in wrong)
    assert [*wrong.values()] == ["typer<0.1", "not-there-at-all>=2"]


@pytest.mark.parametrize(
    ("term", "encoding", "width", "ok"),
    [
        ("xterm-256color", "utf-8", 80, True),
        ("xterm-256color", "ascii", 80, False),
        ("xterm-256color", "utf-8", 39, False),
        ("dumb", "utf-8", 80, False),
    ],
)
def test_a_terminal_is_judged_by_its_name_encoding_and_width(
    term: str, encoding: str, width: int, ok: bool
):
    check = checkup_machine.of_terminal(
        {"TERM": term}, is_terminal=True, encoding=encoding, width=width, colours=True
    )
    assert check.ok == ok
    assert not check.needed
    assert bool(check.hint) != ok


def test_no_terminal_is_no_fault():
    check = checkup_machine.of_terminal(
        {}, is_terminal=False, encoding="utf-8", width=80, colours=False
    )
    assert check.ok


# --- what is measured ---------------------------------------------------------------------------


def test_sentences_are_alike_by_their_words():
    assert checkup_speech.alike("Are you open?", "are you open") == 1
    assert checkup_speech.alike("Are you open on Sunday?", "") == 0
    assert checkup_speech.alike("Are you open on Sunday?", "thank you") < checkup_speech.ALIKE


def test_measurements_that_agree_outvote_one_that_does_not():
    assert checkup_speech.agreeing([120.0, 400.0, 125.0]) == [120.0, 125.0]
    assert checkup_speech.agreeing([120.0]) == [120.0]
    assert checkup_speech.agreeing([]) == []
