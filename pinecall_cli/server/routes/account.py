"""What clients ask of an account (rest.md §1.2, §3.4, §9): told from here where it can be.

Numbers, calls and conversations are those of this server. What only the hosted service has is
answered with 501 and a sentence, each in the form in which its clients print errors.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.registry import slugs_of
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.log.past_calls import (
    conversation_rows,
    conversation_with_transcript,
    usage_rows,
)
from pinecall_cli.server.routes.agents import Answer, Failed, keyed
from pinecall_cli.server.routes.log import Denied, number

T = TypeVar("T")
MOST_ROWS = 1_000
MODELS: Final = [
    {"service": "stt", "provider": "moonshine", "model": "tiny-en", "managed": True},
    {"service": "tts", "provider": "hibari", "model": "heart", "managed": True},
    {"service": "llm", "provider": "script", "model": "", "managed": True},
]
"""What this server runs by itself; any other model is whatever the environment has keys for."""
CHANNELS: Final = ("chat", "phone", "webrtc", "whatsapp")
NO_STORE = {"Cache-Control": "no-store"}

HOSTED: Final = (
    ("/api/orgs/me/stats", ("GET",), "there are no accounts here, plans and credits"),
    ("/api/keys", ("GET", "POST"), "keys are given with `pinecall server --api-key`"),
    ("/api/twilio", ("GET", "POST"), "there is no carrier here"),
    ("/api/twilio/{id}", ("DELETE",), "there is no carrier here"),
    ("/api/phones", ("GET",), "there is no carrier here: a number is an agent's `phone_number`"),
    ("/api/phones/import", ("POST",), "there is no carrier here"),
    ("/api/phones/search", ("GET",), "there is no carrier here"),
    ("/api/phones/provision", ("POST",), "there is no carrier here"),
    ("/api/phones/{id}", ("DELETE",), "there is no carrier here"),
    ("/api/usage/summary", ("GET",), "nothing is charged here"),
    ("/api/session", ("GET",), "there are no accounts here, plans and credits"),
    ("/api/credentials", ("PUT",), "providers' keys are read from the environment"),
    ("/api/knowledge", ("GET", "POST"), "there are no knowledge bases here"),
    ("/api/knowledge/{kb}", ("GET", "DELETE"), "there are no knowledge bases here"),
    ("/api/knowledge/{kb}/reindex", ("POST",), "there are no knowledge bases here"),
    ("/api/knowledge/{kb}/docs", ("POST",), "there are no knowledge bases here"),
    ("/api/knowledge/{kb}/docs/{doc}", ("GET", "DELETE"), "there are no knowledge bases here"),
    ("/api/knowledge/{kb}/query", ("POST",), "there are no knowledge bases here"),
)
"""Of the hosted service alone, and what there is to say about it; answered as plain text, which
is what their clients show."""
HOSTED_JSON: Final = (
    ("/api/sdk/twilio-balance", ("GET",), "there is no carrier here"),
    ("/api/memory/search", ("GET",), "nothing is remembered of contacts here"),
    ("/api/memory/{agent}/{contact}", ("GET", "DELETE"), "nothing is remembered of contacts here"),
    ("/api/models/access", ("GET",), "models are whatever the environment has keys for"),
)
"""Likewise, answered as JSON."""


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return an account's routes; all but the rates want a key."""

    def told(
        answer: Answer, failed: Failed = said_in_full
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request, org: Organisation) -> Response:
            try:
                return await answer(request, org)
            except Denied as denied:
                return failed(denied.detail, denied.status)

        return keyed(server, answered, failed)

    async def read(work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.wrap_future(server.journal.ask(work))

    async def organisation(request: Request, org: Organisation) -> Response:
        return JSONResponse(account(org), headers=NO_STORE)

    async def phones(request: Request, org: Organisation) -> Response:
        owners = (*server.registry.online(org), *server.registry.lines(org))
        numbers = sorted({number for owner in owners for number in owner.numbers})
        rows = [phone(number) for number in numbers]
        return JSONResponse({"success": True, "phones": rows, "total": len(rows)})

    async def usage(request: Request, org: Organisation) -> Response:
        limit = number(request, "limit", 20, MOST_ROWS)
        calls = await read(lambda database: usage_rows(database, org.id, limit))
        return JSONResponse({"calls": calls}, headers=NO_STORE)

    async def conversations(request: Request, org: Organisation) -> Response:
        query = request.query_params
        limit = number(request, "limit", 30, MOST_ROWS)
        agent = slugs_of(query["agent"])[0] if query.get("agent") else None
        channel = query.get("type") or None
        if channel is not None and channel not in CHANNELS:
            raise Denied(422, f"`type` is none of {', '.join(CHANNELS)}")
        rows = await read(
            lambda database: conversation_rows(
                database, org.id, limit=limit, agent=agent, channel=channel
            )
        )
        return JSONResponse({"conversations": rows}, headers=NO_STORE)

    async def conversation(request: Request, org: Organisation) -> Response:
        call = request.path_params["id"]
        found = await read(lambda database: conversation_with_transcript(database, org.id, call))
        if found is None:
            raise Denied(404, f"no conversation `{call[:100]}`")
        return JSONResponse(found, headers=NO_STORE)

    async def rates(request: Request) -> Response:
        services = ("stt", "tts", "llm")
        managed = {one: [m["provider"] for m in MODELS if m["service"] == one] for one in services}
        return JSONResponse({"models": MODELS, "managedProviders": managed})

    def hosted_only(sentence: str, *, json: bool) -> Answer:
        text = f"{sentence}: this is an embedded server, not the hosted service"

        async def refusal(request: Request, org: Organisation) -> Response:
            return (failed if json else said_in_full)(text, 501)

        return refusal

    return [
        Route("/api/sdk/phone-numbers", told(phones, failed), methods=["GET"]),
        Route("/api/orgs/me", told(organisation), methods=["GET"]),
        Route("/api/usage/calls", told(usage), methods=["GET"]),
        Route("/api/conversations", told(conversations), methods=["GET"]),
        Route("/api/conversations/{id}", told(conversation), methods=["GET"]),
        Route("/api/rates/models", rates, methods=["GET"]),
        *(
            Route(
                path,
                told(hosted_only(sentence, json=json), failed if json else said_in_full),
                methods=list(methods),
            )
            for table, json in ((HOSTED, False), (HOSTED_JSON, True))
            for path, methods, sentence in table
        ),
    ]


def said_in_full(error: str, status: int) -> Response:
    """Return an error as plain text: what clients of an account's routes print as it is."""
    return PlainTextResponse(error, status)


def failed(error: str, status: int) -> Response:
    """Return an error in a form that every client reads: `error`, or `detail`."""
    return JSONResponse({"success": False, "error": error, "detail": error}, status)


def account(org: Organisation) -> dict[str, Any]:
    """Return whose key it is. Clients that list numbers ask, and give up where nobody answers.

    Nothing is charged, so there are no credits and no limit of them; every number may be dialled.
    """
    return {
        "id": org.id,
        "name": "Embedded server",
        "slug": org.id,
        "plan": "embedded",
        "credits": 0,
        "creditLimit": None,
        "email": None,
        "verified": True,
    }


def phone(number: str) -> dict[str, Any]:
    """Return a number of an agent as it is listed; its id is the same on every run."""
    sid = "PN" + hashlib.md5(number.encode(), usedforsecurity=False).hexdigest()
    return {"number": number, "name": number, "sid": sid, "isSdk": True}
