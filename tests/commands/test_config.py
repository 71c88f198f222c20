"""``pinecall config list``: what is in force, who said so, and nothing that is secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.app import run
from pinecall_cli.settings import Surroundings, profile_file, write_profiles

SECRETS = ("pk_flag", "pk_env", "pk_dotenv", "pk_saved", "sk-openai", "hunter2")
Row = dict[str, Any]
List = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def config(capfd: pytest.CaptureFixture[str]) -> List:
    def begin(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["config", "list", *words])
        out, err = capfd.readouterr()
        assert not [secret for secret in SECRETS if secret in out + err]
        return code, out, err

    return begin


def rows(out: str) -> dict[str, Row]:
    return {row["name"]: row for row in json.loads(out)["settings"]}


def test_with_nothing_set_the_defaults_are_told(config: List, empty_home: Path) -> None:
    code, out, err = config("--json")
    found = rows(out)
    assert code == 0
    assert "commands use the embedded server" in err
    assert found["api_key"] == {
        "name": "api_key",
        "value": None,
        "origin": None,
        "where": None,
        "shadows": [],
    }
    assert found["server"]["value"] is None
    assert (found["profile"]["value"], found["profile"]["origin"]) == ("default", "default")
    assert found["config_dir"]["value"] == str(empty_home / ".config" / "pinecall")
    assert found["run_dir"]["origin"] == "environment"


def test_every_place_is_told_with_whom_it_shadows(
    config: List, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = profile_file(Surroundings.here())
    write_profiles(file, {"default": {"api_key": "pk_saved", "url": "https://saved.test"}})
    project, dotenv = folder / "pinecall.toml", folder / ".env"
    project.write_text('[server]\nurl = "https://project.test"\n[call]\nallow = ["+4930*"]\n')
    dotenv.write_text("PINECALL_URL=https://dotenv.test\nPINECALL_API_KEY=pk_dotenv\n")
    monkeypatch.setenv("PINECALL_URL", "https://env.test")
    monkeypatch.setenv("PINECALL_API_KEY", "pk_env")
    flags = ("--server", "https://flag.test", "--api-key", "pk_flag")
    code, out, err = config(*flags, "--json")
    found = rows(out)
    assert code == 0
    assert "commands use https://flag.test" in err
    server = found["server"]
    assert [
        (one["origin"], one["where"], one["value"]) for one in (server, *server["shadows"])
    ] == [
        ("flag", "--server", "https://flag.test"),
        ("environment", "PINECALL_URL", "https://env.test"),
        ("dotenv", str(dotenv), "https://dotenv.test"),
        ("project", str(project), "https://project.test"),
        ("profile", str(file), "https://saved.test"),
    ]
    key = found["api_key"]
    assert [(one["origin"], one["value"]) for one in (key, *key["shadows"])] == [
        ("flag", "***"),
        ("environment", "***"),
        ("dotenv", "***"),
        ("profile", "***"),
    ]
    assert (found["call.allow"]["value"], found["call.allow"]["where"]) == ("+4930*", str(project))


def test_in_lines_the_origin_is_told_on_request(
    config: List, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("PINECALL_API_KEY=pk_dotenv\nOPENAI_API_KEY=sk-openai\n")
    monkeypatch.setenv("PINECALL_API_KEY", "pk_env")
    _, out, _ = config()
    table = [line.split("\t") for line in out.splitlines()]
    assert table[0] == ["setting", "value"]
    assert ["api_key", "***"] in table
    assert ["OPENAI_API_KEY", "***"] in table
    _, out, err = config("--show-origin", "-q")
    table = [line.split("\t") for line in out.splitlines()]
    assert table[0] == ["setting", "value", "from", "shadows"]
    assert ["api_key", "***", "PINECALL_API_KEY", f"*** ({folder / '.env'})"] in table
    assert err == ""


def test_a_password_in_an_address_is_hidden(config: List, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:hunter2@llm.test/v1")
    monkeypatch.setenv("PINECALL_URL", "https://hunter2@voice.test")
    code, out, err = config("--json")
    assert code == 0
    assert rows(out)["OPENAI_BASE_URL"]["value"] == "https://***@llm.test/v1"
    assert rows(out)["server"]["value"] == "https://***@voice.test"
    assert "commands that need a server are refused" in err


def test_settings_that_lead_nowhere_are_listed_all_the_same(
    config: List, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINECALL_API_KEY", "pk_env")
    (folder / ".env").write_text("PINECALL_URL=https://evil.test\n")
    code, out, err = config("--json")
    assert (code, rows(out)["server"]["value"]) == (0, "https://evil.test")
    assert "refused: the server `https://evil.test` is named by a .env file" in err
    monkeypatch.setenv("PINECALL_URL", "nonsense")
    code, out, err = config("--json")
    assert (code, rows(out)["server"]["value"]) == (0, "nonsense")
    assert "`nonsense` is not a server's URL" in err


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("pinecall.toml", "[call]\nalow = []\n", "pinecall.toml:2:1"),
        ("pinecall.toml", "[call\n", "pinecall.toml:1:6"),
    ],
)
def test_a_broken_file_is_exit_2_with_its_line_and_a_fix(
    config: List, folder: Path, name: str, text: str, place: str
) -> None:
    (folder / name).write_text(text)
    code, out, err = config("--json")
    assert code == 2
    assert json.loads(out)["error"]["where"] == str(folder / place)
    assert f"  where: {folder / place}\n  fix: " in err


def test_a_profile_that_is_not_there_is_exit_2(
    config: List, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINECALL_PROFILE", "nobody")
    code, out, err = config("--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "no_profile"
    assert "pinecall login --profile nobody" in err


def test_what_a_file_says_cannot_steer_the_terminal(config: List, folder: Path) -> None:
    (folder / ".env").write_text('PINECALL_MODELS="\x1b[2J"\nDEV_CALLERS=\x1b]0;x\x07\n')
    _, out, err = config("--show-origin")
    assert "\x1b" not in out + err
