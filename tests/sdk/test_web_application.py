"""README's web application, as it stands there, against the embedded server."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.server.embedded import EmbeddedServer
from tests.sdk.listening import PATIENCE_S
from tests.sdk.web import Sse, served

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"^```python\n(# shop\.py\n.*?)^```", README, re.DOTALL | re.MULTILINE)


async def test_a_logged_in_page_writes_to_the_agent_and_another_watches(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINECALL_API_KEY", server.key)
    monkeypatch.setenv("PINECALL_URL", server.url)
    monkeypatch.chdir(tmp_path)
    shop: dict[str, Any] = {"__name__": "shop"}
    # On a thread without a loop, as a server imports it: what is there connects with the lifespan.
    await asyncio.to_thread(exec, compile(EXAMPLE, "shop.py", "exec"), shop)
    cookies = {"session": "c2Vzc2lvbg"}
    async with served(shop["app"], lifespan="on") as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S) as nobody:
            for path in ("/token", "/events"):
                assert (await nobody.get(path)).status_code == 401
        async with httpx.AsyncClient(base_url=url, cookies=cookies, trust_env=False) as ana:
            async with ana.stream("GET", "/events", timeout=PATIENCE_S) as answer:
                watching = Sse(answer)
                assert await watching.next() == ("connected", {"agents": ["shop"]})
                token = (await ana.get("/token?channel=chat")).json()
                where = token["server"].replace("http", "ws") + "/chat/ws?token=" + token["token"]
                async with websockets.connect(where, proxy=None) as page:
                    await page.send(json.dumps({"event": "message", "text": "A red one?"}))
                    heard = await watching.until("user.message")
                    assert (heard["text"], heard["agent"]) == ("A red one?", "shop")
                    said = await watching.until("bot.speaking")
                    assert said["text"] == "You said: A red one?"
                await watching.until("call.ended")
    store = shop["shop"].history
    (kept,) = await store.recent("shop", "ana", limit=5)
    assert [message["content"] for message in kept.transcript] == [heard["text"], said["text"]]
    await store.close()
