"""WhatsApp's webhook, and the local outbox in Meta's place (sessions.md §8).

Meta's own form: a challenge by GET, messages and statuses by POST, signed over the raw body.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterator, Mapping
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
from pinecall_cli.server.text.whatsapp import Incoming

log = logging.getLogger("pinecall.server")

PATH = "/whatsapp/webhook"
LARGEST = 1 << 20
"""Bytes of one notification; Meta's have a few thousand."""
PATIENCE_S = 10.0
"""For the whole of a notification to arrive."""
VERIFY_TOKEN = "pinecall-wa-verify"
"""What a channel without a token of its own is verified with."""
MEDIA = frozenset({"audio", "image", "video", "document"})
LONGEST_NAME = 200

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
        return notified(server, body, request.headers.get("x-hub-signature-256", ""))

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
            for one in server.whatsapp.outbox
            if one.org == org.id
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


def notified(server: VoiceServer, body: bytes, signature: str) -> Response:
    """Take a notification: 401 if it is signed wrongly, else 200, whatever it says."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return JSONResponse({"detail": "the notification is no JSON"}, 400)
    parts = list(changes(document))
    numbers = {number for number, _ in parts}
    candidates = [found for found in channels(server) if found[1].ref in numbers]
    trusted = [found for found in candidates if signed(found[1], body, signature)]
    if candidates and not trusted:
        return JSONResponse({"detail": "the signature is wrong or missing"}, 401)
    for agent, channel in trusted:
        if channel.app_secret is None:
            server.notice(
                f"{agent.slug}: its WhatsApp channel has no `appSecret`, so anybody who reaches "
                "this server can write to it in anybody's name"
            )
    for number, value in parts:
        here = [found for found in trusted if found[1].ref == number]
        if here:
            deliver(server, here, value)
    return JSONResponse({"success": True})


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


def deliver(server: VoiceServer, found: list[Found], value: Mapping[str, Any]) -> None:
    """Hand messages and statuses to the agent that they are for."""
    names = {
        text(contact, "wa_id"): text(contact.get("profile"), "name")
        for contact in objects(value, "contacts")
    }
    for message in objects(value, "messages"):
        incoming = incoming_of(message, names)
        if incoming is None:
            continue
        agent, channel = meant(found, incoming.contact)
        try:
            server.whatsapp.receive(agent, channel, incoming)
        except Refused as refused:
            log.warning("whatsapp %s: %s", agent.slug, refused.message)
    for status in objects(value, "statuses"):
        recipient = digits(text(status, "recipient_id"))
        for agent, _ in found:
            server.whatsapp.status(
                agent,
                recipient=recipient,
                status=text(status, "status")[:40],
                message=text(status, "id")[:LONGEST_NAME],
            )


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
