"""``/openapi.json``: the HTTP routes as OpenAPI 3.1, made from the very table they are mounted by.

What a route does not say of itself (which parameters, which body, which answers) stands here. A
test compares both with the routes and with what fuzzed requests are answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from pinecall_cli import __version__
from pinecall_cli.server.routes.account import HOSTED, HOSTED_JSON

PATH = "/openapi.json"
JSON, FORM = "application/json", "multipart/form-data"
EVERYWHERE: Final = {
    403: "Not addressed to this server, or from a page that may not ask.",
    431: "The request line and headers are too large.",
    503: "The server cannot answer now.",
}
MEANINGS: Final = {
    200: "Done.",
    204: "The call is over, and there is nothing more to be streamed.",
    400: "The request is malformed, or asks for what cannot be done.",
    401: "The key or token is missing, unknown, used or expired.",
    404: "There is no such thing here.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The file is of no kind that can be read.",
    422: "A parameter is missing or wrong.",
    429: "Too many requests at once.",
    501: "The hosted service alone has this.",
    502: "A speech engine is missing, or broke.",
}
UNKEYED: Final = frozenset(
    {
        *("/webrtc/token", "/chat/token", "/webrtc/ice-servers", "/webrtc/offer"),
        *("/api/sdk/agent-info/{agent}", "/api/sdk/voices", "/api/sdk/voice-preview"),
        "/api/rates/models",
        *("/api/scribe", "/whatsapp/webhook", PATH),
    }
)
"""Paths for which a key is not needed, or something else will do."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What is to be known of a method of a path, beside that it is there."""

    summary: str
    query: tuple[str, ...] = ()
    body: str | None = None
    """Media type."""
    answers: tuple[int, ...] = ()
    """Beside 200, 501 and those of `EVERYWHERE`."""


TOKEN: Final = ("agent_id", "metadata", "scope", "call_id")
AUDIO: Final = (400, 401, 408, 413, 429, 502)
OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", "/webrtc/token"): Operation("A token for a voice call.", TOKEN, None, (401, 404, 422)),
    ("GET", "/chat/token"): Operation("A token for a chat.", TOKEN, None, (401, 404, 422)),
    ("GET", "/stream/token"): Operation("A token for the call log.", TOKEN, None, (401, 404, 422)),
    ("GET", "/webrtc/ice-servers"): Operation("ICE servers for a page."),
    ("POST", "/webrtc/offer"): Operation(
        "Begin a call from a page.", (), JSON, (400, 401, 404, 408, 413, 422)
    ),
    ("GET", "/api/sdk/agents"): Operation("Connected agents.", ("include_lines",), None, (401,)),
    ("DELETE", "/api/sdk/agents/{slug}"): Operation("Take an agent's name away.", (), None, (401,)),
    ("GET", "/api/sdk/agents/{slug}/config"): Operation(
        "An agent's configuration, secrets masked.", (), None, (401,)
    ),
    ("GET", "/api/sdk/agent-info/{agent}"): Operation("How an agent can be reached.", ()),
    ("GET", "/api/sdk/phone-numbers"): Operation("Numbers of the agents.", (), None, (401,)),
    ("GET", "/api/sdk/voices"): Operation("Voices.", ("provider", "language")),
    ("GET", "/api/sdk/voice-preview"): Operation(
        "How a voice sounds.", ("provider", "voice", "lang"), None, (404, 502)
    ),
    ("GET", "/v1/audio/voices"): Operation("Voices.", ("provider", "language"), None, (401,)),
    ("POST", "/v1/audio/speech"): Operation("Text to speech.", (), JSON, AUDIO),
    ("POST", "/v1/audio/transcriptions"): Operation("Speech to text.", (), FORM, (*AUDIO, 415)),
    ("POST", "/api/scribe"): Operation(
        "Speech to text, for a page.", ("token",), FORM, (*AUDIO, 415)
    ),
    ("GET", "/v1/calls"): Operation(
        "Calls, the newest first.", ("token", "limit"), None, (401, 422)
    ),
    ("GET", "/v1/calls/{call_id}/events"): Operation(
        "Entries of a call's log; streamed for whoever accepts that.",
        ("token", "after", "limit", "types", "durable"),
        None,
        (204, 400, 401, 404, 422),
    ),
    ("GET", "/v1/agents/{slug}/calls"): Operation(
        "Calls of an agent; streamed for whoever accepts that.",
        ("token", "after", "limit", "types", "durable"),
        None,
        (400, 401, 422),
    ),
    ("GET", "/live/{call_id}/player"): Operation(
        "A page to hear a call.", ("token",), None, (401,)
    ),
    ("GET", "/whatsapp/webhook"): Operation(
        "Meta's challenge.", ("hub.mode", "hub.verify_token", "hub.challenge")
    ),
    ("POST", "/whatsapp/webhook"): Operation("Messages from Meta.", (), JSON, (400, 401, 413)),
    ("GET", "/whatsapp/outbox"): Operation("What Meta would be sent.", (), None, (401,)),
    ("GET", "/api/orgs/me"): Operation("Whose key it is.", (), None, (401,)),
    ("GET", "/api/usage/calls"): Operation("Calls and their costs.", ("limit",), None, (401, 422)),
    ("GET", "/api/conversations"): Operation(
        "Conversations, the newest first.", ("limit", "type", "agent"), None, (401, 422)
    ),
    ("GET", "/api/conversations/{id}"): Operation(
        "A conversation with its transcript.", (), None, (401,)
    ),
    ("GET", "/api/rates/models"): Operation("Models that need no key here."),
    ("GET", PATH): Operation("This description."),
    **{
        (method, path): Operation("Of the hosted service alone.", (), None, (401, 501))
        for path, methods, _ in (*HOSTED, *HOSTED_JSON)
        for method in methods
    },
}


