"""What Meta posts to the webhook, signed as Meta signs (protocol: sessions.md §8)."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import httpx

from tests.server.peer import Peer as Socket

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
