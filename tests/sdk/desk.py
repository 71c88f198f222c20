"""An agent at a front desk, with tools, and who else is on its server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

from pinecall_cli.agent.define import Agent
from pinecall_cli.agent.tools import tool
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


@tool(ephemeral=True, no_followup=True)
def note(text: str, call: Call) -> str:
    """Note something.

    Args:
        text: What.
    """
    return f"{call.id}: {text}"


@tool
def fail(why: str) -> str:
    """Fail.

    Args:
        why: The reason.
    """
    raise ValueError(why)


def desk(name: str = "front-desk", **options: Any) -> Agent:
    return Agent(
        name,
        **(
            {
                "llm": "script",
                "prompt": "Be kind, {{who}}.",
                "prompt_vars": {"who": "you"},
                "tools": [add, note, fail],
            }
            | options
        ),
    )


@asynccontextmanager
async def second(server: EmbeddedServer, key: str | None = None) -> Any:
    async with Pinecall(key or server.key, server.url) as other:
        yield other


async def listed(server: EmbeddedServer) -> dict[str, Any]:
    async with Rest(server.url, Secret(server.key)) as rest:
        return {agent.slug: agent for agent in await rest.agents()}
