"""Browser voice: the offer of a page, and what it is told on its ``events`` data channel.

What a page sends on that channel are the actions of a microphone (`mic.decode_mic`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from pinecall_cli.protocol.chat import UNANSWERED
from pinecall_cli.protocol.codec import ANYTHING, REMOTE_FAULTS, problem_of
from pinecall_cli.protocol.codec import encode as encode
from pinecall_cli.protocol.events_bot import BotFinished
from pinecall_cli.protocol.frames import Frame, JsonObject, MaybeObject, MaybeStr
from pinecall_cli.protocol.merging import browser_overrides
from pinecall_cli.protocol.mic import Configure

CHANNEL = "events"
"""The label of the data channel."""
LARGEST_OFFER = 256 * 1024
"""Bytes of a whole request; a browser's offer has 2 to 8 KB, with many networks perhaps 20."""
LONGEST_SDP = 64 * 1024
MOST_CANDIDATES = 100
"""Addresses that an offer may name: each is tried with several packets."""
SECTION = re.compile(r"^m=", re.MULTILINE)
DIRECTION = re.compile(r"^a=(sendrecv|sendonly|recvonly|inactive)\s*$", re.MULTILINE)
CANDIDATE = re.compile(r"^a=candidate:", re.MULTILINE)
MID = re.compile(r"^a=mid:(\S+)\s*$", re.MULTILINE)
BUNDLE = re.compile(r"^a=group:BUNDLE(.*)$", re.MULTILINE)
FINGERPRINT = re.compile(r"^a=fingerprint:sha-(256|384|512) \S+\s*$", re.MULTILINE | re.IGNORECASE)
SCTP_PORT = re.compile(r"^a=sctp-port:[1-9]\d{0,4}\s*$|^a=sctpmap:[1-9]\d{0,4} ", re.MULTILINE)
OPUS = re.compile(r"^a=rtpmap:\d+ opus/48000/2\s*$", re.MULTILINE | re.IGNORECASE)


class OfferRefused(Exception):
    """An offer is not one; what is wrong with it, and whether its form or what it says."""

    def __init__(self, detail: str, *, form: bool = False) -> None:
        super().__init__(detail)
        self.detail, self.form = detail, form


class Offer(Frame):
    """What a page asks for, and by which token."""

    sdp: str
    token: str
    type: Literal["offer"] = "offer"
    config: MaybeObject = UNSET
    """What a page may choose itself: see `chosen`."""
    metadata: MaybeObject = UNSET
    """Not to be trusted; what the token sealed wins."""


class Answer(Frame):
    """What the page gets."""

    sdp: str
    session_id: str
    """The call's id; older clients read it."""
    type: Literal["answer"] = "answer"


class Ended(Frame, tag_field="event", tag="call.ended"):
    """The call is over: what of it is a page's business."""

    call_id: str
    reason: str
    duration_seconds: float = 0.0
    seq: int = 0
    ts: float = 0.0


def offer_object(body: bytes) -> JsonObject:
    """Return the fields of an offer, whatever they are.

    Raises:
        OfferRefused: If the body is no JSON object.
    """
    try:
        value = ANYTHING.decode(body.decode())
    except REMOTE_FAULTS as fault:
        raise OfferRefused(f"the body is no JSON: {problem_of(fault)}", form=True) from None
    if not isinstance(value, dict):
        raise OfferRefused("the body is no JSON object", form=True)
    return value


def offer_of(fields: JsonObject) -> Offer:
    """Return an offer whose SDP is worth being looked at.

    Raises:
        OfferRefused: If a field is missing or wrong, or the SDP offers no call.
    """
    try:
        offer = msgspec.convert(fields, Offer)
    except REMOTE_FAULTS as fault:
        raise OfferRefused(problem_of(fault)) from None
    problem = sdp_problem(offer.sdp)
    if problem is not None:
        raise OfferRefused(problem)
    return offer


