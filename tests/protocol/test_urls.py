"""Addresses out of a base URL."""

from __future__ import annotations

import pytest

from pinecall_cli.protocol import urls
from pinecall_cli.protocol.config import ConfigRefused


@pytest.mark.parametrize("scheme", ["ws", "http"])
@pytest.mark.parametrize("tail", ["", "/", "///"])
def test_any_scheme_and_any_trailing_slash_will_do(scheme: str, tail: str):
    base = f"{scheme}s://voice.pinecall.io{tail}"
    assert urls.http_base(base) == "https://voice.pinecall.io"
    assert urls.ws_base(base) == "wss://voice.pinecall.io"
    assert urls.client_url(base) == "wss://voice.pinecall.io/client"


def test_a_port_and_a_path_stay():
    assert urls.client_url(" http://127.0.0.1:4747/voice/ ") == "ws://127.0.0.1:4747/voice/client"
    assert urls.absolute("ws://[::1]:4747/voice", "/v1/attach") == "http://[::1]:4747/v1/attach"


def test_tokens_travel_as_queries():
    assert urls.mic_url("http://h", "wrtc_a-b") == "ws://h/mic/ws?token=wrtc_a-b"
    assert urls.chat_url("https://h", "a b&c") == "wss://h/chat/ws?token=a+b%26c"


@pytest.mark.parametrize(
    "url",
    ["", "voice.pinecall.io", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://[:"],
)
def test_what_is_no_server_address_is_refused(url: str):
    with pytest.raises(ConfigRefused, match="no server address"):
        urls.ws_base(url)
