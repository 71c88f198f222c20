"""A Chromium without a window, driven over its DevTools protocol: a page, clicks, JavaScript."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets

REQUIRED = os.environ.get("PINECALL_BROWSER_TESTS") == "required"
"""Set where apt works, as in CI: there a missing browser is a failure, not a skip."""
NAMES = ("chromium", "google-chrome", "chromium-browser")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
PATIENCE_S = 60.0
"""For a browser beside other tests on a busy machine; a test that runs into it has failed."""
needs_a_browser = pytest.mark.skipif(
    PROGRAM is None and not REQUIRED, reason="not installed: chromium"
)
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--no-default-browser-check", "--remote-debugging-port=0"),
    "--allow-loopback-in-peer-connection",
)
"""Shows nothing, asks nobody, and takes a page's calls also where there is only the loopback."""


class Tab:
    """One page."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self._session: str | None = None

    async def open(self, url: str) -> None:
        """Go to a page, and return when it has loaded."""
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        await self.send("Page.enable")
        await self.send("Page.navigate", url=url)
        await self._until(lambda message: message.get("method") == "Page.loadEventFired")

    async def run(self, script: str) -> Any:
        """Run JavaScript as if somebody had clicked, await what it returns, and return that."""
        answer = await self.send(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, condition: str) -> Any:
        """Wait in the page until a condition is truthy, and return what it is then."""
        return await self.run(
            f"""new Promise((done) => {{
                const look = () => {{
                    const found = {condition}
                    if (found) done(found)
                    else setTimeout(look, 50)
                }}
                look()
            }})"""
        )

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        number = next(self._numbers)
        session = {} if self._session is None else {"sessionId": self._session}
        command = {"id": number, "method": method, "params": params, **session}
        await self._socket.send(json.dumps(command))
        answer = await self._until(lambda message: message.get("id") == number)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def _until(self, wanted: Any) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message: dict[str, Any] = json.loads(await self._socket.recv())
                if wanted(message):
                    return message


@asynccontextmanager
async def chromium(microphone: Path, profile: Path) -> AsyncIterator[Tab]:
    """Start a browser whose microphone plays a WAV file, over and over, from when it is opened."""
    assert PROGRAM is not None, "chromium is not installed, and PINECALL_BROWSER_TESTS requires it"
    browser = await asyncio.create_subprocess_exec(
        PROGRAM,
        *QUIET,
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
        f"--user-data-dir={profile}",
        "about:blank",
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile), "XDG_RUNTIME_DIR": str(profile)},
    )
    reading: asyncio.Task[bytes] | None = None
    try:
        address = await devtools(browser)
        assert browser.stderr is not None
        reading = asyncio.create_task(browser.stderr.read())  # else it would stop at a full pipe
        async with websockets.connect(address, max_size=None, ping_interval=None) as socket:
            yield Tab(socket)
    finally:
        if browser.returncode is None:
            browser.kill()
        await browser.wait()
        if reading is not None:
            await reading


async def devtools(browser: asyncio.subprocess.Process) -> str:
    """Return the address at which a browser that starts can be driven."""
    assert browser.stderr is not None
    said: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while line := (await browser.stderr.readline()).decode(errors="replace"):
            said.append(line)
            if found := re.search(r"DevTools listening on (ws://\S+)", line):
                return found[1]
    raise AssertionError(f"the browser did not start: {''.join(said)}")
