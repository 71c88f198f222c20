"""``POST /webrtc/offer``: a page calls an agent (protocol: sessions.md §2, flows.md §8).

The token in the body says who may. A page may read the answer exactly if it may have a token: its
origin is one that an agent here lets in, or a key's holder, who gives tokens to pages of their own,
has got one lately.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pinecall_cli.errors import EngineError
from pinecall_cli.protocol import webrtc
from pinecall_cli.protocol.config import merge_payload
from pinecall_cli.protocol.ids import call_id
from pinecall_cli.protocol.origins import origin_allowed
from pinecall_cli.server import bodies
from pinecall_cli.server.agents.registry import Refused, RegisteredAgent
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.calls import hold, language_of, open_session
from pinecall_cli.server.routes.tokens import Denied
from pinecall_cli.server.tokens import Grant
from pinecall_cli.server.voice.session import CallDetails
from pinecall_cli.server.webrtc.ice import for_us
from pinecall_cli.server.webrtc.load import NoWebRtcError, peer_class
from pinecall_cli.server.webrtc.page import Page

if TYPE_CHECKING:
    from pinecall_cli.server.webrtc.peer import Peer

log = logging.getLogger("pinecall.server")

Peers: TypeAlias = "dict[Peer, Callable[[], None]]"
"""The pages that call, and how each call's place is given back."""