def sdp_problem(sdp: str) -> str | None:
    """Return why an offered SDP is none for a voice call, or None.

    It has one section of audio with Opus, which the page wants to hear, perhaps one for data
    channels, and nothing else: each section more would open sockets. What else is asked for here
    is what aiortc takes for granted, and would miss only when it is in the middle of connecting.
    """
    if len(sdp) > LONGEST_SDP:
        return f"`sdp` has more than {LONGEST_SDP} characters"
    head, *sections = SECTION.split(sdp)
    if not head.startswith("v=0") or not sections:
        return "`sdp` is no session description"
    kinds = sorted(section.split(" ", 1)[0] for section in sections)
    if kinds not in (["audio"], ["application", "audio"]):
        return "`sdp` must have one audio section, at most one for data channels, and no other"
    audio = next(section for section in sections if section.startswith("audio"))
    if audio.startswith("audio 0 ") or not OPUS.search(audio):
        return "`sdp` must offer audio with Opus"
    direction = DIRECTION.search(audio) or DIRECTION.search(head)
    if direction is not None and direction[1] in ("sendonly", "inactive"):
        return "`sdp` must let the agent be heard: its audio is only to be sent"
    mids = [mid for section in sections for mid in MID.findall(section)]
    if len(mids) != len(sections) or len(set(mids)) != len(mids):
        return "each section of `sdp` must have an `a=mid` of its own"
    bundles = BUNDLE.findall(head)
    if bundles and sorted(" ".join(bundles).split()) != sorted(mids):
        return "`sdp` must bundle all of its sections, or none"
    if not all(FINGERPRINT.search(head + section) for section in sections):
        return "`sdp` must have a fingerprint by sha-256, sha-384 or sha-512 for each section"
    data = next((section for section in sections if section.startswith("application")), None)
    if data is not None and not SCTP_PORT.search(data):
        return "the data channels of `sdp` must have an `a=sctp-port`"
    if len(CANDIDATE.findall(sdp)) > MOST_CANDIDATES:
        return f"`sdp` names more than {MOST_CANDIDATES} candidates"
    return None


def chosen(config: Mapping[str, Any]) -> tuple[JsonObject, list[str]]:
    """Return what a page chose of what it may choose, and the names of what is dropped.

    Raises:
        OfferRefused: If a value is of no kind that the setting can have.
    """
    allowed, dropped = browser_overrides(config)
    given = {key: config[key] for key in config.keys() - set(dropped) if config[key] is not None}
    try:
        msgspec.convert({**given, "action": "configure"}, Configure)
    except REMOTE_FAULTS as fault:
        raise OfferRefused(f"`config`: {problem_of(fault)}") from None
    return allowed, dropped


TOLD = frozenset(
    {
        *("speech.started", "speech.ended", "user.speaking", "user.message", "audio.metrics"),
        *("eager.turn", "turn.pause", "turn.end", "turn.resumed", "turn.continued"),
        *("bot.speaking", "bot.word", "bot.finished", "bot.interrupted", "message.confirmed"),
        *("session.idle_warning", "session.timeout", "session.paused", "session.resumed"),
        *("call.updated", "call.held", "call.unheld", "call.muted", "call.unmuted"),
        *("llm.tool_call", "llm.tool_result", "llm.thinking", "llm.response", "llm.error"),
        *("skill.loaded", "skill.unloaded", "memory.ops", "docs.sources", "turn.latency"),
    }
)
"""What a page is told of, as it happens. The rest is the application's: sealed metadata, the
history with its prompts, the barrier before a turn."""


class Told(Frame):
    """A reply to something a page did that cannot be done."""

    error: str
    code: MaybeStr = UNSET
    event: Literal["error"] = "error"


def for_browser(event: str) -> str | None:
    """Return an event of a call, as the agent's socket has it, in the words for its page."""
    fields: JsonObject = ANYTHING.decode(event)
    name = fields.get("event")
    if name == "call.ended":
        return encode(msgspec.convert(fields, Ended))
    if name not in TOLD:
        return None
    fields.pop("agent_id", None)
    if name == "llm.error":
        fields["error"] = UNANSWERED
        fields.pop("code", None)
    return ANYTHING_ENCODER.encode(fields).decode()


def without_result(told: str) -> str | None:
    """Return a message for a page without what a tool returned; None if it has no such thing."""
    fields: JsonObject = ANYTHING.decode(told)
    if fields.get("event") != "llm.tool_result" or fields.pop("result", None) is None:
        return None
    return ANYTHING_ENCODER.encode(fields).decode()


def nothing_said(call_id: str, message_id: str) -> str:
    """Return what ends a reply without words for a page, which else would wait for its sound."""
    finished = BotFinished(call_id=call_id, message_id=message_id, duration_ms=0)
    return encode(finished)


ANYTHING_ENCODER = msgspec.json.Encoder()
