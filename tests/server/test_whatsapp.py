"""WhatsApp: the webhook, sessions, the 24-hour window and the outbox (sessions.md §8)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from pinecall_cli.server.agents.registry import Channel
from pinecall_cli.server.routes.whatsapp import LARGEST, signed
from pinecall_cli.server.text.whatsapp import IDLE_S, LONGEST_TEXT, WINDOW_S, Incoming
from tests.sdk.jumping import BACKEND, JumpingLoop
from tests.server.dialled import Office, Peer
from tests.server.peer import Peer as Socket
from tests.server.peer import connected, embedded

NUMBER, SECRET, ANA = "123456789012345", "shh", "34600123456"
SCRIPT: dict[str, Any] = {
    "provider": "script",
    "rules": [{"on": "long", "say": "x" * 5_000}, {"say": "You said {text}."}],
}
CHANNEL = {"type": "whatsapp", "ref": NUMBER, "accessToken": "EAA"}


def notification(*messages: dict[str, Any], number: str = NUMBER, **value: Any) -> bytes:
    """Return what Meta would post."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"phone_number_id": number, "display_phone_number": "51987654321"},
        "contacts": [{"wa_id": ANA, "profile": {"name": "Ana"}}],
        "messages": list(messages),
        **value,
    }
    return json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()


def wrote(text: str, id: str = "wamid.1", sender: str = ANA) -> dict[str, Any]:
    return {"from": sender, "id": id, "type": "text", "text": {"body": text}}


