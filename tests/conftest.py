"""Fixtures that folders share: the asyncio backend, a home that is empty, a network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# pytest parses what it imports of ours, and CPython 3.11 must not parse in two threads at once
# (SystemError, "recursion depth mismatch"): engines are loaded in two.
import pinecall_cli.engines.hibari
import pinecall_cli.engines.moonshine
import pinecall_cli.engines.smart_turn  # noqa: F401


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def empty_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home without keys, profiles, logs or running servers."""
    home = tmp_path_factory.mktemp("home")
    for name in [n for n in os.environ if n.startswith(("PINECALL_", "XDG_"))]:
        if name not in ("PINECALL_MODELS", "PINECALL_AUDIO_TESTS"):
            monkeypatch.delenv(name)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GITHUB_ACTIONS", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    return home


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let WebRTC use the loopback where a machine has nothing else; elsewhere change nothing."""
    import aioice.ice

    found = aioice.ice.get_host_addresses

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return found(use_ipv4, use_ipv6) or ["127.0.0.1"]

    monkeypatch.setattr(aioice.ice, "get_host_addresses", addresses)
