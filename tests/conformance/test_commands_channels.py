"""`channel.add`, `channel.configure`, `channel.remove`, `dev.config` (commands.md §4)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.answered import OURS, SCRIPT, THEIRS
from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, bearer, connected, embedded


async def add(peer: Peer, agent: str = "desk", **channel: Any) -> dict[str, Any]:
    """Add a channel, and return the answer."""
    await peer.send("channel.add", agent_id=agent, **channel)
    return await peer.receive()


async def told(server: EmbeddedServer, path: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        answer: dict[str, Any] = (await http.get(f"/api/sdk/agents{path}")).json()
    return answer


async def rings(server: EmbeddedServer, peer: Peer, number: str = OURS, from_: str = THEIRS) -> str:
    """Call a number, and return the agent of `peer`'s that has the call."""
    async with calling(server, "desk", to=number, from_=from_) as caller:
        started = await peer.until("call.started")
        await caller.until("call.started")
        await caller.hang_up()
    await peer.until("call.ended")
    return str(started["agent_id"])


# --- channel.add --------------------------------------------------------------------------------


@holds("commands", "4.1")
@pytest.mark.parametrize(
    "ref",
    ["+13186330963", "1 (318) 633-0963", "13186330963", "+1-318 633-0963", "sip:desk@acme.com"],
)
async def test_a_number_is_acknowledged_as_it_was_typed(ref: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        answer = await add(peer, type="phone", ref=ref)
    assert answer["event"] == "channel.added"
    assert (answer["agent_id"], answer["type"], answer["ref"]) == ("desk", "phone", ref)


@holds("commands", "4.1")
async def test_a_number_is_the_same_however_it_is_typed():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk")
        await add(peer, type="phone", ref="1 (318) 633-0963")
        assert await rings(server, peer, OURS) == "desk"
        assert (await told(server, ""))["phone_map"] == {OURS: "desk"}


@holds("commands", "4.1")
@pytest.mark.parametrize("ref", ["12", "+1234567890123456", "front desk", "", "+1555abc5555", "+"])
async def test_what_is_no_number_is_refused(ref: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        answer = await add(peer, type="phone", ref=ref)
        assert (answer["event"], answer["agent_id"]) == ("error", "desk")
        assert (await told(server, ""))["phone_map"] == {}


@holds("commands", "4.1")
@pytest.mark.parametrize("kind", ["webrtc", "chat"])
async def test_web_channels_have_no_ref_and_are_there_without_being_added(kind: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            assert (await http.get(f"/{kind}/token?agent_id=desk")).status_code == 200
        answer = await add(peer, type=kind)
        assert (answer["event"], answer["agent_id"], answer["type"]) == (
            "channel.added",
            "desk",
            kind,
        )
        assert answer.get("ref") is None


@holds("commands", "4.1")
async def test_what_a_channel_overrides_is_for_its_calls_alone():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, language="en", greeting="Hi")
        await add(peer, type="phone", ref=OURS, language="es")
        async with calling(server, to=OURS) as caller:
            assert (await caller.until("call.started"))["language"] == "es"
        async with calling(server) as caller:
            assert (await caller.until("call.started"))["language"] == "en"


@holds("commands", "4.1")
async def test_adding_a_channel_again_replaces_its_configuration():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        await add(peer, type="phone", ref=OURS, voice="elevenlabs/lucia", language="es")
        answer = await add(peer, type="phone", ref="1 318 633 0963", flash=True)
        assert answer["event"] == "channel.added"
        (channel,) = (await told(server, "/desk/config"))["channels"]
    assert channel["config"] == {"flash": True}


@holds("commands", "4.1", "9.1")
@pytest.mark.parametrize(("fields", "expected"), [({"ringing": True}, "call.ringing"), ({}, None)])
async def test_calls_ring_only_on_a_channel_that_says_so(
    fields: dict[str, bool], expected: str | None
):
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk")
        await add(peer, type="phone", ref=OURS, **fields)
        async with calling(server, to=OURS):
            begun = (await peer.receive())["event"]
    assert begun == (expected or "call.started")


@holds("commands", "4.1")
async def test_a_whatsapp_channel_needs_its_number_id_and_access_token():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        for channel in ({"ref": "123456789012345"}, {"accessToken": "EAA"}, {}):
            answer = await add(peer, type="whatsapp", **channel)
            assert (answer["event"], answer["agent_id"]) == ("error", "desk")
        whole = {
            "ref": "123456789012345",
            "accessToken": "EAA",
            "verifyToken": "my-verify",
            "appSecret": "abc",
            "phone": "+51987654321",
        }
        answer = await add(peer, type="whatsapp", **whole)
    assert answer["event"] == "channel.added"
    assert (answer["type"], answer["ref"]) == ("whatsapp", "123456789012345")
    assert "EAA" not in str(answer)


@holds("commands", "4.1")
async def test_the_token_that_meta_shows_is_pinecall_wa_verify_unless_the_channel_says_another():
    async def challenged(server: EmbeddedServer, token: str) -> int:
        query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": "42"}
        async with httpx.AsyncClient(base_url=server.url) as http:
            return (await http.get("/whatsapp/webhook", params=query)).status_code

    channel = {"type": "whatsapp", "ref": "1234", "accessToken": "EAA"}
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        await add(peer, **channel)
        assert await challenged(server, "pinecall-wa-verify") == 200
        await add(peer, **channel, verifyToken="mine")
        assert await challenged(server, "pinecall-wa-verify") == 403
        assert await challenged(server, "mine") == 200


@holds("commands", "4.1")
@pytest.mark.parametrize("channel", [{"type": "fax"}, {"type": "phone"}, {"ref": OURS}, {}])
async def test_a_channel_of_no_kind_or_without_a_number_is_refused(channel: dict[str, str]):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        answer = await add(peer, **channel)
        assert (answer["event"], answer["agent_id"]) == ("error", "desk")
        assert answer["error"]


@holds("commands", "4.1")
async def test_a_channel_for_an_agent_of_somebody_else_is_refused():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.agent("desk")
        answer = await add(two, type="phone", ref=OURS)
        assert (answer["code"], answer["agent_id"]) == ("AGENT_NOT_FOUND", "desk")


@holds("commands", "4.1")
async def test_a_number_has_one_owner_in_each_organisation():
    async with (
        embedded() as server,
        connected(server) as one,
        connected(server) as two,
        connected(server, "pk_two") as stranger,
    ):
        for peer, name in ((one, "desk"), (two, "other"), (stranger, "theirs")):
            await peer.agent(name)
        assert (await add(one, type="phone", ref=OURS))["event"] == "channel.added"
        refusal = await add(two, "other", type="phone", ref="1 318-633-0963")
        assert (refusal["event"], refusal["code"]) == ("error", "PHONE_IN_USE")
        assert (refusal["agent_id"], refusal["phone"]) == ("other", "1 318-633-0963")
        answer = await add(stranger, "theirs", type="phone", ref=OURS)
        assert answer["event"] == "channel.added"
        assert (await add(one, type="phone", ref=OURS))["event"] == "channel.added", "its own"


# --- channel.configure --------------------------------------------------------------------------


@holds("commands", "4.2")
async def test_configure_changes_what_it_names_of_one_channel():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        await add(peer, type="phone", ref=OURS, voice="elevenlabs/lucia", language="es")
        await add(peer, type="phone", ref=THEIRS)
        ref = "1 318 633 0963"
        await peer.send(
            "channel.configure", agent_id="desk", ref=ref, voice="elevenlabs/agus", flash=False
        )
        answer = await peer.receive()
        assert answer["event"] == "channel.configured"
        assert (answer["agent_id"], answer["ref"]) == ("desk", ref)
        channels = (await told(server, "/desk/config"))["channels"]
    configs = {channel["ref"]: channel["config"] for channel in channels}
    changed = {"voice": "elevenlabs/agus", "language": "es", "flash": False}
    assert configs == {OURS: changed, THEIRS: {}}


@holds("commands", "4.2")
async def test_adding_a_channel_after_a_reconnect_undoes_its_configure():
    channel = {"type": "phone", "ref": OURS, "language": "es"}
    async with speaking() as server:
        async with connected(server) as peer:
            await peer.agent("desk")
            await add(peer, **channel)
            await peer.send("channel.configure", agent_id="desk", ref=OURS, language="fr")
            await peer.until("channel.configured")
        async with connected(server) as peer:
            await peer.agent("desk")
            await add(peer, **channel)
            async with calling(server, to=OURS):
                assert (await peer.until("call.started"))["language"] == "es"


@holds("commands", "4.2", "4.3")
@pytest.mark.parametrize("event", ["channel.configure", "channel.remove"])
async def test_a_channel_that_is_not_there_is_told_so(event: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        await add(peer, type="phone", ref=OURS)
        for fields in ({"agent_id": "desk", "ref": THEIRS}, {"agent_id": "nobody", "ref": OURS}):
            await peer.send(event, **fields)
            error = await peer.receive()
            assert (error["event"], error["agent_id"]) == ("error", fields["agent_id"])
        assert (await told(server, ""))["phone_map"] == {OURS: "desk"}


# --- channel.remove -----------------------------------------------------------------------------


@holds("commands", "4.3")
@pytest.mark.parametrize("fields", [{"type": "phone"}, {}])
async def test_a_channel_is_removed_with_or_without_its_type(fields: dict[str, str]):
    async with speaking() as server, connected(server) as peer, connected(server) as other:
        await peer.agent("desk")
        await add(peer, type="phone", ref=OURS)
        await peer.send("channel.remove", agent_id="desk", ref="1 318-633-0963", **fields)
        answer = await peer.receive()
        assert answer["event"] == "channel.removed"
        assert (answer["agent_id"], answer["ref"]) == ("desk", "1 318-633-0963")
        await other.agent("other")
        assert (await add(other, "other", type="phone", ref=OURS))["event"] == "channel.added"
        assert await rings(server, other) == "other"


@holds("commands", "4.3")
async def test_a_whatsapp_channel_is_removed_by_its_number_id():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk")
        await add(peer, type="whatsapp", ref="1234", accessToken="EAA")
        await peer.send("channel.remove", agent_id="desk", ref="1234", type="whatsapp")
        answer = await peer.receive()
        assert (answer["event"], answer["ref"]) == ("channel.removed", "1234")
        assert (await told(server, "/desk/config"))["channels"] == []


# --- dev.config ---------------------------------------------------------------------------------


@holds("commands", "4.4")
@holds("open-questions", "A")
async def test_calls_of_a_listed_caller_go_to_the_developers_agent_and_others_to_production():
    async with speaking() as server, connected(server) as production, connected(server) as dev:
        await production.agent("desk")
        await add(production, type="phone", ref=OURS)
        await dev.send("dev.config", callers=["+34 600 123 456"])
        await dev.agent("dev-desk")
        assert (await add(dev, "dev-desk", type="phone", ref=OURS))["event"] == "channel.added"
        assert await dev.settled() == [], "it is not acknowledged"
        assert await rings(server, dev, OURS, "+34600123456") == "dev-desk"
        assert await rings(server, production, OURS, "+34600999999") == "desk"
        listing = await told(server, "")
        assert listing["dev_callers"] == ["+34600123456"]
        assert listing["dev_overrides"] == {OURS: "dev-desk"}
        assert listing["phone_map"] == {OURS: "desk"}


@holds("commands", "4.4")
async def test_a_list_replaces_the_one_before_and_an_empty_one_ends_it():
    async with speaking() as server, connected(server) as production, connected(server) as dev:
        await production.agent("desk")
        await add(production, type="phone", ref=OURS)
        await dev.agent("dev-desk")
        await add(dev, "dev-desk", type="phone", ref=OURS)
        await dev.send("dev.config", callers=[THEIRS])
        await dev.send("dev.config", callers=["+34600123456"])
        await dev.settled()
        assert await rings(server, production) == "desk"
        await dev.send("dev.config", callers=[])
        await dev.settled()
        assert await rings(server, production, OURS, "+34600123456") == "desk"


@holds("commands", "4.4")
@holds("open-questions", "A")
async def test_what_a_developer_wants_ends_with_their_connection():
    async with speaking() as server, connected(server) as production:
        await production.agent("desk")
        await add(production, type="phone", ref=OURS)
        async with connected(server) as dev:
            await dev.agent("dev-desk")
            await add(dev, "dev-desk", type="phone", ref=OURS)
            await dev.send("dev.config", callers=[THEIRS])
            assert await rings(server, dev) == "dev-desk"
        assert await rings(server, production) == "desk"


@holds("commands", "4.4")
@holds("open-questions", "A")
async def test_a_developer_who_has_not_the_number_gets_none_of_its_calls():
    async with speaking() as server, connected(server) as production, connected(server) as dev:
        await production.agent("desk")
        await add(production, type="phone", ref=OURS)
        await dev.agent("dev-desk")
        await dev.send("dev.config", callers=[THEIRS])
        await dev.settled()
        assert await rings(server, production) == "desk"


@holds("commands", "4.4")
async def test_a_line_goes_before_a_developer():
    async with speaking() as server, connected(server) as line, connected(server) as dev:
        await dev.agent("desk")
        await dev.send("agent.create", agent_id="dev-desk")
        await add(dev, "dev-desk", type="phone", ref=OURS)
        await dev.send("dev.config", callers=[THEIRS])
        await dev.settled()
        await line.send("line.create", number=OURS, config={"extension_window_ms": 0})
        await line.until("line.created")
        assert await rings(server, line) == f"line:{OURS}"


@holds("commands", "4.4")
async def test_whatsapp_messages_of_a_listed_caller_go_to_the_developers_agent():
    channel = {"type": "whatsapp", "ref": "1234", "accessToken": "EAA"}
    async with embedded() as server, connected(server) as production, connected(server) as dev:
        for peer, name in ((production, "desk"), (dev, "dev-desk")):
            await peer.agent(name, llm=SCRIPT, preparing=False)
            assert (await add(peer, name, **channel))["event"] == "channel.added"
        await dev.send("dev.config", callers=["+34600123456"])
        await dev.settled()
        for number, (peer, sender) in enumerate(((dev, "34600123456"), (production, "34600999"))):
            await write(server, sender, f"wamid.{number}")
            message = await peer.until("whatsapp.message")
            assert message["from"] == sender
            await peer.until("whatsapp.response", text="You said hi.")


async def write(server: EmbeddedServer, sender: str, id: str) -> None:
    """Write `hi` over WhatsApp, as Meta passes it on."""
    message = {"from": sender, "id": id, "type": "text", "text": {"body": "hi"}}
    value = {"metadata": {"phone_number_id": "1234"}, "messages": [message]}
    body = {"entry": [{"changes": [{"field": "messages", "value": value}]}]}
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.post("/whatsapp/webhook", json=body)).status_code == 200
