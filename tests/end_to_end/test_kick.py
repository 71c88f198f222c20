"""An agent is taken from its holder: who is asked, what ends, and that nobody takes it back."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Open, Start
from tests.end_to_end.program import Program, agent_file

CTRL_C = "\x03"
TWO = """\
{name: desk, llm: script}
---
{name: sales, llm: script}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    return agent_file(tmp_path / "one", "{name: desk, llm: script, prompt: Hello.}")


def running(start: Start, *words: str | Path) -> Program:
    dev = start("dev", *words, "--json")
    dev.wait("dev.ready")
    return dev


def connected(start: Start) -> list[str]:
    listing = start("agents", "--json")
    assert listing.end() == 0
    return [one["agent"] for one in json.loads("".join(listing.out))["agents"]]


# --- who is asked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code"), [("y\r", 0), ("yes\r", 0), ("n\r", 1), ("\r", 1), (CTRL_C, 130)]
)
def test_on_a_terminal_it_asks_first(
    start: Start, open_terminal: Open, desk: Path, answer: str, code: int
) -> None:
    dev = running(start, desk)
    kick = open_terminal("agents", "kick", "desk")
    kick.shows("no live calls")
    kick.shows("Disconnect it? [y/N]")
    kick.type(answer)
    assert kick.end() == code, kick.text
    assert kick.after == kick.before
    assert "Traceback" not in kick.text
    if code == 0:
        assert "desk is disconnected from http://127.0.0.1:" in kick.text
        assert dev.end() == 6
    else:
        assert connected(start) == ["desk"]
        assert dev.stop() == 143


def test_off_a_terminal_it_wants_yes(start: Start, desk: Path) -> None:
    dev = running(start, desk)
    kick = start("agents", "kick", "desk", "--json")
    assert kick.end() == 2
    assert json.loads("".join(kick.out))["error"]["code"] == "confirmation_needed"
    assert kick.hears("--yes")
    assert connected(start) == ["desk"]
    assert dev.stop() == 143


# --- what ends ----------------------------------------------------------------------------------


def test_live_calls_end_and_the_holder_ends_without_taking_the_name_back(
    start: Start, desk: Path
) -> None:
    dev = running(start, desk)
    dev.ready()
    call = start("call", "desk", "--caller", "-", "--json", stdin="steps: [{silence: 30m}]")
    live = call.wait("call.started")["call_id"]
    dev.wait("call.started")
    kick = start("agents", "kick", "Desk", "--yes", "--json")
    assert kick.end() == 0, kick.talk
    done = json.loads("".join(kick.out))
    assert (done["agent"], done["calls"]) == ("desk", [live])
    assert call.end() == 0, call.talk
    assert call.of("call.ended")[0]["reason"] == "hangup"
    assert dev.wait("agent.displaced")["reason"] == "Kicked via API"
    assert dev.wait("call.ended")["call_id"] == live
    assert dev.end() == 6
    error, stopped = dev.records[-2:]
    assert (error["type"], error["error"]["code"]) == ("error", "displaced")
    assert (stopped["type"], stopped["reason"]) == ("dev.stopped", "displaced")
    assert dev.of("dev.reconnecting") == []
    assert dev.hears("error: all agents were taken off the server")
    # The name is free: somebody else may have it at once.
    assert running(start, desk).stop() == 143


def test_in_lines_the_holder_says_it_once(start: Start, desk: Path) -> None:
    dev = start("dev", desk, "--plain")
    dev.shows("ready")
    assert start("agents", "kick", "desk", "--yes").end() == 0
    assert dev.end() == 6
    assert "desk was taken off the server: Kicked via API" in "".join(dev.out)
    assert "connection lost" not in "".join(dev.out)
    assert len([line for line in dev.talk if line.startswith("error: ")]) == 1


def test_a_holder_of_several_goes_on_with_the_others_and_a_save_claims_nothing(
    start: Start, tmp_path: Path
) -> None:
    file = agent_file(tmp_path / "two", TWO)
    dev = running(start, file)
    assert start("agents", "kick", "desk", "--yes").end() == 0
    dev.wait("agent.displaced")
    assert connected(start) == ["sales"]
    file.write_text(TWO.replace("script}", "script, prompt: New.}"), encoding="utf-8")
    taken = dev.wait("dev.reloaded", where=lambda r: r["agent"] == "desk")
    assert "taken off the server" in taken["notes"][0]
    assert "notes" not in dev.wait("dev.reloaded", where=lambda r: r["agent"] == "sales")
    assert connected(start) == ["sales"]
    assert dev.stop() == 143
    assert dev.of("error") == []


# --- in the live view -----------------------------------------------------------------------------


def test_in_the_live_view_it_waits_and_r_registers_it_again(
    start: Start, open_terminal: Open, desk: Path
) -> None:
    dev = open_terminal("dev", desk)
    dev.shows("speech engines ready")
    for times in (1, 2):
        assert start("agents", "kick", "desk", "--yes").end() == 0
        dev.shows("`r` registers them again, `q` quits")
        assert connected(start) == []
        dev.type("r")
        dev.shows_times("desk is registered again", times)
        assert connected(start) == ["desk"]
    assert "connection lost" not in dev.text
    dev.type("q")
    assert dev.end() == 0
    assert dev.after == dev.before


def test_what_somebody_else_has_taken_meanwhile_is_not_taken_back(
    start: Start, open_terminal: Open, desk: Path
) -> None:
    server = start("server", "--json", "--api-key", "k")
    there = ("--server", server.wait("server.ready")["url"], "--api-key", "k")
    dev = open_terminal("dev", desk, *there)
    dev.shows("q quit")
    assert start("agents", "kick", "desk", "--yes", *there).end() == 0
    dev.shows("`r` registers them again")
    other = running(start, desk, *there)
    dev.type("r")
    dev.shows("is held by another live process")
    dev.signal(signal.SIGTERM)
    assert dev.end() == 143
    assert other.of("agent.displaced", "error") == []
    assert other.stop() == 143
