"""`session.configure`, as `configureSession()` and as `call.update()` send it (commands.md §5)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.answered import SCRIPT, answered
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected, embedded


async def asked(peer: Peer, text: str, session: str = "chat-1") -> str:
    """Write to `desk`, and return its answer."""
    await peer.send("llm.chat", agent_id="desk", session_id=session, text=text)
    return str((await peer.until("llm.chat.done", session_id=session))["text"])


@holds("commands", "5.1")
@pytest.mark.parametrize("variant", [{"agent_id": "desk"}, {}], ids=["session", "call"])
async def test_both_variants_are_acknowledged_and_change_the_next_turn(variant: dict[str, str]):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Old.", raw_prompt=True)
        await asked(peer, "hello")
        await peer.send("session.configure", **variant, session_id="chat-1", prompt="New.")
        answer = await peer.receive()
        assert (answer["event"], answer["agent_id"]) == ("session.configured", "desk")
        assert "chat-1" in (answer.get("session_id"), answer.get("call_id"))
        assert await asked(peer, "your prompt") == "New."


@holds("commands", "5.1")
async def test_it_is_for_that_session_alone():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Old.", raw_prompt=True)
        for session in ("chat-1", "chat-2"):
            await asked(peer, "hello", session)
        await peer.send("session.configure", session_id="chat-1", prompt="New.")
        await peer.until("session.configured")
        assert await asked(peer, "your prompt", "chat-2") == "Old."
        assert await asked(peer, "your prompt", "chat-3") == "Old."


@holds("commands", "5.1")
@pytest.mark.parametrize(
    "patch",
    [
        {"prompt": "For {{name}}.", "raw_prompt": True, "vars": {"name": "Ana"}},
        {"prompt": "For {{name}}.", "rawPrompt": True, "promptVars": {"name": "Ana"}},
    ],
    ids=["snake", "camel"],
)
async def test_both_spellings_of_prompt_keys_are_read(patch: dict[str, Any]):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await asked(peer, "hello")
        await peer.send("session.configure", session_id="chat-1", **patch)
        await peer.until("session.configured")
        assert await asked(peer, "your prompt") == "For Ana."


@holds("commands", "5.1")
@pytest.mark.parametrize("key", ["session_limits", "sessionLimits"])
async def test_both_spellings_of_the_limits_are_read(key: str):
    async with answered(llm=SCRIPT) as (owner, caller):
        limits = {key: {"max_duration_seconds": 0.2}}
        await owner.send("session.configure", session_id=caller.call_id, **limits)
        await owner.until("session.configured")
        assert (await caller.until("call.ended"))["reason"] == "max_duration"


@holds("commands", "5.1")
@pytest.mark.parametrize("key", ["knowledge_base", "knowledgeBase"])
async def test_both_spellings_of_the_knowledge_base_are_taken(key: str):
    async with answered(llm=SCRIPT) as (owner, caller):
        await owner.send("session.configure", session_id=caller.call_id, **{key: "kb_1"})
        assert (await owner.until("session.configured"))["agent_id"] == "desk"


@holds("commands", "5.1")
@pytest.mark.parametrize(
    "stt",
    [
        "deepgram:nova-3:es",
        "deepgram/flux",
        "deepgram",
        {"provider": "deepgram", "model": "nova-3", "language": "es"},
    ],
    ids=str,
)
async def test_every_form_of_stt_is_taken(stt: Any):
    async with answered(llm=SCRIPT) as (owner, caller):
        await owner.send("session.configure", session_id=caller.call_id, stt=stt)
        assert (await owner.until("session.configured"))["call_id"] == caller.call_id


@holds("commands", "5.1")
@pytest.mark.parametrize(
    "patch", [{"stt": "deepgram:nova-2"}, {"voice": 5}, {"tools": {}}], ids=str
)
async def test_a_change_that_cannot_be_is_an_error_about_the_call_which_goes_on(
    patch: dict[str, Any],
):
    async with answered(llm=SCRIPT) as (owner, caller):
        await owner.send("session.configure", session_id=caller.call_id, **patch)
        error = await owner.until("error")
        assert caller.call_id in (error.get("call_id"), error.get("session_id"))
        await owner.settled()
        assert "session.configured" not in [frame["event"] for frame in owner.seen]
        assert "call.ended" not in caller.names()


@holds("commands", "5.1")
async def test_a_session_that_is_not_ones_own_is_not_changed():
    async with embedded() as server, connected(server) as owner, connected(server) as other:
        await owner.agent("desk", llm=SCRIPT, prompt="Mine.", raw_prompt=True)
        await asked(owner, "hello")
        for session in ("chat-1", "chat-9"):
            await other.send("session.configure", session_id=session, prompt="Theirs.")
            assert (await other.receive())["code"] == "CALL_NOT_FOUND"
        assert await asked(owner, "your prompt") == "Mine."


@holds("commands", "5.1")
async def test_the_deprecated_form_with_a_nested_config_is_acknowledged():
    async with answered(llm=SCRIPT) as (owner, caller):
        config = {"interruption": {"enabled": False}, "stt": {"provider": "deepgram"}}
        await owner.send("session.configure", session_id=caller.call_id, config=config)
        answer = await owner.until("session.configured")
        assert answer["session_id"] == caller.call_id


@holds("commands", "5.1")
async def test_what_is_configured_before_a_reply_applies_to_it():
    async with answered(llm=SCRIPT) as (owner, caller):
        call = caller.call_id
        await owner.send("session.configure", session_id=call, language="es")
        said = {"call_id": call, "message_id": "m1", "text": "Hola", "in_reply_to": ""}
        await owner.send("bot.reply", **said)
        await owner.until("bot.finished")
        order = [frame["event"] for frame in owner.seen]
        assert order.index("session.configured") < order.index("bot.speaking")
