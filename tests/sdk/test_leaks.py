"""A thousand connections made and closed leave no task, no timer and no object behind."""

from __future__ import annotations

import pytest

from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.server.embedded import EmbeddedServer
from tests.sdk.reconnecting import left_by, lost_client, new_client, same_client

MANY = 330
FEW = 3
"""Objects of a kind that may be on their way out just then: a connection that closes, say."""


@pytest.mark.parametrize("how", ["the same client", "a new client", "lost and made again"])
async def test_connecting_and_disconnecting_leaves_nothing(
    how: str, server: EmbeddedServer
) -> None:
    client = Pinecall(server.key, server.url)
    client.agent("front-desk", llm="script", prompt="x")
    match how:
        case "the same client":
            left = await left_by(lambda: same_client(client), MANY)
        case "a new client":
            left = await left_by(new_client(server.url, server.key), MANY)
        case _:
            left = await left_by(lost_client(client), MANY)
    await client.disconnect()
    assert {name: count for name, count in left.items() if count > FEW} == {}
