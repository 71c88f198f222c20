"""Calls held, muted, forwarded and prompted from an agent's code, on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinecall_cli.errors import PinecallError, UsageError
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.prompts import MAX_PROMPT_BYTES, prompt_file
from pinecall_cli.server.embedded import EmbeddedServer
from tests.sdk.test_voice import calling, registered

ECHO = {"provider": "script", "rules": [{"say": "{prompt}"}]}


async def test_holds_and_mutes_are_acknowledged(server: EmbeddedServer, client: Pinecall):
    agent = await registered(client)
    async with calling(server, client, agent) as call:
        assert await call.hold() is None
        assert await call.unhold() is None
        assert await call.mute() is None
        assert await call.unmute() is None


async def test_what_a_call_cannot_do_fails_where_it_was_asked(
    server: EmbeddedServer, client: Pinecall
):
    agent = await registered(client)
    async with calling(server, client, agent) as call:
        with pytest.raises(PinecallError, match="phone calls only"):
            await call.send_dtmf("1")
        with pytest.raises(PinecallError, match=r"\+15005550004"):
            await call.forward("+15005550004")


async def test_a_call_is_forwarded(server: EmbeddedServer, client: Pinecall):
    agent = await registered(client)
    async with calling(server, client, agent) as call:
        assert await call.forward("+15005550006") is None


async def test_skills_are_loaded_by_hand(server: EmbeddedServer, client: Pinecall):
    skill = {"name": "booking", "description": "Books.", "activation": "manual"}
    agent = await registered(client, skills=[skill])
    async with calling(server, client, agent) as call:
        await call.load_skill("booking")
        assert call.active_skills == {"booking"}
        await call.unload_skill("booking")
        assert call.active_skills == set()


async def test_a_prompt_file_becomes_the_prompt(server: EmbeddedServer, tmp_path: Path):
    (tmp_path / "sales.md").write_text("Sell {{what}}.\n")
    async with Pinecall(server.key, server.url, prompts_dir=tmp_path) as client:
        agent = client.agent(
            "front-desk",
            llm={"provider": "script", "rules": [{"say": "{prompt}"}]},
            raw_prompt=True,
        )
        await client.registered()
        async with calling(server, client, agent) as call:
            await call.set_prompt_file("sales", what="lamps")
            with pytest.raises(UsageError):
                call.set_prompt_file("../secret")


# --- prompt files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "a.md", "sub/b.txt", "./a"])
def test_files_below_the_folder_are_read(tmp_path: Path, name: str):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text("\ufeffText.\n")
    (tmp_path / "sub" / "b.txt").write_text("Text.")
    assert prompt_file(tmp_path, name) == "Text."


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "sub/../../secret", "link", "nothing", "", "bin", "big"]
)
def test_nothing_else_is(tmp_path: Path, name: str):
    (tmp_path / "secret.md").write_text("secret")
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "link.md").symlink_to(tmp_path / "secret.md")
    (folder / "bin").write_bytes(b"\xff\xfe\x00")
    (folder / "big").write_bytes(b"x" * (MAX_PROMPT_BYTES + 1))
    with pytest.raises(UsageError):
        prompt_file(folder, name)
