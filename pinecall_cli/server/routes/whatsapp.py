"""WhatsApp's webhook, and the local outbox in Meta's place (sessions.md §8).

Meta's own form: a challenge by GET, messages and statuses by POST, signed over the raw body.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from pinecall_cli.protocol.whatsapp import signature_matches
from pinecall_cli.server import bodies
from pinecall_cli.server.agents.registry import Channel, Refused, RegisteredAgent
from pinecall_cli.server.agents.takeover import same_contact
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.text.messages import Incoming, Status

PATH = "/whatsapp/webhook"
LARGEST = 1 << 20
"""Bytes of one notification; Meta's have a few thousand."""
PATIENCE_S = 10.0
"""For the whole of a notification to arrive."""
VERIFY_TOKEN = "pinecall-wa-verify"
"""What a channel without a token of its own is verified with."""
MEDIA = frozenset({"audio", "image", "video", "document"})
LONGEST_NAME = 200
MOST_UPDATES = 1_000
"""Messages and statuses of one notification: as many as Meta puts into one."""

Found = tuple[RegisteredAgent, Channel]


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the webhook and the outbox."""

    async def webhook(request: Request) -> Response:
        if request.method == "GET":
            return challenge(server, request)
        try:
            body = await bodies.read(request, largest=LARGEST, within_s=PATIENCE_S)
        except bodies.BodyTooLargeError:
            detail = f"a notification has at most {LARGEST} bytes"
            return JSONResponse({"detail": detail}, 413)
        except bodies.BodyIncompleteError:
            return JSONResponse({"detail": "the notification did not arrive"}, 408)
        if server.draining:  # Meta sends it again
            return JSONResponse({"detail": "the server is stopping"}, 503)
        return await notified(server, body, request.headers.get("x-hub-signature-256", ""))

    async def outbox(request: Request) -> Response:
        org = server.organisations.of_header(request.headers.get("authorization"))
        if org is None:
            return JSONResponse({"detail": "the key is not known here"}, 401)
        sent = [
            {
                "id": one.id,
                "agent": one.agent,
                "session_id": one.session_id,
                "to": one.to,
                "text": one.text,
                "at": one.at,
            }
            for one in server.whatsapp.outbox(org)
        ]
        return JSONResponse({"messages": sent})

    return [
        Route(PATH, webhook, methods=["GET", "POST"]),
        Route("/whatsapp/outbox", outbox, methods=["GET"]),
    ]


# --- the challenge ------------------------------------------------------------------------------


def challenge(server: VoiceServer, request: Request) -> Response:
    """Answer Meta's question whether this webhook is wanted."""
    query = request.query_params
    given = query.get("hub.verify_token", "").encode()
    wanted = {channel.verify_token or VERIFY_TOKEN for _, channel in channels(server)}
    matches = [hmac.compare_digest(given, one.encode()) for one in wanted]
    if query.get("hub.mode") != "subscribe" or not any(matches):
        return JSONResponse({"detail": "no channel has that verify token"}, 403)
    return PlainTextResponse(
        query.get("hub.challenge", ""), headers={"X-Content-Type-Options": "nosniff"}
    )


def channels(server: VoiceServer) -> Iterator[Found]:
    """Yield every WhatsApp channel, with its agent, of all organisations."""
    for org in server.organisations:
        for agent in server.registry.online(org):
            for channel in agent.channels.values():
                if channel.type == "whatsapp":
                    yield agent, channel


# --- notifications ------------------------------------------------------------------------------


