"""``/api/sdk/agents``: who is connected, how they are configured, and taking a name away."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.registry import RegisteredAgent
from pinecall_cli.server.app import VoiceServer

SECRET = re.compile(
    r"(token|secret|password|passwd|apikey|accesskey|privatekey|credentials?|authorization)$"
)
"""Ends of names, lower case and without separators, whose texts are nobody's to read."""
MASK = "***"
CLIENT_KEYS = ("name", "version", "pid")

Answer = Callable[[Request, Organisation], Awaitable[Response]]
Failed = Callable[[str, int], Response]
"""What is wrong, and the status: as the clients of a route read it."""


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the routes about connected agents; all of them want a key."""

    async def listing(request: Request, org: Organisation) -> Response:
        lines = request.query_params.get("include_lines") in ("1", "true")
        return JSONResponse(listed(server, org, include_lines=lines))

    async def kick(request: Request, org: Organisation) -> Response:
        agent = server.registry.find(org, request.path_params["slug"])
        if agent is None:
            return failed(f"Agent '{request.path_params['slug']}' is not online", 404)
        server.kick(agent)
        return JSONResponse({"success": True, "displaced": agent.slug, "org_id": org.id})

    async def config(request: Request, org: Organisation) -> Response:
        agent = server.registry.find(org, request.path_params["slug"])
        if agent is None:
            return failed(f"Agent '{request.path_params['slug']}' is not online", 404)
        return JSONResponse(configuration(agent))

    return [
        Route("/api/sdk/agents", keyed(server, listing), methods=["GET"]),
        Route("/api/sdk/agents/{slug}", keyed(server, kick), methods=["DELETE"]),
        Route("/api/sdk/agents/{slug}/config", keyed(server, config), methods=["GET"]),
    ]


def keyed(
    server: VoiceServer, answer: Answer, told: Failed | None = None
) -> Callable[[Request], Awaitable[Response]]:
    """Return a route that answers whoever shows a key, as the organisation it belongs to."""

    async def checked(request: Request) -> Response:
        org = server.organisations.of_header(request.headers.get("authorization"))
        if org is None:
            return (told or failed)("missing or invalid API key", 401)
        return await answer(request, org)

    return checked


def failed(error: str, status: int) -> Response:
    """Return an error in the form of this family."""
    return JSONResponse({"success": False, "error": error}, status)


def listed(
    server: VoiceServer, org: Organisation, *, include_lines: bool = False
) -> dict[str, Any]:
    """Return the organisation's agents, as `GET /api/sdk/agents` answers (rest.md §3.1).

    ``include_lines`` adds the phone lines; who has a number is told in any case.
    """
    agents, lines = list(server.registry.online(org)), list(server.registry.lines(org))
    phone_map = {number: line.slug for line in lines for number in line.numbers}
    overrides: dict[str, str] = {}
    callers: set[str] = set()
    for agent in agents:
        for number in agent.numbers:
            (overrides if agent.dev else phone_map).setdefault(number, agent.slug)
        if agent.connection is not None:
            callers.update(agent.connection.dev_callers)
    agents += lines if include_lines else []
    return {
        "success": True,
        "agents": [row(agent) for agent in agents],
        "total": len(agents),
        "phone_map": phone_map,
        "dev_overrides": overrides or None,
        "dev_callers": sorted(callers) or None,
    }


def row(agent: RegisteredAgent) -> dict[str, Any]:
    """Return an agent of the listing."""
    channels: dict[str, dict[str, Any]] = {
        kind: {"count": 0, "refs": []} for kind in ("phone", "webrtc")
    }
    for channel in agent.channels.values():
        entry = channels.setdefault(channel.type, {"count": 0, "refs": []})
        entry["count"] += 1
        if channel.ref is not None:
            entry["refs"].append(channel.ref)
    return {
        "slug": agent.slug,
        "org_id": agent.org.id,
        "phones": list(agent.numbers),
        "channels": channels,
        "active": True,
        "since": agent.since,
        "live_calls": len(agent.sessions),
        "client": client(agent),
    }


def client(agent: RegisteredAgent) -> dict[str, Any] | None:
    """Return what the program that holds an agent said of itself: name, version, process id."""
    said = None if agent.connection is None else agent.connection.client
    return None if not said else {key: said[key] for key in CLIENT_KEYS if key in said}


def configuration(agent: RegisteredAgent) -> dict[str, Any]:
    """Return an agent's configuration as the wire brought it, secrets masked."""
    return {
        "agent": agent.slug,
        "config": masked(agent.payload),
        "allowed_origins": list(agent.allowed_origins),
        "channels": [
            {
                "type": channel.type,
                "ref": channel.ref,
                "ringing": channel.ringing,
                "config": masked(channel.payload),
            }
            for channel in agent.channels.values()
        ],
    }


def masked(value: Any, name: str = "") -> Any:
    """Return a JSON value with the texts of secrets in it replaced."""
    if isinstance(value, Mapping):
        return {key: masked(inner, key) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, name) for inner in value]
    if isinstance(value, str) and value and SECRET.search(re.sub(r"[^a-z]", "", name.lower())):
        return MASK
    return value