def described_route(routes: Sequence[BaseRoute]) -> Route:
    """Return the route that describes all ``routes``, and itself."""

    async def answer(request: Request) -> Response:
        return JSONResponse(document)

    route = Route(PATH, answer, methods=["GET"])
    document = description([*routes, route])
    return route


def description(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the OpenAPI document of a server.

    Raises:
        KeyError: If there is a route that nothing is known of.
    """
    paths: dict[str, dict[str, Any]] = {}
    for method, path in methods_of(routes):
        paths.setdefault(path, {})[method.lower()] = operation(method, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "pinecall embedded server", "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "x-websockets": sorted(r.path for r in routes if isinstance(r, WebSocketRoute)),
    }


def methods_of(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Yield every method and path, but for those that come with others by themselves."""
    for route in routes:
        if isinstance(route, Route):
            for method in sorted(set(route.methods or ()) - {"HEAD", "OPTIONS"}):
                yield method, route.path


def operation(method: str, path: str) -> dict[str, Any]:
    """Return the description of one method of a path."""
    known = OPERATIONS[method, path]
    text = {"type": "string"}
    parameters = [
        *(
            {"name": name, "in": "path", "required": True, "schema": text}
            for name in re.findall(r"{(\w+)}", path)
        ),
        *({"name": name, "in": "query", "schema": text} for name in known.query),
    ]
    answers = {status: MEANINGS[status] for status in known.answers} | EVERYWHERE
    if "{" in path:  # what holds a slash is another path
        answers[404] = MEANINGS[404]
    if 501 not in known.answers:
        answers[200] = MEANINGS[200]
    body: dict[str, Any] = (
        {} if known.body is None else {"requestBody": {"content": {known.body: {}}}}
    )
    return {
        "summary": known.summary,
        "parameters": parameters,
        **body,
        "responses": {str(code): {"description": answers[code]} for code in sorted(answers)},
        "security": [] if path in UNKEYED else [{"key": []}],
    }