async def notified(server: VoiceServer, body: bytes, signature: str) -> Response:
    """Take a notification: 401 if it is signed wrongly, else 200, whatever it says."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return JSONResponse({"detail": "the notification is no JSON"}, 400)
    parts = list(changes(document))
    numbers = {number for number, _ in parts}
    held: defaultdict[str, list[Found]] = defaultdict(list)
    for agent, channel in channels(server):
        if channel.ref in numbers:
            held[channel.ref].append((agent, channel))
    trusted = {number: signed_for(found, body, signature) for number, found in held.items()}
    if held and not any(trusted.values()):
        return JSONResponse({"detail": "the signature is wrong or missing"}, 401)
    for agent, channel in (one for found in trusted.values() for one in found):
        if channel.app_secret is None:
            server.notice(
                f"{agent.slug}: its WhatsApp channel has no `appSecret`, so anybody who reaches "
                "this server can write to it in anybody's name"
            )
    updates = (
        (number, update)
        for number, value in parts
        if trusted.get(number)
        for update in updates_of(value)
    )
    for number, update in islice(updates, MOST_UPDATES):
        deliver(server, trusted[number], update)
        await asyncio.sleep(0)  # calls go on between two of them
    if next(updates, None) is not None:
        server.notice(
            f"a WhatsApp notification had more than {MOST_UPDATES} messages and statuses: "
            "those beyond were dropped"
        )
    return JSONResponse({"success": True})


def signed_for(found: list[Found], body: bytes, signature: str) -> list[Found]:
    """Return which holders of one number a notification may go to; none if it is signed wrongly.

    Where one of them has a secret, nothing that no secret of theirs signed is for any: a twin
    without one would else be the way around it.
    """
    fitting = [one for one in found if signed(one[1], body, signature)]
    secured = any(channel.app_secret for _, channel in found)
    proven = any(channel.app_secret for _, channel in fitting)
    return fitting if proven or not secured else []


def signed(channel: Channel, body: bytes, signature: str) -> bool:
    """Return whether a notification may be for a channel: signed with its secret, if it has one."""
    return channel.app_secret is None or signature_matches(body, signature, channel.app_secret)


def changes(document: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each change of a notification, with the id of the number it is about."""
    for entry in objects(document, "entry"):
        for change in objects(entry, "changes"):
            value = change.get("value")
            about = value.get("metadata") if isinstance(value, Mapping) else None
            number = about.get("phone_number_id") if isinstance(about, Mapping) else None
            if isinstance(value, Mapping) and isinstance(number, str):
                yield number, value


def updates_of(value: Mapping[str, Any]) -> Iterator[Incoming | Status | None]:
    """Yield what a change tells: messages, then statuses; None for one that says nothing to us."""
    contacts = islice(objects(value, "contacts"), MOST_UPDATES)
    names = {text(one, "wa_id"): text(one.get("profile"), "name") for one in contacts}
    for message in objects(value, "messages"):
        yield incoming_of(message, names)
    for status in objects(value, "statuses"):
        yield Status(
            id=text(status, "id")[:LONGEST_NAME],
            recipient=digits(text(status, "recipient_id")),
            status=text(status, "status")[:40],
        )


def deliver(server: VoiceServer, found: list[Found], update: Incoming | Status | None) -> None:
    """Hand a message or a status to the agent that it is for, if that is still there."""
    now = ((agent, agent.channel("whatsapp", held.ref)) for agent, held in found if agent.online)
    here = [(agent, channel) for agent, channel in now if channel is not None]
    match update:
        case Incoming() if here:
            agent, channel = meant(here, update.contact)
            try:
                server.whatsapp.receive(agent, channel, update)
            except Refused as refused:
                server.notice(f"a WhatsApp message to {agent.slug} was dropped: {refused.message}")
        case Status():
            for agent, _ in here:
                server.whatsapp.status(agent, update)


def meant(found: list[Found], contact: str) -> Found:
    """Return which agent a contact's message is for: a developer's who routes them, if any."""
    for agent, channel in found:
        callers = () if agent.connection is None else agent.connection.dev_callers
        if any(same_contact(caller, contact) for caller in callers):
            return agent, channel
    return next((one for one in found if not one[0].dev), found[0])


def incoming_of(message: Mapping[str, Any], names: Mapping[str, str]) -> Incoming | None:
    """Return a message as we take it; None for what is none, such as a reaction."""
    contact, id, kind = digits(text(message, "from")), text(message, "id"), text(message, "type")
    if not contact or not id:
        return None
    match kind:
        case "text":
            said = text(message.get("text"), "body")
        case "button":
            said, kind = text(message.get("button"), "text"), "text"
        case _ if kind in MEDIA:
            said = text(message.get(kind), "caption")
        case _:
            return None
    if kind == "text" and not said.strip():
        return None
    name = names.get(text(message, "from"), "")[:LONGEST_NAME]
    return Incoming(id[:LONGEST_NAME], contact, name, kind, said)


def objects(value: Any, key: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in the list under a key, whatever the value is."""
    listed = value.get(key) if isinstance(value, Mapping) else None
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, Mapping):
            yield one


def text(value: Any, key: str) -> str:
    """Return the text under a key, or nothing."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""


def digits(number: str) -> str:
    """Return a number in Meta's form: its digits."""
    return "".join(char for char in number if char in "0123456789")[:20]
