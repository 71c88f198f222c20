"""Ids: slugs, how an incoming agent id finds its local agent, and how new ids are made."""

from __future__ import annotations

import re
import secrets
import string
import uuid
from collections.abc import Callable, Iterable
from typing import TypeAlias

RandomBytes: TypeAlias = Callable[[int], bytes]

BASE36 = string.digits + string.ascii_lowercase
# JavaScript's white space, which the other clients collapse by: U+FEFF is in it.
GAPS = re.compile("[_\\s\ufeff]+")
FOREIGN = re.compile(r"[^a-z0-9-]")
DASHES = re.compile(r"-+")

LINE_PREFIX = "line:"
CHAT_PREFIX = "chat-"
WHATSAPP_PREFIX = "wa-"


def slugify(name: str) -> str:
    """Return the slug that a server knows ``name`` by; empty if nothing of it remains."""
    gaps = GAPS.sub("-", name.strip().lower())
    return DASHES.sub("-", FOREIGN.sub("", gaps)).strip("-")


def match_agent_id(incoming: str, local_ids: Iterable[str]) -> str | None:
    """Return the local id that an incoming ``agent_id`` means, or None.

    First as it is, then what follows the last colon (``org:slug``), then by slug.
    """
    known = list(local_ids)
    if incoming in known:
        return incoming
    candidate = incoming.rpartition(":")[2]
    if candidate in known:
        return candidate
    slug = slugify(candidate)
    return next((local for local in known if slug and slugify(local) == slug), None)


def line_owner(number: str) -> str:
    """Return the ``agent_id`` under which a phone line's events come."""
    return LINE_PREFIX + number


def mint(length: int, random: RandomBytes = secrets.token_bytes) -> str:
    """Return ``length`` random characters of ``[0-9a-z]``."""
    value = int.from_bytes(random(length + 8))  # 64 bits to spare: no character is likelier
    return base36(value % 36**length).rjust(length, "0")


def base36(value: int) -> str:
    """Return a whole number, 0 or more, in base 36."""
    digits = ""
    while value:
        value, digit = divmod(value, 36)
        digits = BASE36[digit] + digits
    return digits or "0"


def message_id(random: RandomBytes = secrets.token_bytes) -> str:
    """Return a new id for a message or a round of tool calls."""
    return "msg_" + mint(12, random)


def tool_call_id(random: RandomBytes = secrets.token_bytes) -> str:
    """Return a new id for one call of a tool."""
    return "call_" + mint(12, random)


def request_id(counter: int, random: RandomBytes = secrets.token_bytes) -> str:
    """Return a new id for a ``history.*`` request, the ``counter``-th of its client."""
    return f"rq_{base36(counter)}_{mint(6, random)}"


def call_id(random: RandomBytes = secrets.token_bytes) -> str:
    """Return a new id for a voice call: a UUID, as no client branches on one."""
    return str(uuid.UUID(bytes=random(16), version=4))


def phone_call_id(random: RandomBytes = secrets.token_bytes) -> str:
    """Return a new id for a phone call, in a carrier's shape."""
    return "CA" + random(16).hex()


def chat_id(random: RandomBytes = secrets.token_bytes) -> str:
    """Return a new id for a text session; clients branch on its prefix."""
    return CHAT_PREFIX + mint(12, random)


def connection_id(random: RandomBytes = secrets.token_bytes) -> str:
    """Return a new id for a connection."""
    return "conn_" + mint(8, random)
