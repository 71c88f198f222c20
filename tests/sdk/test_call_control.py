"""Calls held, muted, forwarded and prompted from an agent's code, on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinecall_cli.agent.define import Agent, tool
from pinecall_cli.agent.skill import Skill
from pinecall_cli.errors import AgentFileError, PinecallError, UsageError
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.prompts import MAX_PROMPT_BYTES, prompt_file
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.sdk.listening import Log, chat
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


@tool
async def weigh(what: str, call: Call) -> str:
    """Weigh something.

    Args:
        what: What.
    """
    return f"{what} in {call.id}"


def measure(what: str) -> str:
    """Measure something.

    Args:
        what: What.
    """
    return f"{what} is long"


def smell(what: str) -> str:
    """Smell something.

    Args:
        what: What.
    """
    return f"{what} smells"


async def test_tools_that_one_call_alone_was_given_are_run(client: Pinecall):
    await registered(client, tools=[measure])
    results = Log()
    client.on("llm.tool_result", results)
    session = await chat(client, "front-desk", "Hello")
    (call,) = client.calls()
    booking = Skill("booking", "Books.", tools=[smell], activation="always")
    await call.update(tools=[weigh], skills=[booking])
    assert call.overrides == {"tools", "skills"}
    for name, result in [("weigh", f"gold in {session}"), ("smell", "gold smells")]:
        await chat(client, "front-desk", f'tool {name} {{"what": "gold"}}', session=session)
        (event, of) = await results.until(lambda event, _, name=name: event.name == name)
        assert (event.result, of) == (result, call)
    other = await chat(client, "front-desk", 'tool weigh {"what": "gold"}')
    (event, _) = await results.until(lambda event, _: event.call_id == other)
    assert event.result == {"error": "Unknown tool: weigh"}


async def test_a_skill_is_declared_whole(server: EmbeddedServer, client: Pinecall):
    skill = Skill(
        "booking",
        "Books a table.",
        instructions="Ask for the day.",
        tools=[weigh, measure],
        knowledge_base="kb_b",
        rag_top_k=4,
        activation="manual",
    )
    agent = await registered(client, skills=[skill, {"name": "plain", "description": "Plain."}])
    assert agent.tools.keys() == {"weigh", "measure"}
    async with Rest(server.url, Secret(server.key)) as rest:
        config = (await rest.agent_config("front-desk"))["config"]
    booking, plain = config["skills"]
    assert [tool["function"]["name"] for tool in booking.pop("tools")] == ["weigh", "measure"]
    assert booking == {
        "name": "booking",
        "description": "Books a table.",
        "instructions": "Ask for the day.",
        "knowledge_base": "kb_b",
        "rag_top_k": 4,
        "activation": "manual",
    }
    assert plain == {
        **{"name": "plain", "description": "Plain."},
        **{"tools": [], "activation": "model"},
    }


async def test_a_skill_that_cannot_be_is_refused_where_the_agent_is_made():
    with pytest.raises(AgentFileError, match="rag_top_k"):
        Agent("a", skills=[Skill("booking", "Books.", rag_top_k=0)])


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
