"""The WhatsApp webhook: sessions.md §8."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from pinecall_cli.server.routes.whatsapp import LARGEST, MOST_UPDATES
from tests.conformance.paragraphs import holds
from tests.server.meta import (
    ANA,
    CHANNEL,
    NUMBER,
    SCRIPT,
    SECRET,
    notification,
    post,
    registered,
    signature,
    wrote,
)
from tests.server.peer import connected, embedded


@holds("sessions", "8")
@holds("config", "12.2")
async def test_a_message_opens_a_session_is_answered_and_lands_in_the_outbox():
    async with embedded() as server, connected(server) as peer:
        await registered(peer, appSecret=SECRET)
        body = notification(wrote("hello"))
        assert (await post(server.url, body, signature(body))).status_code == 200
        started = await peer.until("whatsapp.session_started")
        message = await peer.until("whatsapp.message")
        response = await peer.until("whatsapp.response")
        status = await peer.until("whatsapp.status")
        async with httpx.AsyncClient(headers={"Authorization": "Bearer pk_one"}) as http:
            box = (await http.get(f"{server.url}/whatsapp/outbox")).json()["messages"]
        async with httpx.AsyncClient(headers={"Authorization": "Bearer pk_two"}) as http:
            assert (await http.get(f"{server.url}/whatsapp/outbox")).json() == {"messages": []}
            http.headers["Authorization"] = "Bearer nobody"
            assert (await http.get(f"{server.url}/whatsapp/outbox")).status_code == 401
    id = started["session_id"]
    assert id.startswith("wa-")
    assert len(id) == 15
    assert (started["contact_phone"], started["contact_name"]) == (ANA, "Ana")
    assert message["session_id"] == id
    assert {"from": ANA, "name": "Ana", "type": "text", "text": "hello"}.items() <= message.items()
    assert (message["message_id"], message["paused"]) == ("wamid.1", False)
    assert (response["to"], response["text"]) == (ANA, "You said hello.")
    assert "source" not in response
    assert (status["status"], status["recipient"]) == ("sent", ANA)
    assert [(one["to"], one["text"], one["id"]) for one in box] == [
        (ANA, "You said hello.", status["message_id"])
    ]


@holds("sessions", "8")
@pytest.mark.parametrize(
    "sign",
    [
        None,
        "",
        "sha256=",
        lambda body: signature(body, "other"),
        lambda body: signature(body).upper(),
        lambda body: "sha256=" + signature(body)[7:].upper(),
        lambda body: signature(body)[7:],
        lambda body: "sha1=" + hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest(),
        lambda body: signature(body + b" "),
        lambda body: signature(body)[:-1],
    ],
    ids=[
        *("none", "empty", "no-digest", "secret", "upper"),
        *("hex", "bare", "sha1", "body", "cut"),
    ],
)
async def test_a_notification_that_is_signed_wrongly_is_refused(sign: Any):
    body = notification(wrote("hello"))
    async with embedded() as server, connected(server) as peer:
        await registered(peer, appSecret=SECRET)
        given = sign(body) if callable(sign) else sign
        assert (await post(server.url, body, given)).status_code == 401
        assert await peer.settled() == []


@holds("sessions", "8")
async def test_without_a_secret_anything_is_taken_and_said_to_be_a_risk():
    notices: list[str] = []
    async with embedded(notice=notices.append) as server, connected(server) as peer:
        await registered(peer)
        assert (await post(server.url, notification(wrote("hi")))).status_code == 200
        await peer.until("whatsapp.response")
    assert [one for one in notices if "appSecret" in one and "desk" in one]


@holds("sessions", "8")
@holds("rest", "10")
@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ({"hub.verify_token": "mine", "hub.challenge": "42"}, 200, "42"),
        ({"hub.verify_token": "other", "hub.challenge": "42"}, 403, None),
        ({"hub.verify_token": "mine", "hub.mode": "unsubscribe"}, 403, None),
        ({}, 403, None),
    ],
)
async def test_the_challenge_is_answered_for_a_known_token(
    query: dict[str, str], status: int, text: str | None
):
    async with embedded() as server, connected(server) as peer:
        await registered(peer, verifyToken="mine")
        async with httpx.AsyncClient() as http:
            answer = await http.get(
                f"{server.url}/whatsapp/webhook", params={"hub.mode": "subscribe"} | query
            )
    assert answer.status_code == status
    assert text is None or answer.text == text
    assert "html" not in answer.headers["content-type"]


@holds("sessions", "8")
@holds("config", "12.2")
async def test_a_channel_without_a_token_has_the_usual_one():
    async with embedded() as server, connected(server) as peer, httpx.AsyncClient() as http:
        query = {"hub.mode": "subscribe", "hub.verify_token": "pinecall-wa-verify"}
        assert (await http.get(f"{server.url}/whatsapp/webhook", params=query)).status_code == 403
        await registered(peer)
        assert (await http.get(f"{server.url}/whatsapp/webhook", params=query)).status_code == 200


@holds("sessions", "8")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b"\xff", 400),
        (b"[]", 200),
        (b'{"entry": [{"changes": [{"value": 7}, 7]}, 7]}', 200),
        (notification(wrote("hi"), number="999"), 200),
        (notification({"from": ANA, "id": "x", "type": "reaction"}), 200),
        (notification({"from": "", "id": "x", "type": "text", "text": {"body": "y"}}), 200),
        (notification({"from": ANA, "id": "x", "type": "text", "text": "y"}), 200),
        (notification(contacts=7, messages=7, statuses=7), 200),
        (b" " * (LARGEST + 1), 413),
    ],
)
async def test_nonsense_is_answered_and_does_nothing(body: bytes, status: int):
    async with embedded() as server, connected(server) as peer:
        await registered(peer)
        assert (await post(server.url, body)).status_code == status
        assert await peer.settled() == []


@holds("sessions", "8")
async def test_a_message_that_comes_twice_is_taken_once():
    async with embedded() as server, connected(server) as peer:
        await registered(peer)
        for id in ("wamid.1", "wamid.1", "wamid.2"):
            await post(server.url, notification(wrote("hi", id)))
        for id in ("wamid.1", "wamid.2"):
            await peer.until("whatsapp.message", message_id=id)
            await peer.until("whatsapp.response")
        assert [f for f in peer.seen if f["event"] == "whatsapp.message"].__len__() == 2


@holds("sessions", "8")
async def test_pictures_and_voice_notes_are_told_with_their_kind():
    media = [
        {"from": ANA, "id": "wamid.1", "type": "image", "image": {"id": "1", "caption": "my lamp"}},
        {"from": ANA, "id": "wamid.2", "type": "audio", "audio": {"id": "2", "voice": True}},
        {"from": ANA, "id": "wamid.3", "type": "button", "button": {"text": "Yes"}},
    ]
    async with embedded() as server, connected(server) as peer:
        await registered(peer)
        await post(server.url, notification(*media))
        texts = [(await peer.until("whatsapp.response"))["text"] for _ in media]
        seen = [f for f in peer.seen if f["event"] == "whatsapp.message"]
    assert [(f["type"], f["text"]) for f in seen] == [
        ("image", "my lamp"),
        ("audio", ""),
        ("text", "Yes"),
    ]
    assert texts == ["You said [image] my lamp.", "You said [audio].", "You said Yes."]


@holds("sessions", "8")
async def test_what_became_of_a_message_reaches_the_owner():
    async with embedded() as server, connected(server) as peer:
        await registered(peer)
        await post(server.url, notification(wrote("hi")))
        await peer.until("whatsapp.status", status="sent")
        told = {"id": "wamid.9", "status": "read", "recipient_id": ANA}
        await post(server.url, notification(statuses=[told]))
        status = await peer.until("whatsapp.status", status="read")
    assert (status["recipient"], status["message_id"]) == (ANA, "wamid.9")


@holds("sessions", "8")
async def test_developers_get_the_messages_of_their_callers_on_a_shared_number():
    async with embedded() as server, connected(server) as prod, connected(server) as dev:
        await registered(prod)
        await dev.send("dev.config", callers=["+34 600 123 456"])
        await dev.agent("dev-desk", llm=SCRIPT, preparing=False)
        await dev.send("channel.add", agent_id="dev-desk", **CHANNEL)
        await dev.until("channel.added")
        await post(server.url, notification(wrote("mine")))
        await dev.until("whatsapp.message", text="mine")
        await post(server.url, notification(wrote("theirs", "wamid.2", "4915550")))
        await prod.until("whatsapp.message", text="theirs")
        assert not [f for f in prod.seen if f.get("text") == "mine"]


@holds("sessions", "8")
async def test_a_developer_without_the_secret_is_not_the_way_around_it():
    async with embedded() as server, connected(server) as prod, connected(server) as dev:
        await registered(prod, appSecret=SECRET)
        await dev.send("dev.config", callers=[ANA])
        await dev.agent("dev-desk", llm=SCRIPT, preparing=False)
        await dev.send("channel.add", agent_id="dev-desk", **CHANNEL)
        await dev.until("channel.added")
        assert (await post(server.url, notification(wrote("forged")))).status_code == 401
        body = notification(wrote("mine"))
        assert (await post(server.url, body, signature(body))).status_code == 200
        await dev.until("whatsapp.message")
    assert [f["text"] for f in dev.seen if f["event"] == "whatsapp.message"] == ["mine"]


@holds("sessions", "8")
@holds("config", "12.2")
async def test_no_other_organisation_gets_at_what_is_written_to_a_number():
    async with embedded() as server, connected(server) as one, connected(server, "pk_two") as two:
        await registered(one, appSecret=SECRET)
        await two.send("dev.config", callers=[ANA])
        await two.agent("thief", llm=SCRIPT, preparing=False)
        await two.send("channel.add", agent_id="thief", **CHANNEL)
        refused = await two.until("error")
        body = notification(wrote("my pin is 1234"))
        assert (await post(server.url, body, signature(body))).status_code == 200
        await one.until("whatsapp.message", text="my pin is 1234")
        assert await two.settled() == []
    assert (refused["code"], refused["phone"]) == ("PHONE_IN_USE", NUMBER)
    assert "desk" not in refused["error"]


@holds("sessions", "8")
@pytest.mark.parametrize("before", [MOST_UPDATES - 1, MOST_UPDATES])
async def test_of_one_notification_so_much_is_read_and_more_is_said_to_be_dropped(before: int):
    notices: list[str] = []
    first, second = (
        json.loads(part)
        for part in (notification(statuses=[{}] * before), notification(wrote("hi")))
    )
    body = json.dumps({"entry": first["entry"] + second["entry"]}).encode()
    async with embedded(notice=notices.append) as server, connected(server) as peer:
        await registered(peer, appSecret=SECRET)
        assert (await post(server.url, body, signature(body))).status_code == 200
        seen = await peer.settled()
    taken = any(frame["event"] == "whatsapp.message" for frame in seen)
    assert (taken, len(notices)) == ((True, 0) if before < MOST_UPDATES else (False, 1))


@holds("sessions", "8")
async def test_a_server_that_stops_leaves_a_notification_to_be_sent_again():
    async with embedded() as server, connected(server) as peer:
        await registered(peer)
        server.server.draining = True
        assert (await post(server.url, notification(wrote("hi")))).status_code == 503
        assert await peer.settled() == []


@holds("config", "12.2")
async def test_secrets_of_a_channel_are_shown_nowhere():
    async with embedded() as server, connected(server) as peer:
        await registered(peer, appSecret=SECRET, verifyToken="mine", phone="+51987654321")
        async with httpx.AsyncClient(headers={"Authorization": "Bearer pk_one"}) as http:
            shown = (await http.get(f"{server.url}/api/sdk/agents/desk/config")).text
            shown += (await http.get(f"{server.url}/api/sdk/agents")).text
        (agent,) = server.server.registry.online(next(iter(server.server.organisations)))
        shown += repr(agent)
    assert NUMBER in shown
    for secret in (SECRET, "mine", "EAA"):
        assert f'"{secret}"' not in shown
        assert f"'{secret}'" not in shown


@holds("config", "12.2")
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"ref": ""}, "INVALID_FRAME"),
        ({"accessToken": ""}, "INVALID_FRAME"),
        ({"type": "pigeon"}, "CHANNEL_NOT_SUPPORTED"),
    ],
)
async def test_a_channel_that_cannot_be_is_refused(fields: dict[str, str], code: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await peer.send("channel.add", agent_id="desk", **(CHANNEL | fields))
        assert (await peer.until("error"))["code"] == code


@holds("config", "12.2")
async def test_a_number_is_one_agents():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await registered(one)
        await two.agent("other", llm=SCRIPT)
        await two.send("channel.add", agent_id="other", **CHANNEL)
        refused = await two.until("error")
    assert (refused["code"], refused["phone"]) == ("PHONE_IN_USE", NUMBER)
