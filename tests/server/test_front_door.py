"""What holds at every route and every socket; each is found in the table they are mounted by.

So a new route is tested here from its first day, and one that pages may ask must be named.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from urllib.parse import quote

import pytest

from pinecall_cli.server import openapi
from pinecall_cli.server.gateway import LARGEST_HEAD
from tests.fakes.engines import Engines
from tests.server.front_door import ask, endpoints, filled, keyed, sockets, table, upgrade
from tests.server.peer import embedded

REBOUND = [
    *("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:80"),
    *("localhost.", "127.1", "0x7f.1", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]", "[::2]"),
    *("localhost@evil.example", "evil.example#localhost", "localhost, evil.example", "", "*"),
    *("127.0.0.1:80:80", "127.0.0.1:999999", "ⅼocalhost", "localhost\\.evil.example"),
]
OTHER_PAGES = [
    *("https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "file://"),
    *("http://127.0.0.1.evil.example", "chrome-extension://abc", "", "http://localhost.:4747"),
]
PAGES_MAY_ASK = {
    *("/webrtc/token", "/chat/token", "/webrtc/ice-servers", "/webrtc/offer"),
    *("/api/sdk/agent-info/{agent}", "/api/sdk/voices", "/api/sdk/voice-preview", "/api/scribe"),
    *("/v1/audio/speech", "/v1/audio/voices", "/v1/audio/transcriptions"),
    *("/v1/calls", "/v1/calls/{call_id}/events", "/v1/agents/{slug}/calls"),
}
PAGES_MAY_OPEN = {
    *("/chat/ws", "/v1/attach", "/ws/stream", "/api/scribe/ws"),
    "/v1/audio/transcriptions/stream",
}
OPENED_BY_THEIR_FIRST_FRAME = {"/client", "/v1/audio/transcriptions/stream"}
"""Sockets that are granted to anybody, and closed if no key comes."""


@pytest.mark.parametrize("host", REBOUND)
def test_a_page_that_rebinds_its_name_reaches_no_route_and_no_socket(host: str):
    with embedded(engines=Engines()) as server:
        headers = keyed() | {"Host": host.encode(), "Origin": f"http://{host}".encode()}
        for method, path in endpoints(server):
            answer = ask(server, method, filled(path), headers)
            assert answer.status == 403, (method, path)
            assert b"host" in answer.body
            assert "access-control-allow-origin" not in answer.headers
        for path in sockets(server):
            assert upgrade(server, filled(path), headers).status == 403, path


def test_a_request_with_two_hosts_or_none_is_turned_away():
    with embedded() as server:
        for method, path in endpoints(server):
            for lines in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
                assert raw(server.port, method, filled(path), lines) in (400, 403), path


def raw(port: int, method: str, target: str, lines: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\n".encode() + lines + b"\r\n")
        return int(connection.recv(1000).split()[1])


@pytest.mark.parametrize("origin", OTHER_PAGES)
def test_pages_elsewhere_reach_what_is_named_here_and_nothing_else(origin: str):
    with embedded(engines=Engines()) as server:
        headers = keyed(Origin=origin)
        for method, path in endpoints(server):
            answer = ask(server, method, filled(path), headers)
            if path not in PAGES_MAY_ASK:
                assert answer.status == 403, (method, path)
                assert "access-control-allow-origin" not in answer.headers
            assert "access-control-allow-credentials" not in answer.headers
        for path in sockets(server):
            if path not in PAGES_MAY_OPEN:
                assert upgrade(server, filled(path), headers).status == 403, path


def test_a_page_elsewhere_opens_no_socket_by_being_in_its_visitors_browser():
    # It can bring what the browser brings: no key and no token, but cookies.
    with embedded(engines=Engines()) as server:
        for path in sockets(server):
            for origin in OTHER_PAGES:
                headers = {"Origin": origin, "Cookie": "session=1"}
                answer = upgrade(server, filled(path), headers)
                if path not in OPENED_BY_THEIR_FIRST_FRAME & PAGES_MAY_OPEN:
                    assert answer.status in (401, 403), (path, origin)
            own = upgrade(server, filled(path), {"Origin": server.url})
            assert (own.status == 101) == (path in OPENED_BY_THEIR_FIRST_FRAME), path


def test_no_route_that_wants_a_key_does_anything_without_one():
    with embedded(engines=Engines()) as server:
        for method, path in endpoints(server):
            for headers in ({}, {"Authorization": "Bearer pk_no"}, {"Authorization": "pk_one"}):
                answer = ask(server, method, filled(path), headers)
                if path not in openapi.UNKEYED:
                    assert answer.status == 401, (method, path)


def test_the_description_is_of_the_routes_there_are_and_is_served():
    with embedded() as server:
        routes = table(server)
        assert set(openapi.methods_of(routes)) == set(openapi.OPERATIONS)
        served = json.loads(ask(server, "GET", openapi.PATH).body)
        assert served == openapi.description(routes)
        assert served["x-websockets"] == sorted(sockets(server))
        config = served["paths"]["/api/sdk/agents/{slug}/config"]["get"]
        assert [p["name"] for p in config["parameters"]] == ["slug"]
        assert config["security"] == [{"key": []}]
        assert served["paths"]["/webrtc/ice-servers"]["get"]["security"] == []


# --- the file system ------------------------------------------------------------------------------

ESCAPES = [
    *("../" * 8 + "etc/passwd", "/etc/passwd", "..%2f" * 8 + "etc%2fpasswd"),
    *("%2e%2e/" * 8 + "etc/passwd", "..%252f" * 8 + "etc%252fpasswd", "....//" * 8 + "etc/passwd"),
    *(
        "..\\" * 8 + "etc\\passwd",
        "file:///etc/passwd",
        "x%00/etc/passwd",
        "calls.db",
        "./calls.db",
    ),
    *("%c0%ae%c0%ae/" * 4 + "etc/passwd", "~/.bashrc", "C:\\windows\\win.ini", "//host/share"),
]


@pytest.mark.parametrize("escape", ESCAPES)
def test_no_parameter_is_a_path_into_the_file_system(escape: str, tmp_path: Path):
    with embedded(engines=Engines(), data=tmp_path / "data") as server:
        before = sorted(tmp_path.rglob("*"))
        for method, path in endpoints(server):
            queries = openapi.OPERATIONS[method, path].query
            targets = {filled(path, quote(escape, safe="%")), filled(path, escape)}
            targets |= {f"{filled(path)}?{name}={quote(escape)}" for name in queries}
            for target in targets:
                plain = target.encode("ascii", "replace").decode().replace(" ", "%20")
                answer = ask(server, method, plain, keyed())
                assert answer.status < 500 or answer.status in (501, 503), plain
                assert b"root:" not in answer.body
                assert b"SQLite format" not in answer.body
        for path in sockets(server):
            for name in ("token", "thread", "call", "agent", "session", "model"):
                target = f"{filled(path, quote(escape, safe=''))}?{name}={quote(escape)}"
                assert upgrade(server, target, keyed()).status in (101, 401, 403, 404, 422)
        assert sorted(tmp_path.rglob("*")) == before


# --- sizes ----------------------------------------------------------------------------------------


def test_headers_and_addresses_larger_than_anybody_needs_are_refused():
    with embedded() as server:
        for method, path in endpoints(server):
            for target, headers in (
                (filled(path) + "?x=" + "y" * LARGEST_HEAD, {}),
                (filled(path), {"X-Large": "y" * LARGEST_HEAD}),
            ):
                assert ask(server, method, target, headers).status in (400, 431), path
        for path in sockets(server):
            headers = {f"X-{number}": "y" * 1_000 for number in range(20)}
            assert upgrade(server, filled(path), headers).status in (400, 431), path


def test_what_is_not_there_and_what_may_not_be_done_is_said_in_json():
    with embedded() as server:
        for method, target, status in (
            ("GET", "/nowhere", 404),
            ("DELETE", "/webrtc/token", 405),
            ("BREW", "/chat/token", 405),
            ("GET", "/v1/audio/speech", 405),
        ):
            answer = ask(server, method, target, keyed())
            assert answer.status == status
            assert json.loads(answer.body)["detail"]
