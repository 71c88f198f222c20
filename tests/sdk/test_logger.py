"""The log of an agent's program: one logger, no keys in it, a level from the environment."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.settings.logger import Stderr, keep_out, logger, redacted, set_up
from tests.sdk.listening import Log
from tests.sdk.test_foreign_server import foreign


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


def program_with(monkeypatch: pytest.MonkeyPatch, *handlers: logging.Handler) -> io.StringIO:
    """Be a program that has set up these handlers for everything; return its standard error."""
    monkeypatch.setattr(logging.getLogger(), "handlers", list(handlers))
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    return stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the key pk_live_4f3a-9 is refused", "the key *** is refused"),
        ("?token=wrtc_Zm9vYmFyYmF6cXV4eA", "?token=***"),
        ("cht_0123456789abcdef, str_0123456789abcdef", "***, ***"),
        ("Authorization: Bearer eyJhbGciOi.x-y", "Authorization: Bearer ***"),
        ("Wrong API key: sk-proj-0123456789abcdef.", "Wrong API key: ***."),
        ("call wrt_1 of front-desk", "call wrt_1 of front-desk"),
        ("a task-force of sk-8 people", "a task-force of sk-8 people"),
    ],
)
def test_keys_and_tokens_are_taken_out_by_their_shape(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_a_key_of_any_shape_is_taken_out_once_it_was_used() -> None:
    keep_out("correct horse battery")
    keep_out("short")
    assert redacted("my correct horse battery, in short") == "my ***, in short"


def test_what_is_logged_has_no_key_in_it_nor_has_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger.error("%s and %d", "pk_local_0123456789", 7)
    try:
        raise ValueError("pk_local_0123456789")
    except ValueError:
        logger.exception("no secret here")
        logging.getLogger("pinecall.server").exception("nor there")
    assert caplog.messages == ["*** and 7", "no secret here", "nor there"]
    assert caplog.text.count("ValueError: ***") == 2
    assert "pk_local" not in caplog.text


def test_a_traceback_without_secrets_stays_an_exception(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("harmless")
    except ValueError:
        logger.exception("told")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "ValueError: harmless" in caplog.text


@pytest.mark.parametrize("word", ["debug", "INFO", " Warning "])
def test_the_variable_sets_the_level(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = program_with(monkeypatch)
    set_up({"PINECALL_LOG": word})
    set_up({"PINECALL_LOG": word})
    assert logging.getLevelName(logger.level) == word.strip().upper()
    assert sum(isinstance(handler, Stderr) for handler in logger.handlers) == 1
    logger.warning("key: %s", "pk_local_0123456789")
    (line,) = stderr.getvalue().splitlines()
    assert line.endswith("WARNING pinecall: key: ***")


def test_a_program_with_handlers_of_its_own_hears_it_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = io.StringIO()
    stderr = program_with(monkeypatch, logging.StreamHandler(own))
    set_up({"PINECALL_LOG": "info"})
    logger.info("once")
    assert (own.getvalue(), stderr.getvalue()) == ("once\n", "")


def test_a_word_that_is_no_level_is_said_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = logger.level
    set_up({"PINECALL_LOG": "loud"})
    set_up({})
    assert caplog.messages == ["`loud` is no level: PINECALL_LOG is debug, info, warning, error"]
    assert logger.level == before


async def test_a_connection_is_followed_in_the_log_and_no_frame_is_quoted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PINECALL_LOG", "debug")
    async with foreign(whatsapp={"phone_number_id": "1", "access_token": "EAAGsecret"}) as (
        peer,
        client,
    ):
        lost = Log()
        client.on("disconnected", lost)
        await peer.say("agent.created", agent_id="front-desk")
        await peer.hear("channel.add")
        await peer.socket.close()
        await lost.until()
    told = [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "pinecall"]
    url = client.api_url
    assert ("INFO", f"connected to {url}") in told
    assert ("INFO", "the connection was lost: connection_lost") in told
    assert ("DEBUG", "← agent.created") in told
    assert any(text.startswith("→ channel.add, ") for _, text in told)
    assert "EAAGsecret" not in caplog.text
    assert "pk_1" not in caplog.text.replace(repr(client), "")


def test_a_handle_of_an_imported_file_sets_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from pinecall_cli.agent.define import collecting

    monkeypatch.setenv("PINECALL_LOG", "debug")
    before = logger.level
    with collecting():
        Pinecall()
    assert logger.level == before
    Pinecall()
    assert logger.level == logging.DEBUG