def signature(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def post(url: str, body: bytes, sign: str | None = None) -> httpx.Response:
    headers = {} if sign is None else {"X-Hub-Signature-256": sign}
    async with httpx.AsyncClient() as http:
        return await http.post(f"{url}/whatsapp/webhook", content=body, headers=headers)


async def registered(peer: Socket, **channel: Any) -> None:
    await peer.agent("desk", llm=SCRIPT, preparing=False)
    await peer.send("channel.add", agent_id="desk", **(CHANNEL | channel))
    added = await peer.until("channel.added")
    assert (added["type"], added["ref"]) == ("whatsapp", NUMBER)


# --- over the wire ------------------------------------------------------------------------------


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


async def test_without_a_secret_anything_is_taken_and_said_to_be_a_risk():
    notices: list[str] = []
    async with embedded(notice=notices.append) as server, connected(server) as peer:
        await registered(peer)
        assert (await post(server.url, notification(wrote("hi")))).status_code == 200
        await peer.until("whatsapp.response")
    assert [one for one in notices if "appSecret" in one and "desk" in one]


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


async def test_a_channel_without_a_token_has_the_usual_one():
    async with embedded() as server, connected(server) as peer, httpx.AsyncClient() as http:
        query = {"hub.mode": "subscribe", "hub.verify_token": "pinecall-wa-verify"}
        assert (await http.get(f"{server.url}/whatsapp/webhook", params=query)).status_code == 403
        await registered(peer)
        assert (await http.get(f"{server.url}/whatsapp/webhook", params=query)).status_code == 200


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


async def test_a_message_that_comes_twice_is_taken_once():
    async with embedded() as server, connected(server) as peer:
        await registered(peer)
        for id in ("wamid.1", "wamid.1", "wamid.2"):
            await post(server.url, notification(wrote("hi", id)))
        for id in ("wamid.1", "wamid.2"):
            await peer.until("whatsapp.message", message_id=id)
            await peer.until("whatsapp.response")
        assert [f for f in peer.seen if f["event"] == "whatsapp.message"].__len__() == 2


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


async def test_what_became_of_a_message_reaches_the_owner():
    async with embedded() as server, connected(server) as peer:
        await registered(peer)
        await post(server.url, notification(wrote("hi")))
        await peer.until("whatsapp.status", status="sent")
        told = {"id": "wamid.9", "status": "read", "recipient_id": ANA}
        await post(server.url, notification(statuses=[told]))
        status = await peer.until("whatsapp.status", status="read")
    assert (status["recipient"], status["message_id"]) == (ANA, "wamid.9")


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


async def test_a_number_is_one_agents():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await registered(one)
        await two.agent("other", llm=SCRIPT)
        await two.send("channel.add", agent_id="other", **CHANNEL)
        refused = await two.until("error")
    assert (refused["code"], refused["phone"]) == ("PHONE_IN_USE", NUMBER)


# --- time ---------------------------------------------------------------------------------------


class Days:
    """An office whose wall clock goes with its loop, and Ana who writes."""

    def __init__(self, office: Office) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        self.office = office
        office.server.wall = loop.time
        self.owner: Peer = office.owner("desk", None, llm=SCRIPT)
        self.owner.send("channel.add", agent_id="desk", **CHANNEL)
        self._count = 0

    def ana(self, text: str) -> None:
        self._count += 1
        server = self.office.server
        agent = server.registry.find(self.office.orgs[0], "desk")
        assert agent is not None
        channel = agent.channel("whatsapp", NUMBER)
        assert isinstance(channel, Channel)
        incoming = Incoming(f"wamid.{self._count}", ANA, "Ana", "text", text)
        server.whatsapp.receive(agent, channel, incoming)

    async def ended(self, after_s: float = 0) -> dict[str, Any]:
        await asyncio.sleep(after_s)
        return await self.owner.until("whatsapp.session_ended")


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    jumps = "office" in request.function.__code__.co_varnames
    return BACKEND if jumps else "asyncio"


async def test_a_session_rests_for_two_hours_and_ends():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        ended = await days.ended(IDLE_S)
        types = [entry.type for entry in office.server.journal.entries(call=ended["session_id"])]
    assert asyncio.get_running_loop().time() == pytest.approx(IDLE_S, abs=1)
    assert (ended["reason"], ended["contact_phone"]) == ("idle_timeout", ANA)
    assert ended["message_count"] == 2
    assert [m["content"] for m in ended["transcript"]] == ["hello", "You said hello."]
    assert ended["messages"] == ended["transcript"]
    assert types[0] == "call.started"
    assert types[-2:] == ["call.ended", "call.summary"]


async def test_a_person_who_goes_on_writing_keeps_it_open_until_the_window_closes():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        await days.owner.until("whatsapp.response")
        while not days.owner.of("whatsapp.session_ended"):
            days.owner.send("session.send", agent_id="desk", contact=f"+{ANA}", text="Still here.")
            await asyncio.sleep(3600)
        ended = await days.ended()
    assert ended["reason"] == "window_expired"
    assert asyncio.get_running_loop().time() == pytest.approx(WINDOW_S, abs=3601)
    assert {f["source"] for f in days.owner.of("whatsapp.response") if "source" in f} == {"human"}


async def test_a_person_can_write_after_the_session_and_not_after_the_window():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        first = await days.ended(IDLE_S)
        days.owner.send("session.send", agent_id="desk", contact=ANA, text="One more thing.")
        await days.owner.until("whatsapp.response", text="One more thing.", source="human")
        again = days.owner.of("whatsapp.session_started")[-1]
        assert again["session_id"] != first["session_id"]
        await asyncio.sleep(WINDOW_S)
        days.owner.send("session.send", agent_id="desk", contact=ANA, text="Too late.")
        assert (await days.owner.until("error"))["code"] == "WINDOW_EXPIRED"


async def test_a_paused_contact_is_read_and_answered_by_a_person():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        await days.owner.until("whatsapp.response")
        days.owner.send("session.pause", agent_id="desk", contact=f"+{ANA}")
        days.ana("a person, please")
        message = await days.owner.until("whatsapp.message", text="a person, please")
        assert message["paused"] is True
        days.owner.send(
            "session.send", agent_id="desk", session_id=message["session_id"], text="Hi"
        )
        await days.owner.until("whatsapp.response", source="human")
        days.owner.send("session.resume", agent_id="desk")
        days.ana("thanks")
        await days.owner.until("whatsapp.response", text="You said thanks.")
        days.owner.send("call.hangup", call_id=message["session_id"])
        ended = await days.ended()
    assert [m["content"] for m in ended["messages"]][2:4] == ["a person, please", "Hi"]
    assert ended["reason"] == "hangup"


async def test_a_long_answer_goes_out_in_pieces_whatsapp_takes():
    async with Office() as office:
        days = Days(office)
        days.ana("long")
        await days.owner.until("whatsapp.response")
        sizes = [len(one.text) for one in office.server.whatsapp.outbox]
    assert sizes == [LONGEST_TEXT, 5_000 - LONGEST_TEXT]


async def test_an_agent_that_comes_back_is_told_of_its_sessions_again():
    async with Office() as office:
        days = Days(office)
        days.ana("hello")
        await days.owner.until("whatsapp.response")
        days.owner.leave()
        back = office.owner("desk", None, llm=SCRIPT)
        await back.until("whatsapp.session_started", contact_phone=ANA)


def test_a_signature_is_compared_without_its_secret_being_seen():
    channel = Channel("whatsapp", NUMBER, {}, app_secret=SECRET)
    assert SECRET not in repr(channel)
    assert signed(channel, b"x", signature(b"x"))
