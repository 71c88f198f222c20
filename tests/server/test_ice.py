"""STUN and TURN servers: how they are written, which page is told which, and whom we ask."""

from __future__ import annotations

import logging
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.errors import UsageError
from pinecall_cli.server.webrtc.ice import (
    MOST,
    STUN,
    IceServer,
    for_us,
    parse_ice_server,
    parse_ice_servers,
)
from pinecall_cli.server.webrtc.peer import Peer
from tests.server.browser import Browser, speaking
from tests.server.peer import connected, embedded

PAGE = {"Origin": "https://anywhere.example"}
TURN = IceServer("turn:turn.example.com:3478?transport=tcp", "alice", "s3cret")
LOGIN = "turn:alice:s3cret@"


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("stun:stun.example.com", IceServer("stun:stun.example.com")),
        ("STUN:192.0.2.7:3478", IceServer("stun:192.0.2.7:3478")),
        ("stuns:[2001:db8::7]:5349", IceServer("stuns:[2001:db8::7]:5349")),
        (f"{LOGIN}turn.example.com:3478?transport=tcp", TURN),
        (" turn://a:p@turn.example.com ", IceServer("turn:turn.example.com", "a", "p")),
        (
            "turns:a%40b:p%3Aq%2F@turn.example.com",
            IceServer("turns:turn.example.com", "a@b", "p:q/"),
        ),
        ("turn:a:p:q@t:1", IceServer("turn:t:1", "a", "p:q")),
    ],
)
def test_a_server_is_written_as_browsers_write_it_with_its_user_before_it(
    text: str, server: IceServer
):
    assert parse_ice_server(text) == server


@pytest.mark.parametrize(
    "text",
    [
        *("", "stun", "stun:", "http:stun.example.com", "stun:a b", "stun:a:0", "stun:a:65536"),
        *("stun:alice:s3cret@stun.example.com", "stun:stun.example.com?transport=udp"),
        *("turn:turn.example.com", "turn:alice@turn.example.com", "turn:alice:@turn.example.com"),
        *("turn::s3cret@turn.example.com", f"{LOGIN}", f"{LOGIN}turn.example.com?transport=tls"),
        *("turn:alice:s3cret:turn.example.com", "turn:alice:s3cret@turn.example.com/path"),
        *("alice:s3cret@turn.example.com", f"{LOGIN}[nowhere]", f"{LOGIN}a:99999"),
    ],
)
def test_what_is_no_server_is_refused_and_no_password_is_repeated(text: str):
    with pytest.raises(UsageError) as refused:
        parse_ice_server(text)
    assert "s3cret" not in f"{refused.value.message} {refused.value.fix}"


LOGINS = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())


@given(st.sampled_from(["turn", "turns"]), LOGINS, LOGINS, st.integers(1, 65_535))
def test_any_user_and_password_can_be_written(scheme: str, user: str, password: str, port: int):
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    found = parse_ice_server(f"{scheme}:{login}@turn.example.com:{port}")
    assert found == IceServer(f"{scheme}:turn.example.com:{port}", user, password)


@pytest.mark.parametrize(
    "text", ["stun:a", "stuns:a:1", "stun:[::1]:1", f"{LOGIN}[::1]", LOGIN + "a"]
)
async def test_whatever_pages_are_told_our_own_end_of_a_call_takes_too(text: str):
    await Peer(parse_ice_servers([text])).close()


def test_there_are_not_more_than_browsers_put_up_with():
    assert len(parse_ice_servers(["stun:a"] * MOST)) == MOST
    with pytest.raises(UsageError, match="too many"):
        parse_ice_servers(["stun:a"] * (MOST + 1))


def test_a_server_that_is_printed_keeps_its_password():
    assert "s3cret" not in repr(TURN)


# --- what pages are told ---


async def told(http: httpx.AsyncClient, host: str | None = None) -> object:
    """Return the answer to a page that addresses the server as ``host``."""
    headers = PAGE if host is None else PAGE | {"Host": host}
    answer = await http.get("/webrtc/ice-servers", headers=headers)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["iceServers"]


async def test_a_page_on_this_machine_has_none_to_try_and_one_behind_a_proxy_has():
    async with (
        embedded(public_hosts=["voice.example"]) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        assert await told(http) == []
        assert await told(http, f"localhost:{server.port}") == []
        assert await told(http, "voice.example") == [{"urls": [STUN.url]}]
        assert (await http.options("/webrtc/ice-servers", headers=PAGE)).status_code == 204


async def test_servers_that_were_given_are_told_to_every_page_with_their_login():
    given_servers = (IceServer("stun:stun.example.com"), TURN)
    async with (
        embedded(ice_servers=given_servers, public_hosts=["voice.example"]) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        for host in (None, "voice.example"):
            assert await told(http, host) == [
                {"urls": ["stun:stun.example.com"]},
                {"urls": [TURN.url], "username": "alice", "credential": "s3cret"},
            ]


async def test_a_password_is_in_no_log(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    script = {"provider": "script", "rules": [{"say": "Yes."}]}
    async with speaking(ice_servers=[TURN]) as server, connected(server) as owner:
        await owner.agent("desk", llm=script)
        page = Browser(server)
        answer = await page.post(await page.token(), await page.offer())
        assert answer.status_code == 200
        await page.close()
        async with httpx.AsyncClient(base_url=server.url) as http:
            await told(http)
    assert caplog.messages
    assert "s3cret" not in caplog.text


# --- whom we ask ---


@pytest.mark.parametrize("given_servers", [(), (TURN,)])
@pytest.mark.parametrize(
    ("page", "host", "near"),
    [
        ("127.0.0.1", "127.0.0.1:4747", True),
        ("127.0.0.1", "voice.example", False),  # it came through a proxy
        ("192.168.0.7", "192.168.0.2:4747", True),
        ("192.168.0.7", "voice.lan", True),
        ("fd00::1", "[fd00::2]:4747", True),
        ("81.2.69.142", "voice.example", False),
        ("", None, False),
    ],
)
def test_nobody_is_asked_for_our_address_where_the_page_is_near(
    page: str, host: str | None, near: bool, given_servers: tuple[IceServer, ...]
):
    assert for_us(given_servers, host, page) == ([] if near else list(given_servers or (STUN,)))
