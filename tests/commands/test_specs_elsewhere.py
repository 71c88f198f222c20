"""``pinecall test`` as a step of a GitHub workflow, and on a server that runs already."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinecall_cli.agent.define import Agent
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret, run_dir
from tests.commands.spec_runs import (
    TOOLS,
    WRONG,
    Test,
    runner,
    shape,
    shop,
    write,
)
from tests.end_to_end.stub_server import StubServer
from tests.fakes.engines import Engines


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return shop(tmp_path, monkeypatch)


@pytest.fixture
def specs(folder: Path, capsys: pytest.CaptureFixture[str]) -> Test:
    return runner(folder, capsys)


# --- GitHub -------------------------------------------------------------------------------


@pytest.fixture
def page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be a step of a GitHub workflow; return the page of its run."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(folder.parent))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "page.md"))
    return folder / "page.md"


def test_on_github_failures_are_annotations_and_a_page(specs: Test, page: Path, folder: Path):
    write({"specs/c.spec.yaml": WRONG})
    done = specs("specs", "--json")
    assert [line for line in done.err.splitlines() if line.startswith("::")] == [
        f"::error file={folder.name}/specs/c.spec.yaml,line=6,col=9,title=Wrong on purpose::"
        'expected says `delivered`%0Asaid: "Order 7 is sent, look 1."'
    ]
    assert done.document["failed"] == 1
    assert "| ✅ | specs/a.spec.yaml |" in page.read_text("utf-8")
    assert r"| ❌ | specs/c.spec.yaml | expected says \`delivered\` |" in page.read_text("utf-8")


def test_on_github_what_is_wrong_with_files_is_an_annotation_too(
    specs: Test, page: Path, folder: Path
):
    write({"specs/c.spec.yaml": "agent: ../desk.yaml\nsteps:\n- sya: Hello\n"})
    done = specs("specs")
    assert done.code == 2
    place = f"file={folder.name}/specs/c.spec.yaml,line=3,col=3"
    assert f"::error {place},title=pinecall test::unknown key `sya`" in done.err
    assert not page.exists()


def test_a_page_that_cannot_be_written_is_said_and_changes_nothing(
    specs: Test, page: Path, folder: Path
):
    page.mkdir()
    done = specs("specs")
    assert done.code == 0
    assert "cannot write GITHUB_STEP_SUMMARY" in done.err


# --- on a server that runs ----------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(engines=Engines(), run_dir=run_dir()) as running:
        yield running


def test_specs_run_on_a_local_server_and_leave_its_agents_alone(
    specs: Test, server: EmbeddedServer
):
    ready, stop, kept = threading.Event(), threading.Event(), list[str]()

    async def others() -> None:
        async with Pinecall(server.key, server.url) as client:
            client.add(Agent("desk", llm="script", phone_numbers=["+13186330963"]))
            await client.registered()
            ready.set()
            await asyncio.get_running_loop().run_in_executor(None, stop.wait)
            async with Rest(server.url, Secret(server.key)) as rest:
                kept.extend(agent.slug for agent in await rest.agents())

    thread = threading.Thread(target=lambda: asyncio.run(others()))
    thread.start()
    try:
        assert ready.wait(30)
        done = specs("--server", server.url)
    finally:
        stop.set()
        thread.join()
    assert (done.code, shape(done.lines)[-1]) == (0, "2 passed")
    assert "inside this program" not in done.err
    assert kept == ["desk"]


def test_local_runs_here_whatever_server_is_named(specs: Test):
    done = specs("--server", "http://127.0.0.1:1", "--local", "--plain")
    assert done.code == 0
    assert "inside this program" in done.err


def test_a_server_that_is_gone_ends_with_3(specs: Test, server: EmbeddedServer):
    url, key = server.url, server.key
    server.stop()
    unknown = specs("--server", url)
    assert (unknown.code, unknown.out) == (3, "")
    dead = specs("--server", url, "--api-key", key, "--junit", "junit.xml", "--json")
    assert dead.code == 3
    assert dead.document["error"]["code"] == "server_unreachable"
    assert not Path("junit.xml").exists()
    assert key not in dead.out + dead.err


def test_a_key_that_is_refused_ends_with_4(specs: Test, server: EmbeddedServer):
    done = specs("--server", server.url, "--api-key", "pk_wrong")
    assert (done.code, done.out) == (4, "")
    assert "pk_wrong" not in done.err


def test_a_hosted_server_is_refused(specs: Test):
    with StubServer() as hosted:
        done = specs("--server", hosted.url, "--api-key", "pk_any")
    assert (done.code, done.out) == (2, "")
    assert "local servers alone" in done.error


def test_a_server_that_goes_away_meanwhile_ends_with_3(
    specs: Test, server: EmbeddedServer, folder: Path
):
    for name in ("runs", "goes_on"):
        os.mkfifo(folder / name)
    pipes = "    open('runs', 'w').close()\n    open('goes_on').close()\n"
    write({"desk_tools.py": TOOLS.replace("    global times\n", f"    global times\n{pipes}")})

    def stop() -> None:
        (folder / "runs").read_text()
        server.stop()
        (folder / "goes_on").write_text("")

    thread = threading.Thread(target=stop)
    thread.start()
    done = specs("specs/a.spec.yaml", "--server", server.url, "--json")
    thread.join()
    (result,) = done.document["results"]
    assert (done.code, result["passed"]) == (3, False)
    assert result["error"]["code"] in ("infrastructure", "server_unreachable")
