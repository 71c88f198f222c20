"""``pinecall login`` and ``logout``: a key is asked for in silence, kept for one, and forgotten."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret, Surroundings, profile_file, read_profiles, resolve
from pinecall_cli.settings.values import Flags
from tests.commands.done import Done, done
from tests.commands.stub_http import answering
from tests.end_to_end.conftest import Open, Start, open_terminal, start
from tests.fakes.engines import Engines

__all__ = ["open_terminal", "start"]  # fixtures

KEY = "pk_never_to_be_seen"
NOWHERE = "http://127.0.0.1:9"


Pinecall = Callable[..., Done]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pinecall(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pinecall:
    """Run a command line in this process; its stdin is a pipe with `typed` in it."""

    def begin(*words: str, typed: str | bytes = "") -> Done:
        reading, writing = os.pipe()
        os.write(writing, typed if isinstance(typed, bytes) else typed.encode())
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as stdin, monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", stdin)
            return done(capfd, *words, hidden=(KEY,))

    return begin


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(engines=Engines(), keys=[KEY]) as made:
        yield made


def saved() -> dict[str, dict[str, str]]:
    return read_profiles(profile_file(Surroundings.here()))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- login ------------------------------------------------------------------------------------


def test_a_key_from_a_pipe_is_checked_and_saved_for_its_owner_alone(
    server: EmbeddedServer, pinecall: Pinecall
) -> None:
    found = pinecall("login", "--server", server.url, "--json", typed=f"  {KEY}\n")
    file = profile_file(Surroundings.here())
    assert found.code == 0, found.err
    assert found.document == {
        "profile": "default",
        "server": server.url,
        "file": str(file),
        "checked": True,
    }
    assert saved() == {"default": {"api_key": KEY, "url": server.url}}
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    target = resolve(Flags(), Surroundings.here()).target()
    assert (target.url, target.key) == (server.url, Secret(KEY))
    assert pinecall("agents", "--json").document == {"agents": []}


def test_a_folder_that_was_wider_is_made_narrow(pinecall: Pinecall) -> None:
    file = profile_file(Surroundings.here())
    file.parent.mkdir(parents=True, mode=0o755)
    file.write_text("")
    file.chmod(0o644)
    assert pinecall("login", "--no-check", typed=KEY).code == 0
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_a_key_that_the_server_refuses_is_not_saved(
    server: EmbeddedServer, pinecall: Pinecall
) -> None:
    found = pinecall("login", "--server", server.url, "--json", typed="pk_wrong\n")
    assert found.code == 4
    assert found.document["error"]["code"] == "not_authorised"
    assert "pk_wrong" not in found.out + found.err
    assert saved() == {}
    assert pinecall("login", "--server", server.url, "--no-check", typed="pk_wrong\n").code == 0


def test_a_server_that_does_not_answer_is_said_and_the_key_is_saved(pinecall: Pinecall) -> None:
    found = pinecall("login", "--server", NOWHERE, "--json", "--quiet", typed=KEY)
    assert (found.code, found.document["checked"]) == (0, None)
    assert "the key is not checked" in found.err
    assert saved()["default"]["api_key"] == KEY
    with answering({}) as url:  # somebody is there, and is no voice server
        assert pinecall("login", "--server", url, "--json", typed=KEY).document["checked"] is None


def test_profiles_stand_beside_each_other_and_the_hosted_server_needs_no_url(
    pinecall: Pinecall, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pinecall("login", "--no-check", typed=KEY).code == 0
    staging = ["--profile", "staging", "--server", "wss://voice.staging.example/", "--no-check"]
    found = pinecall("login", *staging, typed="pk_staging")
    assert "it is used with PINECALL_PROFILE=staging" in found.err
    assert saved() == {
        "default": {"api_key": KEY},
        "staging": {"api_key": "pk_staging", "url": "https://voice.staging.example"},
    }
    monkeypatch.setenv("PINECALL_PROFILE", "staging")
    target = resolve(Flags(), Surroundings.here()).target()
    assert (target.url, target.key) == ("https://voice.staging.example", Secret("pk_staging"))
    # The profile in force is the one that is written, and its server stays.
    assert pinecall("login", "--no-check", typed="pk_newer").code == 0
    assert saved()["staging"] == {
        "api_key": "pk_newer",
        "url": "https://voice.staging.example",
    }


def test_a_project_s_file_never_chooses_where_a_typed_key_goes(
    pinecall: Pinecall, folder: Path
) -> None:
    (folder / ".env").write_text("PINECALL_URL=http://127.0.0.1:7/evil\n")
    (folder / "pinecall.toml").write_text('[server]\nurl = "http://127.0.0.1:7/evil"\n')
    assert pinecall("login", "--no-check", "--json", typed=KEY).document["server"] == (
        "https://voice.pinecall.io"
    )


def test_a_key_on_the_command_line_is_taken_with_a_warning(pinecall: Pinecall) -> None:
    found = pinecall("login", "--no-check", "--api-key", KEY, "--quiet")
    assert found.code == 0
    assert "a key on a command line can be seen by others" in found.err
    assert saved()["default"]["api_key"] == KEY
    assert "command line" not in pinecall("login", "--no-check", "--api-key", "-", typed=KEY).err


def test_what_goes_before_a_saved_key_is_said(
    pinecall: Pinecall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINECALL_API_KEY", "pk_other")
    found = pinecall("login", "--no-check", typed=KEY)
    assert "a key is set in `PINECALL_API_KEY`, and goes before saved ones" in found.err
    assert "pk_other" not in found.err


def test_a_server_that_does_not_encrypt_is_warned_of(pinecall: Pinecall) -> None:
    found = pinecall("login", "--no-check", "--server", "http://voice.example", typed=KEY)
    assert "is not encrypted" in found.err
    other = pinecall("login", "--no-check", "--profile", "other", typed=KEY)
    assert "is not encrypted" not in other.err


@pytest.mark.parametrize("typed", ["", "\n", "two words\n", "pk_\x1b[31m\n", "pk_ü\n", b"\xff\n"])
def test_what_is_no_key_is_exit_2_and_is_not_saved(pinecall: Pinecall, typed: str | bytes) -> None:
    found = pinecall("login", "--no-check", "--json", typed=typed)
    assert found.code == 2
    assert found.document["error"]["hint"]
    assert "\x1b" not in found.err
    assert saved() == {}


@pytest.mark.parametrize("name", ["../x", "a b", "", "x" * 65, "-x", "a\nb"])
def test_what_is_no_profile_s_name_is_exit_2(pinecall: Pinecall, name: str) -> None:
    code = pinecall("login", "--no-check", f"--profile={name}", typed=KEY).code
    assert code == (0 if name == "" else 2)  # an empty one is none, as an empty variable is


def test_a_broken_file_is_told_with_its_line_before_a_key_is_typed(pinecall: Pinecall) -> None:
    file = profile_file(Surroundings.here())
    file.parent.mkdir(parents=True)
    file.write_text(f'[profile]\napi_key = "{KEY}\n')
    before = file.read_text()
    for words in (["login", "--no-check", "--server", NOWHERE], ["logout"], ["agents"]):
        found = pinecall(*words, "--json", typed="pk_2")
        assert found.code == 2
        assert found.document["error"]["where"].startswith(f"{file}:2")
        assert "pinecall login" in found.document["error"]["hint"]
    assert file.read_text() == before


def test_a_folder_that_cannot_be_written_to_is_exit_2(
    pinecall: Pinecall, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (folder / "taken").write_text("a file")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "taken"))
    found = pinecall("login", "--no-check", "--json", typed=KEY)
    assert found.code == 2
    assert "cannot write" in found.document["error"]["message"]


# --- on a terminal ------------------------------------------------------------------------------


def test_a_key_that_is_typed_is_not_shown(open_terminal: Open, server: EmbeddedServer) -> None:
    terminal = open_terminal("login", "--server", server.url)
    terminal.shows(f"API key for {server.url}: ")
    terminal.type(f"{KEY}\r")
    assert terminal.end() == 0
    assert "saved the profile `default`" in terminal.text
    assert KEY not in terminal.text
    assert terminal.after == terminal.before
    assert saved()["default"]["api_key"] == KEY


@pytest.mark.parametrize(("keys", "code"), [("\x03", 130), ("\r", 2), ("\x04", 2)])
def test_who_does_not_type_a_key_leaves_the_terminal_as_it_was(
    open_terminal: Open, keys: str, code: int
) -> None:
    terminal = open_terminal("login", "--no-check")
    terminal.shows("API key for https://voice.pinecall.io: ")
    terminal.type(keys)
    assert terminal.end() == code, terminal.text
    assert terminal.after == terminal.before
    assert "Traceback" not in terminal.text
    assert saved() == {}


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_at_the_question_leaves_the_terminal_as_it_was(
    open_terminal: Open, name: str, code: int
) -> None:
    import signal

    terminal = open_terminal("login", "--no-check")
    terminal.shows("API key for https://voice.pinecall.io: ")
    terminal.signal(signal.Signals[name])
    assert terminal.end() == code
    assert terminal.after == terminal.before


def test_a_dash_on_a_terminal_asks_without_showing_too(
    open_terminal: Open, server: EmbeddedServer
) -> None:
    terminal = open_terminal("agents", "--server", server.url, "--api-key", "-")
    terminal.shows("API key: ")
    terminal.type(f"{KEY}\r")
    assert terminal.end() == 0, terminal.text
    assert KEY not in terminal.text


def test_the_installed_command_reads_a_pipe(start: Start, server: EmbeddedServer) -> None:
    found = start("login", "--server", server.url, "--json", stdin=f"{KEY}\n")
    assert found.end() == 0, found.talk
    assert KEY not in "".join([*found.out, *found.talk])
    listing = start("agents", "--json")
    assert listing.end() == 0
    assert "".join(listing.out) == '{"agents": []}\n'
    for command in (["config", "list", "--show-origin"], ["config", "list", "--json"]):
        told = start(*command)
        assert told.end() == 0
        assert KEY not in "".join([*told.out, *told.talk])


# --- logout ---------------------------------------------------------------------------------------


def test_a_key_is_forgotten_and_with_the_last_one_the_file(pinecall: Pinecall) -> None:
    file = profile_file(Surroundings.here())
    pinecall("login", "--no-check", typed=KEY)
    pinecall("login", "--no-check", "--profile", "staging", typed="pk_2")
    found = pinecall("logout", "--json")
    assert (found.code, found.document) == (0, {"profiles": ["default"], "file": str(file)})
    assert "forgot the profile `default`" in found.err
    assert set(saved()) == {"staging"}
    assert KEY not in file.read_text()
    assert pinecall("logout", "--profile", "staging").code == 0
    assert not file.exists()


def test_all_of_them_are_forgotten_at_once(pinecall: Pinecall) -> None:
    pinecall("login", "--no-check", typed=KEY)
    pinecall("login", "--no-check", "--profile", "staging", typed="pk_2")
    assert pinecall("logout", "--all", "--json").document["profiles"] == ["default", "staging"]
    assert pinecall("logout", "--all", "--json").document["profiles"] == []


def test_nothing_to_forget_is_no_failure_but_an_unknown_profile_is(pinecall: Pinecall) -> None:
    found = pinecall("logout")
    assert (found.code, found.err) == (0, "there was no key to forget\n")
    pinecall("login", "--no-check", "--profile", "staging", typed="pk_2")
    found = pinecall("logout", "--profile", "stagin", "--json")
    assert found.code == 1
    assert found.document["error"]["code"] == "no_profile"
    assert "did you mean `staging`?" in found.document["error"]["hint"]
    assert set(saved()) == {"staging"}


def test_a_key_that_is_set_elsewhere_still_is_after_logging_out(
    pinecall: Pinecall, folder: Path
) -> None:
    pinecall("login", "--no-check", typed=KEY)
    (folder / ".env").write_text("PINECALL_API_KEY=pk_env\n")
    found = pinecall("logout")
    assert f"a key is set in {folder / '.env'}" in found.err
    assert "pk_env" not in found.err
