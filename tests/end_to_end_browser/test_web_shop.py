"""The page of `agents/web/shop.py` in Chromium: a customer logs in, asks, and is answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pinecall_cli.server.embedded import EmbeddedServer
from tests.end_to_end_browser.chromium import chromium, needs_a_browser
from tests.fakes.engines import Engines
from tests.sdk.test_web_shop import imported
from tests.sdk.web import served

SILENCE = Path(__file__).parents[1] / "audio_clips" / "caller_03.wav"
"""A browser of these tests has a microphone; this page does not ask for it."""
SAID = "document.getElementById('said')"


@needs_a_browser
async def test_a_customer_logs_in_asks_and_is_answered_in_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EmbeddedServer(engines=Engines(), run_dir=tmp_path) as server:
        monkeypatch.setenv("PINECALL_API_KEY", server.key)
        monkeypatch.setenv("PINECALL_URL", server.url)
        shop = await asyncio.to_thread(imported)
        async with (
            served(shop.app, lifespan="on") as url,
            chromium(SILENCE, tmp_path / "profile") as tab,
        ):
            await shop.pc.registered()
            await tab.open(url)
            for password in ("candle", "lantern"):
                await tab.run(
                    f"document.querySelector('[name=name]').value = 'ana';"
                    f"document.querySelector('[name=password]').value = '{password}';"
                    f"document.getElementById('login').requestSubmit()"
                )
                await tab.until(f"{SAID}.children.length === {1 if password == 'candle' else 2}")
            await tab.run(
                "document.querySelector('[name=text]').value = 'How much is the <b>red lamp?';"
                "document.getElementById('write').requestSubmit()"
            )
            await tab.until(f"{SAID}.children.length === 4")
            texts = await tab.run(f"[...{SAID}.children].map((one) => one.textContent)")
    assert texts == [
        "no such customer",
        "Welcome to the lamp shop.",
        "You: How much is the <b>red lamp?",
        "The red lamp is 40 euros.",
    ]
