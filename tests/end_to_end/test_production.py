"""One file, twice: on the SDK alone as in production, and under `pinecall dev`; nobody can tell."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Start
from tests.end_to_end.program import Program

AGENTS = Path(__file__).parents[2] / "agents"
FILE = AGENTS / "reservations.py"
KEY = "pk_of_this_test_0123456789"
SAID = (
    "A table for four on Friday at eight, please.",
    "Under Ana.",
    "A table for five on Saturday.",
    "Cancel my booking.",
    "Who are you?",
)


@pytest.fixture
def url(start: Start) -> str:
    server = start("server", "--port", "0", "--data", ":memory:", "--json", "--api-key", KEY)
    return str(server.wait("server.ready")["url"])


def alone(start: Start, url: str) -> Program:
    """Run the file on the SDK alone."""
    environ = {"PINECALL_API_KEY": KEY, "PINECALL_URL": url, "PINECALL_LOG": "info"}
    program = start(FILE, command=(sys.executable, "-X", "dev"), env=environ)
    program.hears("agent `reservations` is registered")
    return program


def under_dev(start: Start, url: str) -> Program:
    """Run the file with the terminal around it."""
    dev = start("dev", FILE, "--json", "--server", url, "--api-key", KEY)
    dev.wait("dev.ready")
    return dev


def asked(start: Start, url: str, *words: str | Path) -> Program:
    """Ask about the agent from another terminal."""
    program = start(*words, "--server", url, "--api-key", KEY, "--json")
    assert program.end() == 0, program.talk
    return program


def conversation(start: Start, url: str) -> list[tuple[Any, ...]]:
    """Return what is said, which tools are called and what they give."""
    texts = [word for text in SAID for word in ("-m", text)]
    told = asked(start, url, "chat", "reservations", *texts).records
    keys = ("type", "text", "name", "arguments", "result")
    plain = [tuple(json.dumps(record.get(key)) for key in keys) for record in told]
    return [one for one in plain if any(word in one[0] for word in ("tool", "message", "response"))]


def test_the_same_file_behaves_alike_in_production_and_under_dev(start: Start, url: str) -> None:
    told: list[Any] = []
    for run, code in ((alone, 0), (under_dev, 143)):
        program = run(start, url)
        told.append(conversation(start, url))
        asked(start, url, "agents", "diff", FILE)  # 0: the server has it as the file says
        shown = json.loads("".join(asked(start, url, "agents").out))["agents"]
        assert [one["agent"] for one in shown] == ["reservations"]
        program.signal(signal.SIGTERM)
        assert program.end() == code
        assert not [line for line in program.talk if "Traceback" in line or "rror" in line]
    assert told[0] == told[1]
    text = json.dumps(told[0])
    for word in ("find_table", "book_table", "cancel_booking", "Done, Ana.", "Saturday is full."):
        assert word in text
