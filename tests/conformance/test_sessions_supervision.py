"""What a reader of the call log may do to a call: sessions.md §6."""

from __future__ import annotations

import json
from typing import Any

import pytest
import websockets

from pinecall_cli.server.tokens import Scope
from tests.conformance.paragraphs import holds
from tests.server.log_reader import (
    CHAT,
    attached,
    chat,
    desk,
    entry,
    to_the_end,
    token,
    types,
    until,
)


async def acted(socket: websockets.ClientConnection, action: str, **fields: Any) -> None:
    await socket.send(json.dumps({"action": action, **fields}))


@holds("sessions", "6")
@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("observe", 0), ("participate", 3), ("supervise", 6)],
)
async def test_a_scope_allows_what_it_says(scope: Scope, allowed: int):
    actions = ["say", "inject_text", "hangup", "whisper", "pause", "resume"]
    async with desk() as (server, peer):
        await chat(peer, "c1")
        key = token(server, scope=scope)
        async with attached(server, None, token=key, call="c1") as socket:
            await until(socket, "log.caught_up")
            for action in actions[allowed:]:
                await acted(socket, action, text="hi")
                answer = await entry(socket)
                assert (answer["type"], answer["code"]) == ("error", "SCOPE")


@holds("sessions", "6")
async def test_a_supervisor_speaks_whispers_pauses_and_hangs_up():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with attached(server, call="c1") as socket:
            await until(socket, "log.caught_up")
            await acted(socket, "say", text="One moment.")
            said, *_, spoken = await until(socket, "bot.speaking")
            assert said["type"] == "supervisor.said"
            assert said["data"] == {"text": "One moment.", "by": "supervisor"}
            assert spoken["data"]["text"] == "One moment."
            await until(socket, "bot.finished")
            await acted(socket, "whisper", text="Be kind.")
            assert (await entry(socket))["type"] == "supervisor.whispered"
            await acted(socket, "pause")
            assert (await entry(socket))["type"] == "handoff.active"
            await acted(socket, "inject_text", text="anybody there?")
            heard = await until(socket, "user.message")
            assert heard[-1]["data"]["text"] == "anybody there?"
            await acted(socket, "say", text="A person.")
            await peer.until("llm.chat.done", session_id="c1", text="A person.")
            await acted(socket, "resume")
            assert (await until(socket, "handoff.released"))[-1]["data"] == {"by": "supervisor"}
            await chat(peer, "c1", text="prompt")
            await acted(socket, "hangup")
            *_, ended, summary = (await to_the_end(socket))[0]
        assert (ended["type"], ended["data"]["reason"]) == ("call.ended", "hangup")
        assert summary["type"] == "call.summary"
        ended = await peer.until("llm.chat.ended")
        assert {"role": "system", "content": "Be kind."} in ended["messages"]


@holds("sessions", "6")
async def test_nonsense_and_actions_without_a_call_are_told_and_change_nothing():
    async with desk() as (server, peer):
        await chat(peer, "c1")
        async with attached(server, agent="desk") as socket:
            await until(socket, "log.caught_up")
            for sent, code in [
                ("no json", "BAD_ACTION"),
                ("[]", "BAD_ACTION"),
                ('{"action": 7}', "BAD_ACTION"),
                ('{"action": "dance"}', "UNKNOWN_ACTION"),
                ('{"action": "say"}', "BAD_ACTION"),
                (json.dumps({"action": "say", "text": "x" * 5_000}), "BAD_ACTION"),
                ('{"action": "say", "text": "hi"}', "CALL_OVER"),
            ]:
                await socket.send(sent)
                answer = await entry(socket)
                assert (answer["type"], answer["code"]) == ("error", code), sent
        async with attached(server, call="c1") as socket:
            log = await until(socket, "log.caught_up")
        assert types(log[:-1]) == CHAT
