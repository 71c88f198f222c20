"""Following calls from a program without an agent: sessions.md §5.4 and §6."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from pinecall_cli import LogEntry, Token, create_event_stream
from pinecall_cli.errors import NotAuthorisedError, NotFoundError, UsageError
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.log import LogStream
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.log.log_file import prune
from pinecall_cli.settings import Secret
from tests.sdk.listening import PATIENCE_S, chat


async def until(stream: Any, wanted: str, count: int = 1) -> list[LogEntry]:
    """Return what a stream tells up to the entry of that type, markers included."""
    seen: list[LogEntry] = []
    async with asyncio.timeout(PATIENCE_S), aclosing(aiter(stream)) as entries:
        async for entry in entries:
            seen.append(entry)
            count -= entry.type == wanted
            if not count:
                return seen
    return seen


def stored(entries: list[LogEntry]) -> list[tuple[int, str]]:
    return [(e.seq, e.type) for e in entries if not e.ephemeral and not e.type.startswith("log.")]


async def desk(client: Pinecall) -> None:
    client.agent("front-desk", llm="script", prompt="x")
    await client.registered()


async def test_a_call_is_followed_from_its_beginning_to_its_end_and_taken_up_at_a_cursor(
    server: EmbeddedServer, client: Pinecall
) -> None:
    await desk(client)
    id = await chat(client, "front-desk", "Hello")
    stream = create_event_stream(call=id, api_key=server.key, api_url=server.url)
    begun = await until(stream, "user.message")
    assert begun[0].type == "call.started"
    assert stream.cursor == begun[-1].seq
    again = create_event_stream(
        call=id, after=stream.cursor, api_key=Secret(server.key), api_url=server.url
    )
    rest = await until(again, "log.caught_up")
    assert stored(rest)[0][0] > begun[-1].seq
    assert rest[-1].type == "log.caught_up"
    whole = create_event_stream(call=id, api_key=server.key, api_url=server.url)
    seen = stored(await until(whole, "log.caught_up"))
    assert seen == stored(begun) + stored(rest)


async def test_a_token_is_enough_and_is_asked_for_again_when_it_is_refused(
    server: EmbeddedServer, client: Pinecall
) -> None:
    await desk(client)
    id = await chat(client, "front-desk", "Hello")
    asked: list[int] = []

    async def token() -> Token:
        asked.append(len(asked))
        if len(asked) == 1:
            return Token(token="strm_expired", server=server.url)
        return await client.create_token("stream", "front-desk", scope="observe")

    stream = create_event_stream(agent="front-desk", after=1, token=token, api_url=server.url)
    seen = await until(stream, "user.message")
    assert {entry.call for entry in seen if entry.call} == {id}
    assert len(asked) == 2
    good = (await client.create_token("stream", "front-desk")).token
    for source in (good, lambda: good, Token(token=good, server=server.url)):
        fixed = create_event_stream(call=id, token=source, api_url=server.url)
        assert (await until(fixed, "user.message"))[0].type == "call.started"


async def test_what_is_lost_in_between_is_said(server: EmbeddedServer, client: Pinecall) -> None:
    await desk(client)
    first = await chat(client, "front-desk", "Hello")
    about: dict[str, Any] = {"api_key": server.key, "api_url": server.url}
    stream = create_event_stream(call=first, **about)
    await until(stream, "call.started")
    calls = client.calls()
    await calls[0].hangup()
    await until(create_event_stream(call=first, **about), "call.summary")
    second = await chat(client, "front-desk", "Again")
    journal = server.server.journal
    await asyncio.wrap_future(journal.ask(lambda db: prune(db, since=0.0, calls=1)))
    resumed = create_event_stream(agent="front-desk", after=stream.cursor, **about)
    gap, *rest = await until(resumed, "user.message")
    assert (gap.type, gap.data["from"]) == ("log.gap", stream.cursor)
    assert gap.data["resume_from"] == rest[0].seq
    assert {entry.call for entry in rest} == {second}


async def test_refusals_are_told_as_what_they_are(server: EmbeddedServer) -> None:
    wrong: list[Any] = ["strm_nothing", lambda: "strm_nothing"]
    for token in wrong:
        with pytest.raises(NotAuthorisedError):
            await until(create_event_stream(call="c", token=token, api_url=server.url), "x")
    with pytest.raises(NotAuthorisedError):
        await until(create_event_stream(call="c", api_key="pk_no", api_url=server.url), "x")
    with pytest.raises(NotFoundError):
        await until(create_event_stream(call="c", api_key=server.key, api_url=server.url), "x")


def test_what_is_to_be_followed_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="name one"):
        create_event_stream(api_key="pk")
    with pytest.raises(NotAuthorisedError, match="neither a token nor an API key"):
        create_event_stream(agent="a")
    monkeypatch.setenv("PINECALL_API_KEY", "pk_env")
    monkeypatch.setenv("PINECALL_URL", "http://127.0.0.1:4747")
    stream = create_event_stream(agent="a", after=7)
    assert stream.cursor == 7
    assert isinstance(stream._log, LogStream)
    assert stream._log._url == "http://127.0.0.1:4747"
    assert "pk_env" not in repr(stream) + repr(vars(stream._log))
