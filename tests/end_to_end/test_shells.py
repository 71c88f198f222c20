"""TAB in the shells that Debian has, beside a server that runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pinecall_cli.settings import data_dir, run_dir
from tests.end_to_end.shells import Shell
from tests.server.peer import Peer, connected, embedded

Open = Callable[..., Shell]


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_shell(tmp_path: Path, shell_name: str) -> Iterator[Open]:
    """Open a shell in a folder that holds some files."""
    folder = tmp_path / "work"
    (folder / "agents").mkdir(parents=True)
    for name in ("lamps.yaml", "my file.yaml", "frost.wav", "agents/desk.yaml"):
        (folder / name).touch()
    opened: list[Shell] = []

    def begin() -> Shell:
        opened.append(Shell(shell_name, folder))
        return opened[-1]

    yield begin
    for shell in opened:
        shell.close()


@asynccontextmanager
async def office() -> AsyncIterator[Peer]:
    """Run a local server with two agents, and a call that goes on."""
    server = embedded(keys=(), data=data_dir(), run_dir=run_dir())
    async with server, connected(server, server.key) as peer:
        for name in ("front-desk", "night-desk"):
            await peer.agent(name, llm="script")
        await peer.send("llm.chat", agent_id="front-desk", session_id="c_live_1", text="hello")
        await peer.until("llm.chat.done", session_id="c_live_1")
        yield peer


def test_commands_options_and_their_values_are_completed(open_shell: Open):
    shell = open_shell()
    assert shell.tab("pinecall age").words == ["pinecall", "agents"]
    assert shell.tab("pinecall call --list").words == ["pinecall", "call", "--list-devices"]
    for words in (["token", "x", "--channel", "we"], ["token", "x", "--channel=we"]):
        got = shell.tab(" ".join(["pinecall", *words]))
        assert got.words == ["pinecall", *words[:-1], words[-1].replace("we", "webrtc")]
    shown = shell.tab("pinecall agents ").shown
    for name in ("check", "show", "new", "kick", "schema"):
        assert name in shown
    shown = shell.tab("pinecall logs --ex").words
    assert shown == ["pinecall", "logs", "--export"]


def test_what_stands_before_and_around_the_command_does_not_disturb(open_shell: Open):
    shell = open_shell()
    line = "pinecall call --server http://127.0.0.1:4747 --ans"
    assert shell.tab(line).words == [*line.split()[:-1], "--answer"]
    assert shell.tab('pinecall call --say "one: two" --ans').words[-2:] == ["one: two", "--answer"]
    assert shell.tab("pinecall call --server=http://127.0.0.1:4747 --ans").words[-1] == "--answer"


def test_files_are_offered_where_they_fit_and_nowhere_else(open_shell: Open):
    shell = open_shell()
    assert shell.tab("pinecall dev la").words[-1] == "lamps.yaml"
    assert shell.tab("pinecall dev my").words[-1] == "my file.yaml"
    assert shell.tab("pinecall call la").words[-1] == "lamps.yaml"
    assert shell.tab("pinecall call x --input fro").words[-1] == "frost.wav"
    assert shell.tab("pinecall call x --input=fro").words[-1] == "--input=frost.wav"
    assert shell.tab("pinecall agents check la").words[-1] == "lamps.yaml"
    # What is a folder, and some shells leave its slash for later.
    assert shell.tab("pinecall dev --record ").words[-1].rstrip("/") == "agents"
    assert shell.tab("pinecall token la").words[-1] == "la"
    assert shell.tab("pinecall logs --agent la").words[-1] == "la"
    assert shell.tab("pinecall login la").words[-1] == "la"


async def test_the_agents_and_calls_of_a_running_server_are_offered(open_shell: Open):
    async with office():

        def press() -> None:
            shell = open_shell()
            assert shell.tab("pinecall token nig").words == ["pinecall", "token", "night-desk"]
            assert shell.tab("pinecall agents kick fron").words[-1] == "front-desk"
            assert shell.tab("pinecall listen ").words == ["pinecall", "listen", "c_live_1"]
            assert shell.tab("pinecall logs c_").words[-1] == "c_live_1"
            shown = shell.tab("pinecall call fro").shown
            assert "front-desk" in shown
            assert "frost.wav" in shown
            shown = shell.tab("pinecall token ").shown
            assert "front-desk" in shown
            assert "night-desk" in shown

        await asyncio.to_thread(press)


def test_a_command_named_by_its_path_is_asked_itself(open_shell: Open, tmp_path: Path):
    shell = open_shell()
    (tmp_path / "work" / "pinecall").write_text("#!/bin/sh\nprintf 'nothing\\nself-made\\t\\n'\n")
    (tmp_path / "work" / "pinecall").chmod(0o755)
    assert shell.tab("./pinecall se").words == ["./pinecall", "self-made"]


def test_what_is_offered_is_never_evaluated_and_what_breaks_is_not_seen(
    open_shell: Open, tmp_path: Path
):
    """A program that is broken, or hostile, in place of ours."""
    shell = open_shell()
    broken = tmp_path / "work" / "pinecall"
    broken.write_text("#!/bin/sh\necho Traceback >&2; exit 1\n")
    broken.chmod(0o755)
    pressed = shell.tab("./pinecall se")
    assert pressed.words == ["./pinecall", "se"]
    assert "Traceback" not in pressed.shown
    names = ["$(:>evaluated)", "`:>evaluated`", ";:>evaluated"]
    said = "\\n".join(rf"{name}\t$(:>evaluated)" for name in names)
    broken.write_text(f"#!/bin/sh\nprintf '%b' 'nothing\\n{said}\\n'\n")
    shell.tab("./pinecall ")
    assert not (tmp_path / "work" / "evaluated").exists()
