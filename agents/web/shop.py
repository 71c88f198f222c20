"""A lamp shop on the web: customers log in, and write to its agent.

    python agents/web/shop.py               # http://127.0.0.1:8000; the key stays in this process
    pinecall dev agents/web/shop.py         # the agent alone, with the terminal around it

The page asks this application for a token, and with it speaks to the voice server: good once, for
a minute, for this agent, with the customer's name sealed into it. Key and server are
`PINECALL_API_KEY` and `PINECALL_URL`.
"""

import secrets
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from pinecall_cli import Call, Pinecall, tool

CUSTOMERS = {"ana": "lantern", "bo": "candle"}  # names and passwords: yours are somewhere safe
SESSIONS: dict[str, str] = {}
PAGE = Path(__file__).with_name("shop.html")
PRICES = {"red": 40, "blue": 50}

pc = Pinecall()


@tool
def price(lamp: str) -> dict[str, Any]:
    """Look up what a lamp costs.

    Args:
        lamp: Its colour.
    """
    return {"lamp": lamp, "euros": PRICES.get(lamp.lower(), 60)}


@tool
def who(call: Call) -> dict[str, Any]:
    """Look up whom you are speaking to."""
    return {"name": call.metadata.get("userId", "somebody")}


shop = pc.agent(
    "web-shop",
    language="en",
    llm="openai/gpt-5-chat-latest",
    prompt="You sell lamps to customers of a web shop. Be brief.",
    greeting="Welcome to the lamp shop.",
    greeting_in_chat=True,
    tools=[price, who],
    local={
        "llm": "script",
        "script": [
            {
                "on": r"\b(?P<lamp>red|blue|green) lamp",
                "call": {"price": {"lamp": "{lamp}"}},
                "say": "The {result.lamp} lamp is {result.euros} euros.",
            },
            {"on": "who am i", "call": "who", "say": "You are {result.name}."},
            {"say": "You said: {text}"},
        ],
    },
)


def customer(scope: MutableMapping[str, Any]) -> Mapping[str, Any] | None:
    """Say who is there: None for nobody, else what is sealed into their token."""
    name = SESSIONS.get(HTTPConnection(scope).cookies.get("session", ""))
    return None if name is None else {"userId": name}


async def login(request: Request) -> Response:
    try:
        form = await request.json()
        name, password = str(form["name"]), str(form["password"])
    except (ValueError, KeyError, TypeError):
        return Response("a name and a password, please", status_code=400)
    known, given = CUSTOMERS.get(name), password.encode("utf-8", "replace")
    if known is None or not secrets.compare_digest(known.encode(), given):
        return Response("no such customer", status_code=403)
    session = secrets.token_urlsafe()
    SESSIONS[session] = name
    answer = Response(status_code=204)
    answer.set_cookie("session", session, httponly=True, samesite="strict")
    return answer


async def page(request: Request) -> Response:
    return FileResponse(PAGE)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with pc:
        yield


app = Starlette(
    routes=[
        Route("/", page),
        Route("/login", login, methods=["POST"]),
        Route("/token", pc.token_endpoint(shop, authorise=customer, channels=("chat",))),
    ],
    lifespan=lifespan,
)

if __name__ == "__main__":
    uvicorn.run(app, timeout_graceful_shutdown=1)
