"""``pinecall token``: what it prints, what its tokens open, and every way it can be refused."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.commands.token_session import way_in
from pinecall_cli.protocol.codec import encode
from pinecall_cli.protocol.metadata import LARGEST
from pinecall_cli.protocol.mic import MicStart
from pinecall_cli.protocol.origins import browser_origin, origin_allowed
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.tokens import OUTSTANDING, Grant
from pinecall_cli.settings import run_dir
from tests.commands.done import Done, done
from tests.commands.stub_http import answering
from tests.commands.test_agents import connected, desk
from tests.fakes.engines import Engines

KEY = "pk_secret"
ORIGINS = ["https://shop.example", "https://*.shop.example", "http://localhost:*"]
KEYS = {"token", "server", "expires_in", "channel", "agent"}


Mint = Callable[..., Done]


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(engines=Engines(), keys=[KEY], run_dir=run_dir()) as made:
        with connected(made, desk(allowed_origins=ORIGINS), desk("private")):
            yield made


@pytest.fixture
def mint(capfd: pytest.CaptureFixture[str]) -> Mint:
    def begin(*words: str) -> Done:
        return done(capfd, "token", *words, hidden=(KEY,))

    return begin


def granted(server: EmbeddedServer, token: str) -> Grant:
    """Return what the server keeps for a token, and use the token up."""
    tokens = server.server.tokens
    channel = {"wrtc": "webrtc", "cht": "chat", "str": "stream"}[token.partition("_")[0]]
    found = tokens.consume(token, channel)  # type: ignore[arg-type]
    assert found is not None
    return found


# --- what is printed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "prefix"), [("webrtc", "wrtc_"), ("chat", "cht_"), ("stream", "str_")]
)
def test_in_a_pipe_the_token_is_all_there_is_on_stdout(
    server: EmbeddedServer, mint: Mint, channel: str, prefix: str
) -> None:
    found = mint("front-desk", "--channel", channel)
    assert found.code == 0
    (token,) = found.out.splitlines()
    assert token.startswith(prefix)
    assert found.err == f"{channel} token for front-desk, from {server.url}\n"
    assert granted(server, token).agent == "front-desk"


def test_the_document_says_whom_it_is_for_and_how_long_it_lasts(
    server: EmbeddedServer, mint: Mint
) -> None:
    found = mint("Front Desk", "--json", "--quiet")
    document = found.document
    assert set(document) == KEYS
    assert document | {"token": ""} == {
        "token": "",
        "server": server.url,
        "expires_in": 60,
        "channel": "webrtc",
        "agent": "front-desk",
    }
    assert found.err == ""
    assert granted(server, document["token"]).metadata == {}


# --- what the tokens open -----------------------------------------------------------------------


def opened(url: str, talk: Callable[[websockets.ClientConnection], Awaitable[Any]]) -> Any:
    """Open a socket, talk, and return what comes of it."""

    async def hold() -> Any:
        async with asyncio.timeout(20), websockets.connect(url) as socket:
            return await talk(socket)

    return asyncio.run(hold())


async def until(socket: websockets.ClientConnection, key: str, name: str) -> dict[str, Any]:
    while True:
        text = await socket.recv()
        frame = json.loads(text) if isinstance(text, str) and text.startswith("{") else {}
        if frame.get(key) == name:
            return dict(frame)


def test_a_chat_token_opens_a_chat_with_what_was_sealed(server: EmbeddedServer, mint: Mint) -> None:
    found = mint("front-desk", "--channel", "chat", "--metadata", "user=u_9", "--json")
    document = found.document

    async def talk(socket: websockets.ClientConnection) -> dict[str, Any]:
        await socket.send(json.dumps({"event": "message", "text": "hello"}))
        return await until(socket, "event", "chat.done")

    url = f"ws{document['server'][4:]}/chat/ws?token={document['token']}"
    assert opened(url, talk)["text"] == "You said: hello"
    with pytest.raises(websockets.InvalidStatus):
        opened(url, talk)


def test_a_webrtc_token_opens_a_call_by_microphone(server: EmbeddedServer, mint: Mint) -> None:
    document = mint("front-desk", "--metadata", "user=u_9", "--json").document

    async def talk(socket: websockets.ClientConnection) -> dict[str, Any]:
        await socket.send(encode(MicStart(sample_rate=16_000)))
        return await until(socket, "event", "call.started")

    started = opened(f"ws{document['server'][4:]}/mic/ws?token={document['token']}", talk)
    assert started["agent_id"] == "front-desk"
    assert started["metadata"] == {"user": "u_9"}


def test_a_stream_token_opens_the_call_log(server: EmbeddedServer, mint: Mint) -> None:
    chat = mint("front-desk", "--channel", "chat", "--json").document

    async def talk(socket: websockets.ClientConnection) -> str:
        return str(json.loads(await socket.recv())["session_id"])

    call = opened(f"ws{server.url[4:]}/chat/ws?token={chat['token']}", talk)
    token = mint("front-desk", "--channel", "stream").out.strip()

    async def watch(socket: websockets.ClientConnection) -> dict[str, Any]:
        return await until(socket, "type", "call.started")

    attach = f"ws{server.url[4:]}/v1/attach?agent=front-desk&token="
    assert opened(attach + token, watch)["data"]["call"] == call
    one = mint("front-desk", "--channel", "stream", "--call", call, "--scope", "supervise")
    grant = granted(server, one.out.strip())
    assert (grant.call_id, grant.scope) == (call, "supervise")


@pytest.mark.parametrize("scope", ["observe", "participate", "supervise"])
def test_a_scope_is_passed_on(server: EmbeddedServer, mint: Mint, scope: str) -> None:
    found = mint("front-desk", "--channel", "stream", "--scope", scope)
    assert granted(server, found.out.strip()).scope == scope


# --- metadata -----------------------------------------------------------------------------------


def test_metadata_comes_from_pairs_and_from_an_object_and_pairs_win(
    server: EmbeddedServer, mint: Mint
) -> None:
    object_ = '{"user": "u_1", "plan": {"name": "gold"}, "n": 3}'
    words = ["--metadata", "user=u_9", "--metadata", "note=a=b", "--metadata-json", object_]
    token = mint("front-desk", *words).out.strip()
    assert granted(server, token).metadata == {
        "user": "u_9",
        "note": "a=b",
        "plan": {"name": "gold"},
        "n": 3,
    }


@pytest.mark.parametrize("filler", ["x", "é", "😀"])
def test_2048_bytes_are_sealed_and_2049_are_not(
    server: EmbeddedServer, mint: Mint, filler: str
) -> None:
    room = LARGEST - len('{"note":""}')
    note = filler * (room // len(filler.encode()))
    note += "." * (room - len(note.encode()))
    found = mint("front-desk", "--metadata", f"note={note}")
    assert found.code == 0
    assert granted(server, found.out.strip()).metadata == {"note": note}
    found = mint("front-desk", "--metadata-json", json.dumps({"note": note + "."}), "--json")
    assert found.code == 2
    assert "2,049 bytes" in found.document["error"]["message"]


# --- as a page ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    [
        *("https://shop.example", "https://shop.example/basket?x=1", "HTTPS://Shop.Example:443"),
        *("https://a.b.shop.example", "http://localhost:3000"),
    ],
)
def test_a_page_that_is_allowed_gets_a_token_without_a_key(
    server: EmbeddedServer, mint: Mint, page: str
) -> None:
    for channel in ("webrtc", "chat"):
        found = mint("front-desk", "--origin", page, "--channel", channel)
        assert found.code == 0, found.err
        assert granted(server, found.out.strip()).channel == channel


@pytest.mark.parametrize(
    ("page", "pattern"),
    [
        ("https://evil.io", "https://evil.io"),
        ("https://shop.example.evil.io/x", "https://shop.example.evil.io"),
        ("https://evil-shop.example", "https://evil-shop.example"),
        ("http://shop.example", "http://shop.example"),
        ("https://shop.example:8443", "https://shop.example:8443"),
        ("https://shop.example@evil.io", "https://evil.io"),
        ("https://shop.example.", "https://shop.example."),
        ("http://127.0.0.1:3000", "http://127.0.0.1:*"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_a_page_that_is_not_is_exit_4_and_told_which_pattern_would_let_it_in(
    server: EmbeddedServer, mint: Mint, page: str, pattern: str
) -> None:
    found = mint("front-desk", "--origin", page, "--json")
    assert found.code == 4
    assert found.document["error"]["code"] == "origin_refused"
    assert f"add `{pattern}`" in found.document["error"]["hint"]
    assert "allowed_origins" in found.err
    assert "gives no token to pages of" in found.err


def test_an_agent_without_origins_lets_no_page_in_and_null_never_is(
    server: EmbeddedServer, mint: Mint
) -> None:
    assert mint("private", "--origin", "https://shop.example").code == 4
    found = mint("front-desk", "--origin", "null")
    assert found.code == 4
    assert "no pattern lets `null` in" in found.err


@pytest.mark.parametrize(
    "page", ["shop.example", "file:///x", "https://", "https://a b", "javascript:x", ""]
)
def test_what_is_no_page_is_wrong_usage(server: EmbeddedServer, mint: Mint, page: str) -> None:
    found = mint("front-desk", "--origin", page)
    assert found.code == 2
    assert "no page's address" in found.err


@given(
    st.sampled_from(["http", "https"]),
    st.from_regex(r"[a-zü0-9.-]{1,20}|\[::1\]|127\.0\.0\.1|localhost", fullmatch=True),
    st.integers(1, 65_535) | st.none(),
)
def test_the_pattern_that_is_offered_lets_the_page_in(
    scheme: str, host: str, port: int | None
) -> None:
    origin = browser_origin(f"{scheme}://{host}" + (f":{port}" if port else ""))
    if origin is not None:
        pattern = way_in(origin).partition("`")[2].partition("`")[0]
        assert origin_allowed(origin, [pattern]), (origin, pattern)


# --- what does not go together, and what is not there ---------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--call", "c1"], "`--call` is for stream tokens"),
        (["--scope", "observe"], "`--scope` is for stream tokens"),
        (["--channel", "chat", "--call", "c1"], "this one is for chat"),
        (["--channel", "stream", "--origin", "https://a.io"], "without a key"),
        (["--origin", "https://a.io", "--metadata", "a=1"], "a page cannot seal metadata"),
        (["--metadata", "a"], "`--metadata a` is no pair"),
        (["--metadata-json", "{"], "`--metadata-json` is no JSON"),
        (["--metadata-json", "[1]"], "no JSON object"),
        (["--metadata-json", '{"a": NaN}'], "cannot be sealed"),
        (["--metadata-json", "[" * 100_000], "`--metadata-json` is no JSON"),
        (["--metadata-json", '{"a": "\\ud800"}'], "not UTF-8"),
        (["--channel", "carrier-pigeon"], "carrier-pigeon"),
    ],
)
def test_what_makes_no_sense_is_exit_2_before_anybody_is_asked(
    mint: Mint, words: list[str], message: str
) -> None:
    found = mint("front-desk", *words)  # no server runs: whoever asked one would say so
    assert found.code == 2
    assert message in found.err
    assert found.out == ""
    assert "  fix: " in found.err


def test_an_unknown_agent_or_call_is_exit_1(server: EmbeddedServer, mint: Mint) -> None:
    found = mint("front-dsk", "--json")
    assert found.code == 1
    assert "did you mean `front-desk`?" in found.document["error"]["hint"]
    there = ("--server", server.url, "--origin", "https://shop.example")
    assert mint("front-dsk", *there).code == 1
    found = mint("front-desk", "--channel", "stream", "--call", "nope")
    assert found.code == 1
    assert "no call `nope`" in found.err


def test_no_server_is_exit_1_and_one_that_is_gone_exit_3(mint: Mint) -> None:
    assert mint("front-desk").code == 1
    gone = ("--server", "http://127.0.0.1:9")
    assert mint("front-desk", *gone, "--api-key", "k").code == 3
    assert mint("front-desk", *gone, "--origin", "https://a.io").code == 3


def test_a_wrong_key_is_exit_4(server: EmbeddedServer, mint: Mint) -> None:
    found = mint("front-desk", "--server", server.url, "--api-key", "pk_wrong", "--json")
    assert found.code == 4
    assert found.document["error"]["code"] == "not_authorised"
    assert "pk_wrong" not in found.out + found.err


def test_too_many_tokens_are_exit_3(server: EmbeddedServer, mint: Mint) -> None:
    org = granted(server, mint("front-desk").out.strip()).org
    for _ in range(OUTSTANDING):
        server.server.tokens.mint(Grant("chat", org, "front-desk"))
    found = mint("front-desk")
    assert found.code == 3
    assert "SERVER_AT_CAPACITY" in found.err


def test_several_servers_with_the_name_are_exit_2(
    server: EmbeddedServer, mint: Mint, tmp_path: Path
) -> None:
    with EmbeddedServer(engines=Engines(), run_dir=tmp_path) as other:
        (written,) = (tmp_path / "servers").glob("*.json")
        written.rename(run_dir() / "servers" / "other.json")
        with connected(other, desk()):
            found = mint("front-desk")
            assert found.code == 2
            assert "--server" in found.err
            assert mint("front-desk", "--server", other.url).code == 0


@pytest.mark.parametrize("body", [{}, {"token": ""}, {"token": 3}, {"token": "t\x1b[2J"}, [], "x"])
def test_an_answer_without_a_token_is_no_token(mint: Mint, body: Any) -> None:
    agents = {"agents": [{"slug": "front-desk"}]}
    routes = {"/api/sdk/agents": (200, agents), "/webrtc/token": (200, body)}
    with answering(routes) as url:
        found = mint("front-desk", "--server", url, "--api-key", "k")
    assert found.code == 3
    assert found.out == ""


def test_what_a_server_says_of_itself_cannot_steer_the_terminal(mint: Mint) -> None:
    agents = {"agents": [{"slug": "front-desk"}]}
    said = {"token": "t", "server": "http://x\x1b]0;y\x07", "expires_in": 1}
    with answering({"/api/sdk/agents": (200, agents), "/webrtc/token": (200, said)}) as url:
        found = mint("front-desk", "--server", url, "--api-key", "k")
    assert found.code == 0
    assert "\x1b" not in found.out + found.err


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_on_a_terminal_it_says_what_the_token_opens(server: EmbeddedServer) -> None:
    from tests.end_to_end.terminal import Terminal

    terminal = Terminal("token", "front-desk", "--channel", "chat", cwd=Path())
    assert terminal.end() == 0
    assert "good once, within 60 s; opens /chat/ws" in terminal.text
    assert terminal.text.strip().splitlines()[-1].startswith("cht_")
    piped = Terminal("token", "front-desk", "--quiet", cwd=Path())
    assert piped.end() == 0
    assert len(piped.text.split()) == 1
