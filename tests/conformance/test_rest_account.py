"""What is told of an account from local data, and what is not: rest.md §1.2, §3.4, §9."""

from __future__ import annotations

import httpx

from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, bearer, connected, embedded

NUMBERS = ("+12025550100", "+13186330963")
SCRIPT = {"provider": "script", "rules": [{"say": "Yes, we do."}]}


def client(server: EmbeddedServer, key: str = "pk_one") -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, headers=bearer(key))


async def chatted(peer: Peer, session: str, *texts: str) -> None:
    for text in texts:
        await peer.send("llm.chat", agent_id="desk", session_id=session, text=text)
        await peer.until("llm.chat.done")


@holds("rest", "3.4")
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


@holds("rest", "1.2", "9")
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
        assert (calls[0]["credits"], calls[0]["costUsd"]) == (0, 0)
        model = {"service": "llm", "provider": "", "model": "", "credits": 0}
        assert calls[0]["services"] == [model]
        assert type(calls[0]["duration"]) is int
        assert calls[0]["events"] > 3
        assert calls[0]["endedAt"] is None


@holds("rest", "9")
async def test_an_organisation_is_told_without_a_plan_to_pay_for():
    async with embedded() as server, client(server) as http, client(server, "pk_two") as other:
        answer = await http.get("/api/orgs/me")
        ours, theirs = answer.json(), (await other.get("/api/orgs/me")).json()
        async with connected(server) as peer:
            assert ours["slug"] == peer.seen[0]["org_id"]
    assert answer.status_code == 200
    assert ours["name"]
    assert ours["plan"]
    assert (ours["credits"], ours["creditLimit"], ours["verified"]) == (0, None, True)
    assert ours["slug"] != theirs["slug"]


@holds("rest", "9")
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
            # As it is printed.
            assert refused.headers["content-type"].startswith("text/plain")
            assert refused.text.startswith("`")


@holds("rest", "9")
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
