"""Which server, which key: order, origins, and what never happens to a key."""

from __future__ import annotations

import tempfile
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
    path.chmod(0o600)
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
    path = write_profile(around, "[profile]\napi_key = [")
    with pytest.raises(UsageError) as caught:
        resolve(Flags(), around)
    assert str(caught.value.where) == f"{path}:2"
    assert caught.value.fix


def test_every_place_is_asked_in_its_turn(around: Surroundings) -> None:
    """Flag, environment, .env, project, profile, default: each in force when those before say
    nothing, and told as shadowed by each before it."""
    profile = write_profile(around, '[profile]\nurl = "https://profile.test"\napi_key = "pk_p"\n')
    project, dotenv = around.cwd.parent / "pinecall.toml", around.cwd / ".env"
    project.write_text('[server]\nurl = "https://project.test"\n')
    dotenv.write_text("PINECALL_URL=https://dotenv.test\n")
    environ = with_(around, PINECALL_URL="https://environment.test")
    kinds = ["flag", "environment", "dotenv", "project", "profile"]

    def force(flags: Flags, where: Surroundings) -> list[str]:
        found = resolve(flags, where).server
        assert found is not None
        every = [found, *found.shadows]
        for one in every:
            if one.origin.kind != "flag":
                assert one.value == f"https://{one.origin.kind}.test"
        return [one.origin.kind for one in every]

    assert force(Flags(server="https://flag.test"), environ) == kinds
    assert force(Flags(), environ) == kinds[1:]
    assert force(Flags(), around) == kinds[2:]
    dotenv.unlink()
    assert force(Flags(), around) == kinds[3:]
    project.unlink()
    assert force(Flags(), around) == kinds[4:]
    profile.write_text('[profile]\napi_key = "pk_p"\n')
    assert resolve(Flags(), around).server is None
    assert resolve(Flags(), around).target().url == settings.HOSTED_URL
    profile.unlink()
    assert resolve(Flags(), around).target() == Target("embedded")


TWO = """\
[profile]
api_key = "pk_default"

[profiles.staging]
api_key = "pk_staging"
url = "https://staging.test"
"""


def test_the_profile_is_chosen_by_environment_then_project_then_default(
    around: Surroundings,
) -> None:
    write_profile(around, TWO)
    staging = Target("hosted", "https://staging.test", Secret("pk_staging"))
    assert resolve(Flags(), around).target().key == Secret("pk_default")
    (around.cwd / "pinecall.toml").write_text('[server]\nprofile = "staging"\n')
    assert resolve(Flags(), around).target() == staging
    default = resolve(Flags(), with_(around, PINECALL_PROFILE="default"))
    assert default.target() == Target("hosted", settings.HOSTED_URL, Secret("pk_default"))
    (around.cwd / "pinecall.toml").unlink()
    assert resolve(Flags(), with_(around, PINECALL_PROFILE="staging")).target() == staging


def test_a_profile_that_is_not_there_is_an_error_if_you_named_it_and_a_notice_if_a_project_did(
    around: Surroundings,
) -> None:
    write_profile(around, TWO)
    with pytest.raises(UsageError, match="no profile `stagin`") as caught:
        resolve(Flags(), with_(around, PINECALL_PROFILE="stagin"))
    assert "did you mean `staging`?" in (caught.value.fix or "")
    (around.cwd / "pinecall.toml").write_text('[server]\nprofile = "theirs"\n')
    found = resolve(Flags(), around)
    assert "`pinecall login --profile theirs`" in found.notices[0]
    assert found.target() == Target("embedded")


