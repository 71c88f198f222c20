"""A real embedded server, with engines that cost nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A voice server of its own for each test."""
    made = EmbeddedServer(engines=Engines(), keys=["pk_one", "pk_two"], run_dir=tmp_path)
    async with made:
        yield made


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[Pinecall]:
    """A client of that server."""
    async with Pinecall(server.key, server.url) as made:
        yield made
