"""WhatsApp's signatures, by the SDK exactly as by the server's webhook."""

from __future__ import annotations

import hashlib
import hmac
from types import SimpleNamespace
from typing import Any

import pytest

from pinecall_cli import verify_whatsapp_signature
from pinecall_cli.errors import UsageError
from pinecall_cli.server.routes.whatsapp import signed

SECRET, BODY = "s3cret", b'{"object":"whatsapp_business_account"}'
GOOD = "sha256=" + hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()


def test_what_meta_signed_is_metas() -> None:
    assert verify_whatsapp_signature(BODY, GOOD, SECRET)


@pytest.mark.parametrize(
    "header",
    [
        "",
        GOOD[:-1],
        GOOD + "0",
        GOOD.upper(),
        "sha256=" + GOOD.removeprefix("sha256=").upper(),
        GOOD.removeprefix("sha256="),
        GOOD.replace("sha256", "sha1"),
        " " + GOOD,
        "sha256=é\udce9",
    ],
)
def test_anything_else_is_not_and_the_server_agrees(header: str) -> None:
    channel: Any = SimpleNamespace(app_secret=SECRET)
    assert not verify_whatsapp_signature(BODY, header, SECRET)
    assert not signed(channel, BODY, header)
    assert signed(channel, BODY, GOOD)


def test_another_body_or_secret_or_none_at_all_is_refused() -> None:
    assert not verify_whatsapp_signature(BODY + b" ", GOOD, SECRET)
    assert not verify_whatsapp_signature(BODY, GOOD, SECRET + "x")
    assert not verify_whatsapp_signature(BODY, None, SECRET)


def test_an_empty_secret_is_an_error_and_no_answer() -> None:
    empty = "sha256=" + hmac.new(b"", BODY, hashlib.sha256).hexdigest()
    with pytest.raises(UsageError, match="the app secret is empty"):
        verify_whatsapp_signature(BODY, empty, "")
