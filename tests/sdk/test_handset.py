"""A terminal that waits for calls at servers that are not ours; `test_dials.py` has ours."""

from __future__ import annotations

import asyncio
import json

import pytest

from pinecall_cli.errors import (
    CallFailedError,
    InfrastructureError,
    NotAuthorisedError,
    ServerUnreachableError,
)
from pinecall_cli.protocol import events
from pinecall_cli.sdk import handset
from pinecall_cli.sdk.handset import Handset
from pinecall_cli.settings import Secret
from tests.sdk.listening import PATIENCE_S
from tests.sdk.talking_server import saying

NUMBER = "+14155550123"
READY = json.dumps({"event": "answer.ready", "number": NUMBER})
RINGING = {"event": "call.ringing", "call_id": "c1", "from": "+14155550100", "to": NUMBER}


async def wait(url: str) -> Handset:
    async with asyncio.timeout(PATIENCE_S):
        return await Handset.wait(url, Secret("pk_one"), NUMBER)


async def test_a_server_that_never_lets_it_ring_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handset, "READY_WITHIN_S", 0.05)
    async with saying('{"event": "pong"}') as url:
        with pytest.raises(InfrastructureError, match="does not let this terminal ring"):
            await wait(url)


@pytest.mark.parametrize("code", [1008, 4401])
async def test_a_server_that_sends_it_away_says_why(code: int) -> None:
    async with saying(close=(code, "not for this key")) as url:
        with pytest.raises(NotAuthorisedError, match="not for this key"):
            await wait(url)


@pytest.mark.parametrize(
    ("frame", "kind", "code"),
    [
        ({"code": "ENGINE_UNAVAILABLE", "error": "no ears"}, InfrastructureError, "engine"),
        ({"code": "NO_EXCHANGE", "error": "no lines"}, CallFailedError, "no_exchange"),
        ({"code": 7, "error": ["odd"]}, CallFailedError, "7"),
    ],
)
async def test_a_refusal_has_the_servers_words(
    frame: dict[str, object], kind: type[Exception], code: str
) -> None:
    async with saying(json.dumps({"event": "error", "fix": "try later", **frame})) as url:
        with pytest.raises(kind) as caught:
            await wait(url)
    problem = caught.value
    assert isinstance(problem, CallFailedError | InfrastructureError)
    assert (problem.code, problem.fix) == (code, "try later")


async def test_it_rings_through_noise_until_the_connection_is_lost() -> None:
    noise = [b"\x00" * 160, '{"event": "weather.changed"}', "<html>"]
    async with saying(READY, *noise, json.dumps(RINGING), drop=True) as url:
        async with await wait(url) as phone, asyncio.timeout(PATIENCE_S):
            ringing = await phone.next()
            assert isinstance(ringing, events.CallRinging)
            assert ringing.call_id == "c1"
            with pytest.raises(ServerUnreachableError, match="lost while waiting"):
                await phone.next()
            for answer in (phone.accept, phone.reject):
                with pytest.raises(ServerUnreachableError, match="lost while waiting"):
                    await answer()