def test_a_saved_key_goes_to_the_server_it_was_saved_for_whoever_names_it(
    around: Surroundings,
) -> None:
    write_profile(around, TWO)
    project = around.cwd / "pinecall.toml"
    project.write_text('[server]\nprofile = "staging"\nurl = "https://staging.test"\n')
    assert resolve(Flags(), around).target().key == Secret("pk_staging")
    project.write_text('[server]\nprofile = "staging"\nurl = "https://evil.test"\n')
    with pytest.raises(NotAuthorisedError) as caught:
        resolve(Flags(), around).target()
    assert str(caught.value.where) == str(project)
    assert "pinecall login --server https://evil.test" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("text", "place", "message", "fix"),
    [
        ("[profile]\napi_key = pk_1\n", ":2:11", "is not TOML", "log"),
        ("[profile\n", ":1:", "is not TOML", "login"),
        ('[profile]\napi_key = "', ":2", "is not TOML", "login"),
        ('[profile]\napi_kye = "pk_1"\n', ":2:1", "`api_kye`", "did you mean `api_key`?"),
        ('\n[profil]\napi_key = "pk_1"\n', ":2:1", "`profil`", "did you mean `profile`?"),
        ("[profile]\n  api_key = 3\n", ":2:3", "is a text", "login"),
        ("profile = 3\n", ":1:1", "is a table", "[profile]"),
        ("[profiles]\nstaging = 3\n", ":2:1", "is a table", "[profiles.staging]"),
        ('[profiles."x y"]\nname = "pk_1"\n', ":2:1", "`name`", "known: api_key, url"),
    ],
)
def test_what_is_wrong_with_saved_keys_is_told_at_its_line_and_quotes_no_key(
    around: Surroundings, text: str, place: str, message: str, fix: str
) -> None:
    path = write_profile(around, text)
    with pytest.raises(UsageError) as caught:
        resolve(Flags(), around)
    assert str(caught.value.where).startswith(f"{path}{place}")
    assert message in caught.value.message
    assert fix in (caught.value.fix or "")
    assert "pk_1" not in str(caught.value.as_json())


@pytest.mark.parametrize(
    ("text", "place", "message", "fix"),
    [
        ("[call\n", ":1:6", "is not TOML", "mend that line"),
        ("[call]\nalow = []\n", ":2:1", "`alow`", "did you mean `allow`?"),
        ("[cal]\n", ":1:1", "`cal`", "did you mean `call`?"),
        ("call = 3\n", ":1:1", "is a table", "[call]"),
        ('[call]\nallow = "+1"\n', ":2:1", "is a list", "allow = ["),
        ("[call]\nallow = [1]\n", ":2:1", "is a list", "allow = ["),
        ("[call]\nallow = []\n[server]\n url = 3\n", ":4:2", "is a text", 'url = "'),
        ('[server]\napi_key = "pk_1"\n', ":2:1", "`api_key`", "known: profile, url"),
    ],
)
def test_what_is_wrong_with_a_project_is_told_at_its_line(
    around: Surroundings, text: str, place: str, message: str, fix: str
) -> None:
    path = around.cwd / "pinecall.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        resolve(Flags(), around)
    assert str(caught.value.where) == f"{path}{place}"
    assert message in caught.value.message
    assert fix in (caught.value.fix or "")


def test_files_that_are_no_text_are_errors_too(around: Surroundings) -> None:
    path = around.cwd / "pinecall.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is not UTF-8"):
        resolve(Flags(), around)
    path.unlink()
    write_profile(around, "").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is not UTF-8"):
        resolve(Flags(), around)


def test_a_project_of_another_user_is_ignored_and_said(around: Surroundings) -> None:
    (around.cwd / "pinecall.toml").write_text("broken")
    stranger = Surroundings({}, around.cwd, around.home, "linux", (around.uid or 0) + 1)
    assert "belongs to another user" in resolve(Flags(), stranger).notices[0]


def test_keys_that_others_can_read_are_a_notice(around: Surroundings) -> None:
    path = write_profile(around, TWO)
    path.chmod(0o644)
    assert resolve(Flags(), around).notices == (
        f"{path} holds keys, and others can read it: `chmod 600` it",
    )
    path.chmod(0o600)
    assert resolve(Flags(), around).notices == ()


NAMES = st.text(min_size=1, max_size=12)


@given(
    st.dictionaries(
        NAMES, st.fixed_dictionaries({"api_key": st.text(max_size=20), "url": st.text(max_size=9)})
    )
)
def test_saved_profiles_are_read_as_they_were_written(profiles: dict[str, dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "config.toml"
        settings.write_profiles(path, profiles)
        assert settings.read_profiles(path) == profiles


@pytest.mark.parametrize("url", ["https://user:pw@x.test", "https://pw@x.test?x", "u:pw@x"])
def test_a_password_in_an_address_is_refused_and_not_repeated(
    around: Surroundings, url: str
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(Flags(), with_(around, PINECALL_URL=url)).target()
    assert "pw" not in str(caught.value.as_json())
    assert str(caught.value.where) == "`PINECALL_URL`"


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
        "http://a\x1b[2J",
        "http://\udcff",
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
