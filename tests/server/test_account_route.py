"""What is told of an account from local data, and what is not: rest.md §1.2, §3.4, §3.7, §4, §9."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.log.past_calls import conversation_with_transcript
from pinecall_cli.server.log.translate import Entry
from pinecall_cli.server.routes.account import HOSTED, HOSTED_JSON
from tests.server.peer import Peer, bearer, connected, embedded

NUMBERS = ("+12025550100", "+13186330963")
SCRIPT = {"provider": "script", "rules": [{"say": "Yes, we do."}]}


def client(server: EmbeddedServer, key: str = "pk_one") -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, headers=bearer(key))


async def chatted(peer: Peer, session: str, *texts: str) -> None:
    for text in texts:
        await peer.send("llm.chat", agent_id="desk", session_id=session, text=text)
        await peer.until("llm.chat.done")


async def test_the_numbers_of_the_agents_are_the_phone_numbers():
    async with embedded() as server, connected(server) as peer, client(server) as http:
        empty = {"success": True, "phones": [], "total": 0}
        assert (await http.get("/api/sdk/phone-numbers")).json() == empty
        for name, number in zip(("a", "b"), NUMBERS, strict=True):
            await peer.agent(name)
            await peer.send("channel.add", agent_id=name, type="phone", ref=number)
            await peer.until("channel.added")
        found = (await http.get("/api/sdk/phone-numbers")).json()
        assert [phone["number"] for phone in found["phones"]] == sorted(NUMBERS)
        assert found["total"] == 2
        first = found["phones"][0]
        assert (first["name"], first["isSdk"]) == (NUMBERS[0], True)
        assert len(first["sid"]) == 34
        assert first["sid"].startswith("PN")
        assert found == (await http.get("/api/sdk/phone-numbers")).json()
        async with client(server, "pk_two") as other:
            assert (await other.get("/api/sdk/phone-numbers")).json() == empty


async def test_calls_and_conversations_come_from_the_call_log():
    async with embedded() as server, connected(server) as peer, client(server) as http:
        await peer.agent("desk", llm=SCRIPT)
        await chatted(peer, "chat-1", "Do you ship to Peru?", "And to Chile?")
        await chatted(peer, "chat-2", "Hello?")
        conversations = (await http.get("/api/conversations?type=chat")).json()["conversations"]
        assert [found["id"] for found in conversations] == ["chat-2", "chat-1"]
        older = conversations[1]
        assert (older["type"], older["agentId"], older["messageCount"]) == ("chat", "desk", 4)
        assert older["createdAt"].endswith("Z")
        whole = (await http.get("/api/conversations/chat-1")).json()
        assert whole["transcript"] == [
            {"role": "user", "content": "Do you ship to Peru?"},
            {"role": "assistant", "content": "Yes, we do."},
            {"role": "user", "content": "And to Chile?"},
            {"role": "assistant", "content": "Yes, we do."},
        ]
        assert whole["startedAt"] == older["createdAt"]
        calls = (await http.get("/api/usage/calls?limit=1")).json()["calls"]
        assert [call["callId"] for call in calls] == ["chat-2"]
        assert (calls[0]["credits"], calls[0]["costUsd"], calls[0]["services"]) == (0, 0, ["llm"])
        assert calls[0]["events"] > 3
        assert calls[0]["endedAt"] is None


async def test_conversations_are_filtered():
    async with embedded() as server, connected(server) as peer, client(server) as http:
        await peer.agent("desk", llm=SCRIPT)
        for number in range(3):
            await chatted(peer, f"chat-{number}", "Hello?")
        for query, count in (
            ("", 3),
            ("?agent=desk&type=chat", 3),
            ("?agent=Desk&limit=2", 2),
            ("?type=phone", 0),
            ("?agent=nobody", 0),
            ("?limit=0", 0),
            ("?type=chat&limit=1", 1),
        ):
            found = (await http.get(f"/api/conversations{query}")).json()["conversations"]
            assert len(found) == count, query
        for query in ("?limit=x", "?limit=-1", "?type=fax"):
            refused = await http.get(f"/api/conversations{query}")
            assert refused.status_code == 422, query
            assert refused.json()["detail"] == refused.json()["error"]


async def test_nothing_of_one_organisation_is_told_to_another():
    async with embedded() as server, connected(server) as peer, client(server, "pk_two") as other:
        await peer.agent("desk", llm=SCRIPT)
        await chatted(peer, "chat-1", "A secret.")
        assert (await other.get("/api/conversations")).json() == {"conversations": []}
        assert (await other.get("/api/usage/calls")).json() == {"calls": []}
        assert (await other.get("/api/conversations/chat-1")).status_code == 404
        async with connected(server, "pk_two") as thief:  # the same id, chosen on purpose
            await thief.agent("desk", llm=SCRIPT)
            await chatted(thief, "chat-1", "Mine.")
            theirs = await other.get("/api/conversations/chat-1")
            assert "A secret." not in theirs.text


def test_of_a_reply_that_was_cut_off_the_transcript_has_what_was_heard(tmp_path: Path):
    with embedded(data=tmp_path) as server:
        journal = server.server.journal
        facts = {"direction": "inbound", "from": "webrtc", "to": "webrtc", "channel": "webrtc"}
        story = [
            ("call.started", facts),
            ("user.message", {"id": "u1", "text": "Go on.", "final": True}),
            ("bot.speaking", {"id": "m1", "text": "Once upon a time there was"}),
            ("bot.corrected", {"supersedes": 3, "id": "m1", "text": "Once upon"}),
            ("bot.speaking", {"id": "m2", "text": "never heard"}),
            ("bot.corrected", {"supersedes": 5, "id": "m2", "text": ""}),
        ]
        for seq, (type_, data) in enumerate(story, start=1):
            journal.append(Entry(seq, 1.0, "c1", "desk", "org", type_, data))
        found = journal.ask(
            lambda database: conversation_with_transcript(database, "org", "c1")
        ).result()
    assert found is not None
    assert found["transcript"] == [
        {"role": "user", "content": "Go on."},
        {"role": "assistant", "content": "Once upon"},
    ]
    assert (found["type"], found["startedAt"]) == ("webrtc", "1970-01-01T00:00:01.000Z")


@pytest.mark.parametrize("path", ["/api/sdk/phone-numbers", "/api/conversations", "/api/keys"])
async def test_a_key_is_needed(path: str):
    async with embedded() as server, client(server, "pk_no") as http:
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["success"]) == (401, False)


async def test_what_the_hosted_service_alone_has_is_a_501_with_a_sentence():
    async with embedded() as server, client(server) as http:
        for table, json in ((HOSTED, False), (HOSTED_JSON, True)):
            for path, methods, sentence in table:
                for method in methods:
                    answer = await http.request(method, path.replace("{", "").replace("}", ""))
                    assert answer.status_code == 501, path
                    if json:
                        assert answer.json()["success"] is False
                        assert answer.json()["error"] == answer.json()["detail"]
                        assert answer.json()["error"].startswith(sentence)
                    else:
                        assert answer.headers["content-type"].startswith("text/plain")
                        assert answer.text.startswith(sentence)
                        assert "embedded server" in answer.text
