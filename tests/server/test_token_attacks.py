"""Tokens under attack: what is replayed, late, somebody else's, cut short; origins that pretend.

Everything here goes over the wire to a real server, as an attacker's requests would.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest
import websockets

from pinecall_cli.protocol.codec import encode
from pinecall_cli.protocol.metadata import LARGEST
from pinecall_cli.protocol.mic import MicStart
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.tokens import LIFETIME_S, RETURN_S
from tests.fakes.engines import Engines
from tests.server.peer import Peer, bearer, connected, embedded
from tests.server.test_chat import SCRIPT

SITE = "https://mysite.com"
PATTERNS = ["https://mysite.com", "https://*.mysite.com", "http://localhost:*", "https://bücher.de"]
SOCKETS = {"webrtc": "/mic/ws", "chat": "/chat/ws", "stream": "/v1/attach"}


async def mint(
    server: EmbeddedServer, channel: str = "chat", key: str = "pk_one", **query: str
) -> str:
    params = {"agent_id": "desk", **query}
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.get(f"/{channel}/token", params=params, headers=bearer(key))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def address(server: EmbeddedServer, channel: str, token: str, rest: str = "") -> str:
    if channel == "stream" and not rest:
        rest = "&agent=desk"
    return f"ws{server.url[4:]}{SOCKETS[channel]}?token={token}{rest}"


async def status(url: str, **options: Any) -> int:
    """Return how an upgrade is answered; 101 if it is granted."""
    try:
        async with websockets.connect(url, **options):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


# --- the tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["webrtc", "chat"])
async def test_a_replayed_token_is_refused(channel: str):
    async with embedded(engines=Engines()) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        url = address(server, channel, await mint(server, channel))
        assert await status(url) == 101
        assert await status(url) == 401


@pytest.mark.parametrize("channel", SOCKETS)
async def test_an_expired_token_is_refused(channel: str):
    async with embedded(engines=Engines()) as server, connected(server) as owner:
        clock = server.server.tokens._now = Clock()
        await owner.agent("desk", llm=SCRIPT)
        url = address(server, channel, await mint(server, channel))
        clock.now = LIFETIME_S
        assert await status(url) == 401


async def test_a_stream_token_lets_its_holder_come_back_for_an_hour_and_no_longer():
    async with embedded() as server, connected(server) as owner:
        clock = server.server.tokens._now = Clock()
        await owner.agent("desk", llm=SCRIPT)
        url = address(server, "stream", await mint(server, "stream"))
        assert await status(url) == 101
        clock.now = RETURN_S - 1
        assert await status(url) == 101
        clock.now = RETURN_S
        assert await status(url) == 401


@pytest.mark.parametrize("channel", SOCKETS)
@pytest.mark.parametrize("other", SOCKETS)
async def test_a_token_of_another_channel_is_refused_and_used_up(channel: str, other: str):
    if channel == other:
        return
    async with embedded(engines=Engines()) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        token = await mint(server, channel)
        assert await status(address(server, other, token)) == 401
        assert await status(address(server, channel, token)) == 401


@pytest.mark.parametrize("channel", SOCKETS)
async def test_a_truncated_or_altered_token_is_refused_and_the_whole_one_stays_good(channel: str):
    async with embedded(engines=Engines()) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        token = await mint(server, channel)
        prefix, _, secret = token.partition("_")
        forged = [
            *(token[:-1], token + "A", prefix + "_", "", secret, token.swapcase()),
            *(token + "%00", "%20" + token, token[:20], "pk_one", token[:-1] + "%2A"),
        ]
        for guess in forged:
            assert await status(address(server, channel, guess)) == 401, guess
        assert await status(address(server, channel, token)) == 101


async def test_a_token_opens_its_own_agent_alone():
    async with embedded(engines=Engines()) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        await owner.agent("vault", llm=SCRIPT)
        token = await mint(server, "stream")
        for foreign in ("vault", "*", "desk,vault"):
            url = address(server, "stream", token, f"&agent={foreign}")
            assert await status(url) == 403, foreign
        both = await mint(server, "stream", agent_id="desk, vault,desk")
        for mine in ("desk", "vault"):
            assert await status(address(server, "stream", both, f"&agent={mine}")) == 101
        chat = address(server, "chat", await mint(server), "&agent_id=vault&agent=vault")
        async with websockets.connect(chat) as socket:
            connected_to = json.loads(await socket.recv())["session_id"]
            started = await owner.until("llm.chat.started")
            assert (started["call_id"], started["agent_id"]) == (connected_to, "desk")


async def test_an_organisations_key_gets_nothing_of_another_one():
    async with embedded() as server, connected(server) as owner, connected(server, "pk_two"):
        await owner.agent("desk", llm=SCRIPT)
        call = await chatted(server, owner)
        async with httpx.AsyncClient(base_url=server.url) as http:
            for channel in SOCKETS:
                params = {"agent_id": "desk"}
                answer = await http.get(
                    f"/{channel}/token", params=params, headers=bearer("pk_two")
                )
                assert answer.status_code == 404
        async with connected(server, "pk_two") as thief:
            await thief.agent("desk", llm=SCRIPT)
            theirs = await mint(server, "stream", key="pk_two")
            url = address(server, "stream", theirs, f"&call={call}")
            assert await status(url) == 404
            async with httpx.AsyncClient(base_url=server.url) as http:
                bound = {"agent_id": "desk", "call_id": call}
                answer = await http.get("/stream/token", params=bound, headers=bearer("pk_two"))
                assert answer.status_code == 404


async def chatted(server: EmbeddedServer, owner: Peer) -> str:
    """Have one chat with `desk`, and return its id."""
    async with websockets.connect(address(server, "chat", await mint(server))) as socket:
        call = str(json.loads(await socket.recv())["session_id"])
    await owner.until("llm.chat.ended", call_id=call)
    return call


async def test_a_token_for_one_call_shows_that_call_alone():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        await owner.agent("vault", llm=SCRIPT)
        mine, other = await chatted(server, owner), await chatted(server, owner)
        token = await mint(server, "stream", call_id=mine, scope="supervise")
        assert await status(address(server, "stream", token, f"&call={mine}")) == 101
        assert await status(address(server, "stream", token, f"&call={other}")) == 403
        assert await status(address(server, "stream", token, "&agent=desk")) == 403
        async with httpx.AsyncClient(base_url=server.url) as http:
            for query, expected in (
                ({"agent_id": "vault", "call_id": mine}, 404),
                ({"agent_id": "desk", "call_id": "CA-none"}, 404),
                ({"agent_id": "desk", "scope": "root"}, 422),
                ({"agent_id": "desk,"}, 422),
                ({"agent_id": ""}, 422),
                ({"agent_id": ",".join(f"a{n}" for n in range(101))}, 422),
                ({"agent_id": "desk,nobody"}, 404),
            ):
                answer = await http.get("/stream/token", params=query, headers=bearer())
                assert answer.status_code == expected, query


async def test_the_pages_of_the_call_log_are_as_closed_as_its_socket():
    async with embedded() as server, connected(server) as owner, connected(server, "pk_two"):
        clock = server.server.tokens._now = Clock()
        await owner.agent("desk", llm=SCRIPT)
        await owner.agent("vault", llm=SCRIPT)
        mine = await chatted(server, owner)
        await owner.send("llm.chat", agent_id="vault", session_id="foreign", text="hi")
        await owner.until("llm.chat.done", session_id="foreign")
        token = await mint(server, "stream")
        async with connected(server, "pk_two") as thief:
            await thief.agent("desk", llm=SCRIPT)
            other_org = await mint(server, "stream", key="pk_two")
        async with httpx.AsyncClient(base_url=server.url) as http:

            async def asked(path: str, token: str) -> int:
                return (await http.get(path, params={"token": token})).status_code

            events, calls = f"/v1/calls/{mine}/events", "/v1/agents/desk/calls"
            assert [await asked(path, token) for path in (events, calls)] == [200, 200]
            assert await asked("/v1/calls/foreign/events", token) == 403
            assert await asked("/v1/agents/vault/calls", token) == 403
            assert await asked("/v1/calls", token) == 403
            assert await asked(events, other_org) == 404
            listed = await http.get(calls, params={"token": other_org})
            assert listed.json()["calls"] == []
            for guess in (token[:-1], token + "A", "str_", ""):
                assert [await asked(path, guess) for path in (events, calls)] == [401, 401], guess
            clock.now = RETURN_S
            assert [await asked(path, token) for path in (events, calls)] == [401, 401]


@pytest.mark.parametrize("channel", SOCKETS)
async def test_a_token_is_no_key(channel: str):
    async with (
        embedded() as server,
        connected(server) as owner,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await owner.agent("desk", llm=SCRIPT)
        as_key = bearer(await mint(server, channel))
        for path in (
            *("/api/sdk/agents", "/api/sdk/agents/desk/config"),
            *("/chat/token?agent_id=desk", "/stream/token?agent_id=desk"),
        ):
            assert (await http.get(path, headers=as_key)).status_code == 401, path
        # One for the call log may be shown there as a key is; it is for its agents all the same.
        status = 403 if channel == "stream" else 401
        assert (await http.get("/v1/calls", headers=as_key)).status_code == status
        assert (await http.delete("/api/sdk/agents/desk", headers=as_key)).status_code == 401
        assert await owner.settled() == []


async def test_a_caller_cannot_choose_another_agent_or_unsay_what_was_sealed():
    async with embedded(engines=Engines()) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        await owner.agent("vault", llm=SCRIPT)
        token = await mint(server, "webrtc", metadata='{"user":"u_9"}')
        url = address(server, "webrtc", token, "&agent=vault&agent_id=vault")
        async with websockets.connect(url) as socket:
            claims = {"user": "admin", "page": "/shop"}
            start = MicStart(sample_rate=16_000, metadata=claims)
            await socket.send(encode(start))
            started = await owner.until("call.started")
            assert started["agent_id"] == "desk"
            assert started["metadata"] == {"user": "u_9", "page": "/shop"}


@pytest.mark.parametrize("scope", ["observe", "participate", "supervise"])
async def test_a_scope_is_what_was_asked_for_and_observing_if_nothing_was(scope: str):
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        tokens = server.server.tokens
        granted = tokens.attach(await mint(server, "stream", scope=scope))
        assert granted is not None
        assert granted.scope == scope
        plain = tokens.attach(await mint(server, "stream"))
        assert plain is not None
        assert plain.scope == "observe"


@pytest.mark.parametrize("channel", ["webrtc", "chat"])
async def test_a_calls_token_has_no_scope_and_is_for_no_call(channel: str):
    async with (
        embedded() as server,
        connected(server) as owner,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await owner.agent("desk")
        for name in ("scope", "call_id"):
            query = {"agent_id": "desk", name: "observe"}
            answer = await http.get(f"/{channel}/token", params=query, headers=bearer())
            assert answer.status_code == 403


# --- the metadata ---------------------------------------------------------------------------------


@pytest.mark.parametrize("filler", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("channel", SOCKETS)
async def test_two_kilobytes_are_sealed_and_one_byte_more_is_not(channel: str, filler: str):
    async with (
        embedded() as server,
        connected(server) as owner,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await owner.agent("desk")
        frame = len('{"note":""}')
        wide = len(filler.encode())
        note = filler * ((LARGEST - frame) // wide)
        note += "." * (LARGEST - frame - len(note.encode()))
        for extra, expected in (("", 200), (".", 422)):
            text = json.dumps({"note": note + extra}, ensure_ascii=False, separators=(",", ":"))
            assert len(text.encode()) == LARGEST + len(extra)
            answer = await http.get(
                f"/{channel}/token",
                params={"agent_id": "desk", "metadata": text},
                headers=bearer(),
            )
            assert answer.status_code == expected
            if expected == 200:
                found = server.server.tokens.consume(answer.json()["token"], channel)  # type: ignore[arg-type]
                assert found is not None
                assert found.metadata == {"note": note}


# --- the origins ----------------------------------------------------------------------------------

LET_IN = [
    *("https://mysite.com", "https://mysite.com:443", "HTTPS://MYSITE.COM", "https://MySite.com"),
    *("https://shop.mysite.com", "https://a.b.mysite.com"),
    *("http://localhost", "http://localhost:3000", "http://LOCALHOST:65535"),
    "https://xn--bcher-kva.de",
]
TURNED_AWAY = [
    *("https://evil-mysite.com", "https://evilmysite.com", "https://mysite.com.evil.io"),
    *("http://mysite.com", "http://shop.mysite.com", "https://localhost", "ftp://mysite.com"),
    *("https://user@mysite.com", "https://mysite.com@evil.io", "https://mysite.com:pw@evil.io"),
    *("https://mysite.com.", "https://shop.mysite.com.", "https://.mysite.com"),
    *("null", "NULL", "", "undefined", "*", "https://*.mysite.com", "https://*"),
    *("https://mysite.com:8443", "https://mysite.com:80", "https://mysite.com:0443x"),
    *("https://mysite.com:", "https://mysite.com/", "https://mysite.com/x", "https://mysite.com?"),
    *("https://mysite.com#", "//mysite.com", "mysite.com", "https:mysite.com", "https:///"),
    *(
        "https://mysite.com\\.evil.io",
        "https://evil.io\\@mysite.com",
        "https://evil.io#.mysite.com",
    ),
    *("https://evil.io?.mysite.com", "https://evil.io/.mysite.com", "https://a..mysite.com"),
    *("https://mysite.com https://evil.io", "https://evil.io, https://mysite.com"),
    *("http://localhost.evil.io", "http://localhost.:3000", "http://127.0.0.1:3000"),
    *("https://mysite.co", "https://mysite.comm", "https://m\u0443site.com", "https://bücher.de"),
    *("https://xn--mysite.com", "https://bucher.de", "https://xn--bcher-kva.de.evil.io"),
    *(
        "https://%6dysite.com",
        "https://mysite%2ecom",
        "https://mysite。com",
    ),
    *("file://", "chrome-extension://mysite.com", "data:mysite.com", "x" * 5_000),
]


def sent(origin: str) -> dict[str, bytes]:
    return {"Origin": origin.encode("utf-8")}


async def test_only_allowed_origins_get_tokens_and_only_they_may_read_the_answer():
    async with (
        embedded() as server,
        connected(server) as owner,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await owner.agent("desk", allowed_origins=PATTERNS)
        await owner.agent("private")
        for channel in ("webrtc", "chat"):
            for origin in (*LET_IN, *TURNED_AWAY):
                allowed = origin in LET_IN
                for method in ("GET", "OPTIONS"):
                    answer = await http.request(
                        method,
                        f"/{channel}/token",
                        params={"agent_id": "desk"},
                        headers=sent(origin),
                    )
                    named = answer.headers.get("access-control-allow-origin")
                    assert named == (origin if allowed else None), (method, origin)
                    assert answer.headers["vary"] == "Origin"
                    assert "access-control-allow-credentials" not in answer.headers
                    assert "access-control-allow-headers" not in answer.headers
                    if method == "GET":
                        assert answer.status_code == (200 if allowed else 403), origin
                        assert ("token" in answer.json()) is allowed
                none = await http.get(
                    f"/{channel}/token", params={"agent_id": "private"}, headers=sent(origin)
                )
                assert none.status_code == 403
            nobody = await http.get(f"/{channel}/token", params={"agent_id": "desk"})
            assert nobody.status_code == 401


async def test_no_origin_gets_a_stream_token():
    async with (
        embedded() as server,
        connected(server) as owner,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await owner.agent("desk", allowed_origins=PATTERNS)
        for headers in ({}, sent(SITE), bearer("pk_no")):
            answer = await http.get("/stream/token", params={"agent_id": "desk"}, headers=headers)
            assert answer.status_code in (401, 403)
            assert "access-control-allow-origin" not in answer.headers


async def test_a_bad_key_is_not_made_good_by_a_good_origin():
    async with (
        embedded() as server,
        connected(server) as owner,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await owner.agent("desk", allowed_origins=PATTERNS)
        for header in ("Bearer pk_no", "Bearer", "Basic pk_one", "pk_one", ""):
            answer = await http.get(
                "/chat/token",
                params={"agent_id": "desk"},
                headers={"Authorization": header, "Origin": SITE},
            )
            assert answer.status_code == 401, header


async def test_another_organisations_patterns_open_nothing_of_mine():
    async with (
        embedded() as server,
        connected(server) as one,
        connected(server, "pk_two") as two,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await one.agent("desk")
        await two.agent("desk", allowed_origins=[SITE])
        theirs = await http.get("/chat/token", params={"agent_id": "desk"}, headers=sent(SITE))
        grant = server.server.tokens.consume(theirs.json()["token"], "chat")
        assert grant is not None
        assert grant.org.key == "pk_two"
        mine = await http.get(
            "/chat/token", params={"agent_id": "desk"}, headers=bearer() | {"Origin": SITE}
        )
        assert mine.status_code == 200
        assert "access-control-allow-origin" not in mine.headers


@pytest.mark.parametrize(
    "host", ["mysite.com", "evil.io:80", "127.0.0.1.evil.io", "localhost.evil.io", "0x7f.1"]
)
async def test_a_page_that_rebinds_its_name_to_us_is_turned_away(host: str):
    async with (
        embedded() as server,
        connected(server) as owner,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await owner.agent("desk", llm=SCRIPT, allowed_origins=[f"http://{host}", SITE])
        token = await mint(server)
        for path in (
            *("/webrtc/token", "/chat/token", "/stream/token", "/webrtc/ice-servers"),
            *(
                "/api/sdk/agents",
                "/api/sdk/agents/desk/config",
                "/v1/calls",
                "/v1/agents/desk/calls",
            ),
        ):
            answer = await http.get(
                path,
                params={"agent_id": "desk"},
                headers=bearer() | {"Host": host, "Origin": f"http://{host}"},
            )
            assert answer.status_code in (400, 403)
            assert "token" not in answer.json()
            assert "access-control-allow-origin" not in answer.headers
        paths = [f"{path}?token={token}&agent=desk" for path in SOCKETS.values()]
        here = {"host": "127.0.0.1", "port": int(server.url.rpartition(":")[2])}
        for path in (*paths, "/client", "/live/x/ws"):  # its name leads to us now, as DNS does it
            assert await status(f"ws://{host}{path}", **here) == 403, path
            assert await status(f"ws://{host}{path}", origin=f"http://{host}", **here) == 403, path
        assert await status(address(server, "chat", token)) == 101


# --- what is let out ------------------------------------------------------------------------------


async def test_no_key_and_no_token_is_in_any_log_error_or_repr(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)  # as `-vv` does
    key = "pk_very_secret_key"
    said: list[str] = []
    async with embedded(keys=[key], engines=Engines()) as server, connected(server, key) as owner:
        await owner.agent("desk", llm=SCRIPT, allowed_origins=[SITE])
        tokens = [await mint(server, channel, key=key) for channel in SOCKETS for _ in range(2)]
        said += [repr(server), repr(server.server.tokens), repr(vars(server.server))]
        said += [repr(grant) for grant in server.server.tokens._grants]
        async with httpx.AsyncClient(base_url=server.url) as http:
            for query in ({"agent_id": "nobody"}, {"agent_id": "desk", "metadata": "x"}):
                said.append((await http.get("/chat/token", params=query, headers=bearer(key))).text)
        for token in tokens:
            for channel in SOCKETS:
                try:
                    async with websockets.connect(address(server, channel, token)):
                        pass
                except websockets.InvalidStatus as refused:
                    said.append(str(refused) + (refused.response.body or b"").decode())
        said += [f"{entry}" for entry in server.server.journal.entries(agent="desk")]
        said += [json.dumps(frame) for frame in owner.seen]
    theirs = [r for r in caplog.records if not r.name.startswith("websockets.client")]
    said += [record.getMessage() for record in theirs]
    out, err = capfd.readouterr()
    said += [out, err]
    for secret in (key, *tokens):
        assert not [line[:300] for line in said if secret in line]
