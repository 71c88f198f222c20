"""Hostile clients for every socket and every route; used by tests for seconds, by a bench for long.

Each takes a running server and a `Mutator`, does so many things wrong, and returns. Whether the
server still stands is for whoever called it to see (`alive`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import websockets

from pinecall_cli.server import openapi
from pinecall_cli.server.embedded import EmbeddedServer
from tests.fakes.engines import Engines
from tests.server.front_door import endpoints, filled, table
from tests.server.mutations import BROKEN, STRANGE, Mutator, samples
from tests.server.peer import PATIENCE_S, Peer, bearer, connected

COMMANDS = samples("commands")
PAGE = [
    {"event": "message", "text": "Do you ship to Peru?"},
    {"event": "set_context", "key": "page", "value": {"path": "/pricing", "items": [1, 2]}},
]
ACTIONS = [
    {"action": "mute"},
    {"action": "unmute"},
    {"action": "configure", "voice": "a/b", "language": "en", "stt": {"provider": "x"}},
    {"action": "inject_text", "text": "Hello?"},
    {"action": "set_context", "key": "page", "value": {"a": [None]}},
    {"action": "dtmf", "digits": "12#"},
]
STARTS = [
    {"event": "start", "sample_rate": 16_000, "channels": 1, "encoding": "pcm_s16le"}
    | {"from": "+14155550100", "metadata": {"a": {"b": 1}}},
    {"event": "start", "sample_rate": 8_000, "channels": 1, "encoding": "mulaw"}
    | {"to": "+13186330963"},
    {"event": "answer", "number": "+14155550100", "sample_rate": 8_000, "encoding": "mulaw"},
]
WATCHER = [
    {"action": "say", "text": "Hello."},
    {"action": "whisper", "text": "Be brief."},
    {"action": "pause"},
    {"action": "resume"},
    {"action": "ping"},
]
DICTATION = [{"type": "finalize"}, {"event": "x", "type": "y"}]
OFFER = [
    {"sdp": "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", "type": "offer"}
    | {"token": "wrtc_x", "config": {"voice": "a/b"}, "metadata": {"a": 1}}
]
SPEECH = [
    {"input": "Hello there.", "voice": "a/b", "model": "a/b", "language": "en"}
    | {"response_format": "wav", "sample_rate": 24_000, "speed": 1.5, "timestamps": True}
]
WEBHOOK = [
    {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "changes": [
                    {
                        "value": {
                            "metadata": {"phone_number_id": "1"},
                            "contacts": [{"wa_id": "51", "profile": {"name": "Ana"}}],
                            "messages": [
                                {"from": "51", "id": "m", "type": "text", "text": {"body": "Hi"}}
                            ],
                            "statuses": [{"id": "m", "status": "read", "recipient_id": "51"}],
                        }
                    }
                ]
            }
        ],
    }
]
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x80>\x00\x00\x00}\x00\x00"
    b"\x02\x00\x10\x00data\x04\x00\x00\x00\x00\x00\x00\x00\r\n--b\r\n"
    b'Content-Disposition: form-data; name="model"\r\n\r\na/b\r\n--b--\r\n'
)
BODIES: Mapping[str, list[dict[str, Any]]] = {
    "/v1/audio/speech": SPEECH,
    "/webrtc/offer": OFFER,
    "/whatsapp/webhook": WEBHOOK,
}

Fuzz = Callable[[EmbeddedServer, Mutator, int], Awaitable[None]]


def address(server: EmbeddedServer, path: str) -> str:
    """Return the address of a socket."""
    return f"ws{server.url[4:]}{path}"


async def alive(server: EmbeddedServer) -> bool:
    """Tell whether a server still serves: a new agent registers and has a chat answered."""
    async with connected(server, "pk_two") as peer:
        await peer.agent("witness", llm={"provider": "script", "rules": [{"say": "Here."}]})
        await peer.send("llm.chat", agent_id="witness", session_id="chat-witness", text="There?")
        answer = await peer.until("llm.chat.done")
        return bool(answer["text"] == "Here.")


async def token(server: EmbeddedServer, channel: str, **query: str) -> str:
    """Return a token for the agent `desk`."""
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        params = {"agent_id": "desk", **query}
        return str((await http.get(f"/{channel}/token", params=params)).json()["token"])


@contextlib.asynccontextmanager
async def desk(server: EmbeddedServer) -> Any:
    """Have an agent `desk` connected, which answers and has a tool."""
    async with connected(server) as peer:
        await peer.agent("desk", llm={"provider": "script", "rules": [{"say": "Yes: {text}"}]})
        await peer.send("channel.add", agent_id="desk", type="phone", ref="+13186330963")
        await peer.until("channel.added")
        draining = asyncio.create_task(drain(peer.socket))
        try:
            yield peer
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)


def whole(text: str) -> str:
    """Return a text that a client's library agrees to send; escaped halves of pairs stay."""
    return text.encode("utf-8", "replace").decode()


