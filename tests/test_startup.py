"""Starting the program: what it loads, what it says to a command line it cannot take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import pinecall_cli
from pinecall_cli.app import PANELS, run

HEAVY = {
    "asyncio",
    "hibari",
    "httpx",
    "importlib.metadata",
    "logging",
    "msgspec",
    "numpy",
    "onnxruntime",
    "rich",
    "sounddevice",
    "sqlite3",
    "ssl",
    "starlette",
    "uvicorn",
    "watchfiles",
    "websockets",
    "yaml",
}
"""What no command line pays for before its command runs; together some 400 ms."""
PINECALL = Path(sys.executable).parent / "pinecall"


def loaded_by(code: str, **environ: str) -> set[str]:
    """Return the modules that a fresh interpreter holds after ``code``."""
    report = "import sys; print('MODULES', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environ,
    )
    return set(done.stdout.partition("MODULES")[2].split())


@pytest.mark.parametrize(
    ("code", "may_load", "commands"),
    [
        pytest.param("import pinecall_cli.app", set(), set(), id="import"),
        pytest.param(
            "from pinecall_cli.app import run; run(['--version'])", set(), set(), id="version"
        ),
        pytest.param(
            "from pinecall_cli.app import run; run(['--help'])",
            {"rich"},
            {"dev", "call", "agents"},
            id="help",
        ),
        pytest.param(
            "from pinecall_cli.app import run; run(['call', '-h'])",
            {"rich"},
            {"call"},
            id="help-of-a-command",
        ),
    ],
)
def test_starting_loads_nothing_heavy_and_no_command_but_the_one_asked_for(
    code: str, may_load: set[str], commands: set[str]
):
    loaded = loaded_by(code)
    assert {f"pinecall_cli.commands.{name}" for name in commands} <= loaded
    if commands != {"dev", "call", "agents"}:
        others = {"dev", "call", "agents", "logs", "server", "login"} - commands
        assert loaded.isdisjoint(f"pinecall_cli.commands.{name}" for name in others)
    assert loaded & HEAVY <= may_load | ({"logging", "importlib.metadata"} if may_load else set())


@pytest.mark.parametrize(
    ("line", "may_load"),
    [
        pytest.param("pinecall ag", set(), id="commands"),
        pytest.param("pinecall dev --", set(), id="options"),
        pytest.param("pinecall logs ", {"sqlite3"}, id="calls"),
    ],
)
def test_completing_a_command_line_loads_nothing_heavy(
    line: str, may_load: set[str], empty_home: Path
):
    (empty_home / ".local/share/pinecall").mkdir(parents=True)
    (empty_home / ".local/share/pinecall/calls.db").touch()
    completing = {"_PINECALL_COMPLETE": "complete_names", "_PINECALL_LINE": line}
    code = "from pinecall_cli.app import run\ntry: run([])\nexcept SystemExit: pass"
    loaded = loaded_by(code, **completing)
    assert "pinecall_cli.commands.dev" in loaded
    assert loaded & HEAVY <= may_load


def test_listing_agents_loads_no_agent_s_code_and_no_terminal():
    listing = "from pinecall_cli.app import run; run(['agents', '--json', '--quiet'])"
    assert loaded_by(listing).isdisjoint(
        {"rich", "websockets", "yaml", "numpy", "uvicorn", "pinecall_cli.agent.define"}
    )


def test_importing_the_package_opens_no_door():
    assert not {
        name for name in loaded_by("import pinecall_cli") if name.startswith("pinecall_cli.")
    }


def test_the_front_door_leads_to_every_name_it_promises():
    assert pinecall_cli.__all__ == sorted(pinecall_cli.__all__)
    for name in pinecall_cli.__all__:
        found = getattr(pinecall_cli, name)
        home = found.__name__ if isinstance(found, ModuleType) else found.__module__
        assert home.startswith("pinecall_cli.")
    with pytest.raises(AttributeError, match="no attribute 'Agnet'"):
        pinecall_cli.Agnet  # noqa: B018


def test_the_sdk_needs_neither_terminal_nor_watcher():
    loaded = loaded_by("from pinecall_cli import Agent, Call, Pinecall, tool")
    assert loaded.isdisjoint({"typer", "rich", "watchfiles", "starlette", "uvicorn", "numpy"})


# --- the installed command ------------------------------------------------------------------------


def pinecall(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PINECALL, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env=os.environ | environ,
    )


def test_the_installed_command_tells_its_version():
    done = pinecall("--version")
    assert (done.returncode, done.stdout) == (0, f"pinecall {pinecall_cli.__version__}\n")


def test_a_reader_that_leaves_is_no_error():
    """As in ``pinecall agents schema | head -1``."""
    with subprocess.Popen(
        [PINECALL, "agents", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")


def test_help_has_the_panels_in_the_order_they_are_needed():
    done = pinecall("--help", COLUMNS="100")
    shown = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("╭─")]
    titles = [" ".join(words).rstrip("─╮ ") for words in shown]
    panels = [title for title in titles if title in PANELS]
    assert panels == sorted(panels, key=PANELS.index)
    assert titles == ["Options", *panels]


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_help_fits_any_terminal(width: str):
    for line in pinecall("--help", COLUMNS=width).stdout.splitlines():
        assert len(line) <= int(width)


def test_help_piped_away_has_no_colours():
    assert "\x1b" not in pinecall("dev", "--help").stdout


# --- command lines that cannot be taken ----------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        (
            ["calll"],
            "no such command `calll`",
            "did you mean `pinecall call`? `pinecall --help` shows what there is",
        ),
        (["xyzzy"], "no such command `xyzzy`", "`pinecall --help` shows what there is"),
        (
            ["agents", "chek", "x"],
            "no such command `chek`",
            "did you mean `pinecall agents check`? `pinecall agents --help` shows what there is",
        ),
        (
            ["dev", "--evnets"],
            "no such option `--evnets`",
            "did you mean `--events`? `pinecall dev --help` shows what there is",
        ),
        (
            ["server", "--port", "http"],
            "invalid value for `--port`: `http` is not a valid int range",
            "`pinecall server --help` shows what there is",
        ),
        (
            ["agents", "check"],
            "missing argument `PATH…`",
            "`pinecall agents check --help` shows what there is",
        ),
        (
            ["call", "front-desk", "--say"],
            "option `--say` requires an argument",
            "`pinecall call --help` shows what there is",
        ),
        (["call"], "no agent is named", "`pinecall agents` lists those that run"),
        (["call", "desk", "--say", " "], "`--say` has no text", 'write it as `--say "Hello."`'),
        (
            ["call", "desk", "--to", "abc", "--say", "hi"],
            "`--to`: `abc` is no telephone number",
            "write it as + and 7 to 15 digits, such as +14155550100, or as a sip: URI",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_two_lines_and_exit_2(
    words: list[str], message: str, fix: str, capsys: pytest.CaptureFixture[str]
):
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: {message}\n  fix: {fix}\n"


@pytest.mark.parametrize(
    ("words", "streams"),
    [
        (["call", "--json", "--nope"], True),
        (["dev", "--port", "x", "--json"], True),
        (["server", "--json", "--data"], True),
        (["agents", "check", "--json"], False),
        (["agents", "--json", "show", "x"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_with_json_wrong_usage_is_also_one_object_on_stdout(
    words: list[str], streams: bool, capsys: pytest.CaptureFixture[str]
):
    assert run(words) == 2
    out, err = capsys.readouterr()
    body = json.loads(out)
    assert err.startswith("error: ")
    assert ("type" in body, body.get("type")) == (streams, "error" if streams else None)
    assert body["error"].keys() >= {"code", "message", "hint"}
    assert body["error"]["code"] == "usage"


def test_a_bad_file_is_shown_with_its_place_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "agent.yaml"
    file.write_text("name: a\nvioce: elevenlabs/sarah\n")
    assert run(["dev", str(file), "--json"]) == 2
    out, err = capsys.readouterr()
    assert "error: unknown key `vioce`\n" in err
    assert "agent.yaml:2:1\n  fix: did you mean `voice`?" in err
    assert json.loads(out)["type"] == "error"


def test_what_an_error_quotes_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]):
    assert run(["\x1b[2Jboom"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_an_agent_that_nobody_runs_is_exit_1(capsys: pytest.CaptureFixture[str]):
    assert run(["call", "nobody-at-all", "--say", "hello"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_server_that_is_not_there_is_exit_3(capsys: pytest.CaptureFixture[str]):
    words = ["call", "front-desk", "--say", "x", "--server", "http://127.0.0.1:9", "--api-key", "k"]
    assert run(words) == 3
    assert "fix: " in capsys.readouterr().err
