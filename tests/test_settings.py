"""Which server, which key: order, origins, and what never happens to a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli import settings
from pinecall_cli.errors import NotAuthorisedError, UsageError
from pinecall_cli.settings import Flags, Secret, Surroundings, Target, resolve


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    home = tmp_path / "home"
    work = home / "project" / "deep"
    work.mkdir(parents=True)
    return Surroundings({}, work, home, "linux", tmp_path.stat().st_uid)


def with_(around: Surroundings, **environ: str) -> Surroundings:
    return Surroundings(environ, around.cwd, around.home, around.platform, around.uid)


def write_profile(around: Surroundings, text: str) -> Path:
    path = settings.config_dir(around) / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def nobody() -> str:
    raise AssertionError("standard input was read")


def test_without_anything_the_embedded_server_is_taken(around: Surroundings) -> None:
    found = resolve(Flags(), around, read_key=nobody)
    assert found.target() == Target("embedded")
    assert found.notices == ()


def test_a_key_alone_leads_to_the_hosted_server(around: Surroundings) -> None:
    found = resolve(Flags(), with_(around, PINECALL_API_KEY="pk_1"))
    assert found.target() == Target("hosted", "https://voice.pinecall.io", Secret("pk_1"))


def test_flag_then_environment_then_dotenv_then_profile(around: Surroundings) -> None:
    profile = write_profile(around, '[profile]\napi_key = "pk_p"\nurl = "https://p.test"\n')
    dotenv = around.cwd.parent / ".env"

    def keys(flags: Flags, where: Surroundings) -> tuple[str, str, str]:
        found = resolve(flags, where)
        assert found.key is not None
        assert found.server is not None
        assert found.key.origin.kind == found.server.origin.kind
        return found.key.value.reveal(), found.server.value, found.key.origin.where

    environ = with_(around, PINECALL_API_KEY="pk_e", PINECALL_URL="https://e.test")
    assert keys(Flags(), around) == ("pk_p", "https://p.test", str(profile))
    dotenv.write_text("PINECALL_API_KEY=pk_d\nPINECALL_URL=https://d.test\n")
    assert keys(Flags(), around) == ("pk_d", "https://d.test", str(dotenv))
    assert keys(Flags(), environ) == ("pk_e", "https://e.test", "`PINECALL_API_KEY`")
    flags = Flags(server="https://f.test", api_key="pk_f")
    assert keys(flags, environ) == ("pk_f", "https://f.test", "`--api-key`")


def test_local_wins_over_everything(around: Surroundings) -> None:
    environ = with_(around, PINECALL_API_KEY="pk_e", PINECALL_URL="https://e.test")
    assert resolve(Flags(local=True), environ).target() == Target("embedded")


def test_a_dash_reads_the_key_from_standard_input(around: Surroundings) -> None:
    found = resolve(Flags(api_key="-"), around, read_key=lambda: " pk_typed \n")
    assert found.target().key == Secret("pk_typed")
    with pytest.raises(UsageError, match="no key on standard input"):
        resolve(Flags(api_key="-"), around, read_key=lambda: "\n")


def test_a_loopback_server_is_local_and_needs_no_key(around: Surroundings) -> None:
    for url in ("http://127.0.0.1:4747", "ws://localhost:9", "http://[::1]:80"):
        target = resolve(Flags(server=url), around).target()
        assert (target.kind, target.key) == ("local", None)


def test_another_server_without_a_key_is_refused(around: Surroundings) -> None:
    with pytest.raises(NotAuthorisedError, match=r"no API key for https://voice\.test") as caught:
        resolve(Flags(server="wss://voice.test/"), around).target()
    assert caught.value.exit_code == 4
    assert caught.value.fix


@pytest.mark.parametrize("source", ["environment", "profile"])
def test_a_cloned_folder_never_receives_your_key(around: Surroundings, source: str) -> None:
    dotenv = around.cwd / ".env"
    dotenv.write_text("PINECALL_URL=https://evil.test\n")
    if source == "environment":
        around = with_(around, PINECALL_API_KEY="pk_mine")
    else:
        write_profile(around, '[profile]\napi_key = "pk_mine"\n')
    with pytest.raises(NotAuthorisedError) as caught:
        resolve(Flags(), around).target()
    assert caught.value.exit_code == 4
    assert str(caught.value.where) == str(dotenv)
    assert "pk_mine" not in str(caught.value.as_json())


def test_a_dotenv_server_is_used_with_its_own_key_or_a_typed_one(around: Surroundings) -> None:
    dotenv = around.cwd / ".env"
    dotenv.write_text("PINECALL_URL=https://ours.test\n")
    assert resolve(Flags(api_key="pk_f"), around).target().url == "https://ours.test"
    dotenv.write_text("PINECALL_URL=https://ours.test\nPINECALL_API_KEY=pk_d\n")
    assert resolve(Flags(), around).target().key == Secret("pk_d")


def test_a_dotenv_server_is_passed_over_by_one_of_your_own(around: Surroundings) -> None:
    (around.cwd / ".env").write_text("PINECALL_URL=https://evil.test\n")
    environ = with_(around, PINECALL_API_KEY="pk_mine", PINECALL_URL="https://mine.test")
    assert resolve(Flags(), environ).target().url == "https://mine.test"


def test_a_dotenv_of_another_user_is_ignored_and_said(around: Surroundings) -> None:
    (around.cwd / ".env").write_text("PINECALL_API_KEY=pk_theirs\n")
    stranger = Surroundings({}, around.cwd, around.home, "linux", (around.uid or 0) + 1)
    found = resolve(Flags(), stranger)
    assert found.target() == Target("embedded")
    assert "belongs to another user" in found.notices[0]


def test_the_search_for_a_dotenv_ends_with_the_git_root_and_with_home(around: Surroundings) -> None:
    (around.home.parent / ".env").write_text("PINECALL_API_KEY=pk_above_home\n")
    assert resolve(Flags(), around).key is None
    (around.home / ".env").write_text("PINECALL_API_KEY=pk_home\n")
    assert resolve(Flags(), around).target().key == Secret("pk_home")
    (around.cwd / ".git").mkdir()
    assert resolve(Flags(), around).key is None


def test_a_dotenv_that_cannot_be_read_is_a_notice(around: Surroundings) -> None:
    (around.cwd / ".env").write_bytes(b"\xff\xfe\x00")
    assert "ignored" in resolve(Flags(), around).notices[0]
    (around.cwd / ".env").write_bytes(b"A=" + b"x" * settings.MAX_DOTENV_BYTES)
    assert "larger than" in resolve(Flags(), around).notices[0]


def test_a_broken_profile_is_an_error_with_its_place(around: Surroundings) -> None:
    path = write_profile(around, "api_key = [")
    with pytest.raises(UsageError) as caught:
        resolve(Flags(), around)
    assert str(caught.value.where) == str(path)


def test_a_dotenv_is_read_as_it_is_written() -> None:
    text = (
        "# comment\n"
        "export A=1\n"
        "B = two words # and a comment\n"
        "C='$HOME # kept'\n"
        'D="line\\nnext \\"quoted\\"" # comment\n'
        "E=\n"
        "F=a#b\n"
        "G= # nothing\n"
        "not an assignment\n"
        "A=again\n"
    )
    assert settings.parse_dotenv(text) == {
        "A": "again",
        "B": "two words",
        "C": "$HOME # kept",
        "D": 'line\nnext "quoted"',
        "E": "",
        "F": "a#b",
        "G": "",
    }


@given(st.text())
def test_no_text_is_too_strange_for_a_dotenv(text: str) -> None:
    for name, value in settings.parse_dotenv(text).items():
        assert name.isidentifier()
        assert isinstance(value, str)


@given(st.text(min_size=4).filter(lambda s: s not in "Secret(***)"))
def test_a_secret_shows_itself_only_on_request(value: str) -> None:
    secret = Secret(value)
    shown = f"{secret} {secret!r} {[secret]} {Target('hosted', 'https://x.test', secret)}"
    assert shown == "*** Secret(***) [Secret(***)] " + (
        "Target(kind='hosted', url='https://x.test', key=Secret(***))"
    )
    assert secret.reveal() == value


def test_secrets_are_compared_by_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")


def test_the_values_of_a_dotenv_are_not_in_its_repr(around: Surroundings) -> None:
    (around.cwd / ".env").write_text("PINECALL_API_KEY=pk_hidden\n")
    dotenv, _ = settings.nearest_dotenv(around)
    assert "PINECALL_API_KEY" in repr(dotenv)
    assert "pk_hidden" not in repr(dotenv)


@pytest.mark.parametrize(
    ("given_", "http", "ws"),
    [
        ("wss://voice.test", "https://voice.test", "wss://voice.test"),
        ("ws://127.0.0.1:47/", "http://127.0.0.1:47", "ws://127.0.0.1:47"),
        ("https://a.test/base//", "https://a.test/base", "wss://a.test/base"),
    ],
)
def test_a_url_may_be_written_in_any_of_four_schemes(given_: str, http: str, ws: str) -> None:
    assert settings.http_base(given_) == http
    assert settings.ws_base(given_) == ws


@pytest.mark.parametrize(
    "url",
    [
        "",
        "voice.test",
        "ftp://a",
        "http://",
        "http://a:b",
        "http://u:p@a",
        "http://[1",
        "http://a?b",
    ],
)
def test_what_is_no_server_url_is_said_so(url: str) -> None:
    with pytest.raises(UsageError):
        settings.http_base(url)


FOLDERS: list[tuple[str, dict[str, str], str, str]] = [
    ("linux", {}, "config", ".config/pinecall"),
    ("linux", {}, "data", ".local/share/pinecall"),
    ("linux", {}, "state", ".local/state/pinecall"),
    ("linux", {}, "run", ".local/state/pinecall/run"),
    ("linux", {"XDG_RUNTIME_DIR": "/run/user/7"}, "run", "/run/user/7/pinecall"),
    ("linux", {"XDG_RUNTIME_DIR": "relative"}, "run", ".local/state/pinecall/run"),
    ("linux", {"XDG_DATA_HOME": "/d"}, "data", "/d/pinecall"),
    ("darwin", {}, "config", "Library/Application Support/pinecall"),
    ("darwin", {}, "run", "Library/Application Support/pinecall/state/run"),
    ("darwin", {"XDG_CONFIG_HOME": "/c"}, "config", "/c/pinecall"),
    ("win32", {"APPDATA": "/roaming"}, "config", "/roaming/pinecall"),
    ("win32", {}, "data", "AppData/Local/pinecall/data"),
]


@pytest.mark.parametrize(("platform", "environ", "which", "expected"), FOLDERS)
def test_folders(platform: str, environ: dict[str, str], which: str, expected: str) -> None:
    around = Surroundings(environ, Path("/w"), Path("/home/ana"), platform, 7)
    folder: Any = getattr(settings, f"{which}_dir")
    assert folder(around) == Path("/home/ana") / expected


def test_the_surroundings_of_this_process_can_be_taken() -> None:
    here = Surroundings.here()
    assert here.cwd == Path.cwd()
    assert settings.run_dir().name in {"pinecall", "run"}
