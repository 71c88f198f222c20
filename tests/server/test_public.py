"""What any page may ask: how an agent can be reached. (ICE servers: `test_ice.py`.)"""

from __future__ import annotations

import httpx

from tests.server.peer import connected, embedded

PAGE = {"Origin": "https://anywhere.example"}


async def test_a_page_learns_how_an_agent_can_be_reached():
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await peer.agent("Front Desk", prompt="secret")
        path = "/api/sdk/agent-info/front-desk"
        answer = await http.get(path, headers=PAGE)
        assert answer.headers["access-control-allow-origin"] == "*"
        webrtc_and_chat = [{"type": "webrtc"}, {"type": "chat"}]
        assert answer.json() == {"agent": "front-desk", "channels": webrtc_and_chat}
        await peer.send("channel.add", agent_id="Front Desk", type="phone", ref="+13186330963")
        await peer.until("channel.added")
        channels = (await http.get(path, headers=PAGE)).json()["channels"]
        assert channels == [*webrtc_and_chat, {"type": "phone", "numbers": ["+13186330963"]}]
        missing = await http.get("/api/sdk/agent-info/nobody", headers=PAGE)
        assert (missing.status_code, missing.json()["detail"][:5]) == (404, "Agent")
        assert missing.headers["access-control-allow-origin"] == "*"
        preflight = await http.options(path, headers=PAGE)
        assert (preflight.status_code, preflight.content) == (204, b"")
        assert (await http.get(path + "/config", headers=PAGE)).status_code == 403


async def test_of_two_agents_with_one_name_a_page_means_the_one_that_lets_it_in():
    async with (
        embedded() as server,
        connected(server) as one,
        connected(server, "pk_two") as two,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await one.agent("desk")
        await two.agent("desk", allowed_origins=["https://anywhere.example"])
        await two.send("channel.add", agent_id="desk", type="phone", ref="+13186330963")
        await two.until("channel.added")
        theirs = await http.get("/api/sdk/agent-info/desk", headers=PAGE)
        assert len(theirs.json()["channels"]) == 3
        other = await http.get("/api/sdk/agent-info/desk")
        assert len(other.json()["channels"]) == 2