BODY_S = 10.0
"""For the few kilobytes of an offer to arrive."""


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the offer's route."""
    peers: Peers = {}

    async def answer(request: Request) -> Response:
        headers = readable(server, request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        try:
            told = await answered(server, request, peers)
        except Denied as denied:
            return JSONResponse({"detail": denied.detail}, denied.status, headers=headers)
        return Response(webrtc.encode(told), media_type="application/json", headers=headers)

    return [Route("/webrtc/offer", answer, methods=["POST", "OPTIONS"])]


def readable(server: VoiceServer, request: Request) -> dict[str, str]:
    """Return the headers that say which page may ask, and read what it is told."""
    headers = {"Cache-Control": "no-store", "Vary": "Origin"}
    origin = request.headers.get("origin")
    if origin is not None and may_have_token(server, origin):
        headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            headers["Access-Control-Allow-Methods"] = "POST"
            headers["Access-Control-Allow-Headers"] = "Content-Type"
    return headers


def may_have_token(server: VoiceServer, origin: str) -> bool:
    """Tell whether a page of this origin may have got a token, from us or from its own server."""
    agents = server.registry.online()
    return server.tokens.anywhere("webrtc") or any(
        origin_allowed(origin, agent.allowed_origins) for agent in agents
    )


async def answered(server: VoiceServer, request: Request, peers: Peers) -> webrtc.Answer:
    """Begin the call that is asked for, and return the answer to its offer.

    Raises:
        Denied: If there is no call.
    """
    try:
        fields = webrtc.offer_object(await body_of(request))
        token = fields.get("token")
        grant = server.tokens.consume(token if isinstance(token, str) else "", "webrtc")
        if grant is None:
            raise Denied(401, "the token is unknown, used or expired")
        offer = webrtc.offer_of(fields)
        agent = called(server, request, grant)
        details, config = details_of(server, agent, grant, offer)
        peer = await connecting(server, request, peers)
        try:
            sdp = await peer.answer(offer.sdp)
        except BaseException:
            await let_go(peer, peers)
            raise
    except webrtc.OfferRefused as refused:
        raise Denied(400 if refused.form else 422, refused.detail) from None
    server.spawn(talk(server, agent, peer, peers, details, config), f"call {details.call_id}")
    return webrtc.Answer(sdp=sdp, session_id=details.call_id)


async def body_of(request: Request) -> bytes:
    """Return the body of an offer.

    Raises:
        Denied: If it is too large, or does not arrive.
    """
    largest = webrtc.LARGEST_OFFER
    try:
        return await bodies.read(request, largest=largest, within_s=BODY_S)
    except bodies.BodyTooLargeError:
        raise Denied(413, f"an offer has at most {largest} bytes") from None
    except bodies.BodyIncompleteError:
        raise Denied(408, "the offer did not arrive") from None


def called(server: VoiceServer, request: Request, grant: Grant) -> RegisteredAgent:
    """Return the agent that takes the call.

    Raises:
        Denied: If the page may not call it, or it is gone.
    """
    if not grant.good_from(request.headers.get("origin")):
        raise Denied(403, "the token was given to a page of another origin")
    agent = server.registry.find(grant.org, grant.agent)
    if agent is None:
        raise Denied(404, f"Agent '{grant.agent}' is not online")
    return agent


async def connecting(server: VoiceServer, request: Request, peers: Peers) -> Peer:
    """Return a connection to be made, once there is somebody to talk to; it has its place.

    Raises:
        Denied: If this server cannot hold the call.
    """
    try:
        peer = await peer_class()
        await server.engines.wait()
    except NoWebRtcError as missing:
        raise Denied(501, f"{missing.message}; {missing.fix}") from None
    except EngineError as broken:
        log.warning("a page cannot call: %s", broken.message)
        raise Denied(503, "speech is missing or broken here; the server's log says why") from None
    if server.draining:
        raise Denied(503, "the server is stopping")
    if len(peers) >= server.limits.page_calls:
        raise Denied(503, "SERVER_AT_CAPACITY: too many pages are calling")
    page = request.client.host if request.client else ""
    ways = for_us(server.ice_servers, request.headers.get("host"), page)
    try:
        leave = server.places.take()
    except Refused as full:
        raise Denied(503, f"{full.code}: {full.message}") from None
    try:
        made = peer(ways)
    except BaseException:
        leave()
        raise
    peers[made] = leave
    return made


async def let_go(peer: Peer, peers: Peers) -> None:
    """Give a call's place back, and close the connection."""
    peers.pop(peer)()
    await peer.close()


def details_of(
    server: VoiceServer, agent: RegisteredAgent, grant: Grant, offer: webrtc.Offer
) -> tuple[CallDetails, Mapping[str, Any]]:
    """Return who calls whom, and what the call is configured with.

    Raises:
        OfferRefused: If the page chooses what cannot be.
    """
    id, config = call_id(), agent.config_for("webrtc")
    if isinstance(offer.config, dict):
        chosen, dropped = webrtc.chosen(offer.config)
        if dropped:
            names = ", ".join(dropped)[:200]
            log.info("call %s: a page may not set %s", id, names.encode("unicode_escape").decode())
        config = merge_payload(config, chosen)
    untrusted = offer.metadata if isinstance(offer.metadata, dict) else {}
    details = CallDetails(
        call_id=id,
        from_="webrtc",
        to="webrtc",
        direction="inbound",
        transport="webrtc",
        metadata={**untrusted, **grant.metadata},
        sealed=grant.metadata,
        language=language_of(config),
        started_at=server.wall(),
    )
    return details, config


async def talk(
    server: VoiceServer,
    agent: RegisteredAgent,
    peer: Peer,
    peers: Peers,
    details: CallDetails,
    config: Mapping[str, Any],
) -> None:
    """Hold the call to its end, and let go of the page."""
    outlet = server.outlet(agent, details.call_id)
    limits = server.limits
    try:
        session = open_session(server, agent, outlet, details, config)
        page = Page(peer, session, outlet.emit)
        outlet.subscribe(page.tell)
        async with asyncio.TaskGroup() as tasks:
            watching = page.watch(connect_s=limits.page_connect_s, quiet_s=limits.page_quiet_s)
            watch = tasks.create_task(watching)
            try:
                await hold(server, session, outlet, page)
            finally:
                watch.cancel()
    finally:
        await let_go(peer, peers)