def engines() -> Engines:
    """Return speech engines that understand something in any noise."""
    return Engines(defaultdict(lambda: "What was that?", {0: "Hello?"}))


async def drain(socket: websockets.ClientConnection) -> None:
    """Read whatever comes."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            await socket.recv()


async def pour(socket: websockets.ClientConnection, mutator: Mutator, count: int) -> None:
    """Send frames, some of them binary, until so many are sent or the socket is closed."""
    reading = asyncio.create_task(drain(socket))
    try:
        for _ in range(count):
            if mutator.random.random() < 0.1:
                await socket.send(mutator.random.randbytes(mutator.random.randrange(2_000)))
            else:
                await socket.send(whole(mutator.text()))
        await socket.close()  # while somebody reads: the server's answer stands behind all else
    except websockets.ConnectionClosed:
        pass
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


# --- the sockets ----------------------------------------------------------------------------------


async def agent_socket(server: EmbeddedServer, mutator: Mutator, count: int) -> None:
    """Be an agent process that says anything, before it has shown a key and after."""
    frames = [*COMMANDS, *({**frame, "agent_id": "mine"} for frame in COMMANDS)]
    live = {"call_id": "chat-mine", "session_id": "chat-mine"}
    frames += [{**frame, **live, "agent_id": "mine"} for frame in COMMANDS]
    within = Mutator(mutator.random.randrange(2**32), frames)
    url = address(server, "/client")
    async with websockets.connect(url) as socket:
        await pour(socket, within, count // 10)
    sent = 0
    while sent < count:
        part = min(count - sent, 100)
        sent += part
        async with websockets.connect(url) as socket:
            peer = Peer(socket)
            await peer.send("connect", api_key="pk_one")
            await peer.agent("mine", llm={"provider": "script", "rules": [{"say": "Yes."}]})
            await peer.send("llm.chat", agent_id="mine", session_id="chat-mine", text="Hello")
            await pour(socket, within, part)


async def chat_socket(server: EmbeddedServer, mutator: Mutator, count: int) -> None:
    """Be a page that writes anything."""
    within = Mutator(mutator.random.randrange(2**32), PAGE)
    async with desk(server):
        for _ in range(-(-count // 50)):
            thread = quote(str(mutator.random.choice(STRANGE)).encode("utf-8", "replace")[:500])
            path = f"/chat/ws?token={await token(server, 'chat')}&thread={thread}"
            async with websockets.connect(address(server, path)) as socket:
                await pour(socket, within, 50)


async def mic_socket(server: EmbeddedServer, mutator: Mutator, count: int) -> None:
    """Be a telephone that begins anyhow, and sends anything as sound."""
    starts = Mutator(mutator.random.randrange(2**32), STARTS)
    within = Mutator(mutator.random.randrange(2**32), ACTIONS)
    async with desk(server):
        for number in range(-(-count // 25)):
            path = f"/mic/ws?token={await token(server, 'webrtc')}"
            async with websockets.connect(address(server, path)) as socket:
                good = number % 2 == 0
                first = json.dumps(STARTS[number // 2 % 2]) if good else starts.text()
                await socket.send(whole(first))
                await pour(socket, within, 25)


async def attach_socket(server: EmbeddedServer, mutator: Mutator, count: int) -> None:
    """Be a supervisor who asks for anything."""
    await watching(server, mutator, count, "/v1/attach", "call")


async def stream_socket(server: EmbeddedServer, mutator: Mutator, count: int) -> None:
    """Be a reader of an event stream who says anything."""
    await watching(server, mutator, count, "/ws/stream", "session")


async def watching(
    server: EmbeddedServer, mutator: Mutator, count: int, path: str, name: str
) -> None:
    """Watch a live chat over one of two sockets."""
    within = Mutator(mutator.random.randrange(2**32), WATCHER)
    async with desk(server):
        chat = f"/chat/ws?token={await token(server, 'chat')}"
        async with websockets.connect(address(server, chat)) as page:
            call = json.loads(await page.recv())["session_id"]
            for number in range(-(-count // 25)):
                strange = str(mutator.random.choice(STRANGE)).encode("utf-8", "replace")[:200]
                pass_ = await token(server, "stream", scope="supervise")
                wish = f"{name}={call}" if number % 2 else f"agent=desk&after={quote(strange)}"
                with contextlib.suppress(websockets.InvalidStatus):
                    target = address(server, f"{path}?token={pass_}&{wish}")
                    async with websockets.connect(target) as socket:
                        await pour(socket, within, 25)


async def live_socket(server: EmbeddedServer, mutator: Mutator, count: int) -> None:
    """Be a listener who does not only listen."""
    within = Mutator(mutator.random.randrange(2**32), WATCHER)
    async with desk(server):
        path = f"/mic/ws?token={await token(server, 'webrtc')}"
        async with websockets.connect(address(server, path)) as caller:
            await caller.send(json.dumps(STARTS[0]))
            call = None
            while call is None:
                message = await caller.recv()
                if isinstance(message, str):
                    call = json.loads(message).get("call_id")
            reading = asyncio.create_task(drain(caller))
            for _ in range(-(-count // 50)):
                target = address(server, f"/live/{call}/ws?token=pk_one")
                async with websockets.connect(target) as socket:
                    await pour(socket, within, 50)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def dictation_socket(server: EmbeddedServer, mutator: Mutator, count: int) -> None:
    """Be a program that dictates anything, at any rate."""
    within = Mutator(mutator.random.randrange(2**32), DICTATION)
    for _ in range(-(-count // 25)):
        rate = mutator.random.choice(("8000", "16000", "48000", "0", "-1", "x"))
        encoding = mutator.random.choice(("linear16", "mulaw", "opus"))
        path = f"/v1/audio/transcriptions/stream?sample_rate={rate}&encoding={encoding}"
        target = address(server, path)
        async with websockets.connect(target, additional_headers=bearer()) as socket:
            await pour(socket, within, 25)


async def scribe_socket(server: EmbeddedServer, mutator: Mutator, count: int) -> None:
    """Be a page that dictates anything."""
    within = Mutator(mutator.random.randrange(2**32), DICTATION)
    async with desk(server):
        for _ in range(-(-count // 25)):
            path = f"/api/scribe/ws?token={await token(server, 'chat')}"
            async with websockets.connect(address(server, path)) as socket:
                await pour(socket, within, 25)


SOCKETS: Mapping[str, Fuzz] = {
    "/client": agent_socket,
    "/chat/ws": chat_socket,
    "/mic/ws": mic_socket,
    "/v1/attach": attach_socket,
    "/ws/stream": stream_socket,
    "/live/{call_id}/ws": live_socket,
    "/v1/audio/transcriptions/stream": dictation_socket,
    "/api/scribe/ws": scribe_socket,
}


# --- the routes -----------------------------------------------------------------------------------


async def routes(server: EmbeddedServer, mutator: Mutator, count: int) -> list[str]:
    """Ask for everything, wrongly; returns how answers differed from the server's description."""
    wrong: list[str] = []
    described = json.loads(json.dumps(openapi.description(table(server))))["paths"]
    random = mutator.random
    async with (
        desk(server),
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_S) as http,
    ):
        for method, path in endpoints(server):
            if method == "DELETE":
                continue  # of the agent that the others need
            for _ in range(count):
                value = random.choice(("desk", "chat-1", some(random)))
                target = filled(path, quote(value, safe="") or "x")
                names = [p["name"] for p in described[path][method.lower()]["parameters"]]
                query = {
                    name: random.choice(("desk", "1", "{}", some(random)))
                    for name in names
                    if random.random() < 0.6
                }
                if path == "/api/scribe" and random.random() < 0.5:
                    query["token"] = await token(server, "chat")
                headers = bearer() if random.random() < 0.9 else {}
                content, kind = body_for(path, mutator)
                if content is not None and random.random() < 0.95:
                    headers["Content-Type"] = kind
                answer = await http.request(
                    method, target, params=query, headers=headers, content=content
                )
                known = described[path][method.lower()]["responses"]
                if str(answer.status_code) not in known:
                    wrong.append(f"{method} {path} {query} → {answer.status_code} {answer.text}")
    return wrong


def some(random: Any) -> str:
    """Return a strange value as a text that an address can hold."""
    return str(random.choice(STRANGE)).encode("utf-8", "replace").decode()[:600]


def body_for(path: str, mutator: Mutator) -> tuple[bytes | None, str]:
    """Return a body that is nearly right for a path, and its media type."""
    random = mutator.random
    if path in BODIES:
        within = Mutator(random.randrange(2**32), BODIES[path])
        return within.data(), "application/json"
    if path in ("/v1/audio/transcriptions", "/api/scribe"):
        return spoiled(FORM, random), "multipart/form-data; boundary=b"
    if random.random() < 0.2:
        return random.choice(BROKEN).encode(), "application/json"
    return None, ""


def spoiled(data: bytes, random: Any) -> bytes:
    """Return bytes with some of them changed, doubled or left out."""
    changed = bytearray(data)
    for _ in range(random.randrange(4)):
        at = random.randrange(len(changed))
        match random.randrange(3):
            case 0:
                changed[at] = random.randrange(256)
            case 1:
                del changed[at : at + random.randrange(20)]
            case _:
                changed[at:at] = changed[at : at + random.randrange(60)]
        if not changed:
            break
    return bytes(changed)
