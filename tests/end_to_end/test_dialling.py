"""A terminal that dials: it rings when nobody else answers, and is left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.conftest import Open, Start
from tests.end_to_end.program import agent_file
from tests.end_to_end.stub_server import StubServer

CTRL_C = "\x03"
NOBODYS = "+14155550123"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    return agent_file(
        tmp_path,
        "{name: desk, local: {llm: script, script: [{say: Hello.}]}}",
    )


@pytest.mark.parametrize(("key", "code", "said"), [("r", 1, "rejected"), (CTRL_C, 130, "canceled")])
def test_this_terminal_rings_and_says_no(
    open_terminal: Open, desk: Path, key: str, code: int, said: str
) -> None:
    terminal = open_terminal("call", NOBODYS, "--agent", desk)
    terminal.shows("enter answer")
    assert terminal.raw
    terminal.type(key)
    assert terminal.end() == code
    assert said in terminal.text
    assert terminal.after == terminal.before
    assert terminal.cursor_shown


def test_d_dials_what_is_typed(open_terminal: Open, desk: Path) -> None:
    terminal = open_terminal("dev", desk)
    terminal.shows("ready · waiting for a call")
    terminal.type("d911\r")
    terminal.shows("`911` is an emergency number")
    terminal.type("d+1 500 555 0001\r")
    terminal.shows("call ended — busy")
    terminal.type(f"d{NOBODYS}\r")
    terminal.shows("enter answer")
    terminal.type("r")
    terminal.shows("call ended — rejected")
    terminal.type("q")
    assert terminal.end() == 0
    assert terminal.after == terminal.before


# --- the hosted server ------------------------------------------------------------------------

ID = {"call_id": "CA1"}
PARTIES = {"from": "+13186330963", "to": NOBODYS, "direction": "outbound"}
DIALING = {"event": "call.dialing", **ID, **PARTIES}
STARTED = {"event": "call.started", **ID, **PARTIES}
ENDED = {"event": "call.ended", **ID, **PARTIES, "reason": "hangup", "duration": 2.0}
BUSY = {"event": "call.ended", **ID, **PARTIES, "reason": "busy", "duration": 0}


def hosted(server: StubServer) -> tuple[str, ...]:
    """Return the options that lead to a server which is not taken for a local one."""
    url = server.url.replace("127.0.0.1", "127.1")  # the same machine, in a spelling of its own
    return ("--agent", "desk.yaml", "--server", url, "--api-key", "pk_test")


@pytest.fixture
def phoned(tmp_path: Path) -> Path:
    """An agent with a number, for a server that has the models."""
    text = f"{{name: desk, llm: openai/x, phone_numbers: ['{PARTIES['from']}']}}"
    return agent_file(tmp_path, text, name="desk.yaml")


@pytest.mark.usefixtures("phoned")
@pytest.mark.parametrize(("answer", "code", "dialled"), [("n", 1, 0), ("", 1, 0), ("y", 0, 1)])
def test_before_a_real_telephone_rings_it_is_asked_and_shown_what_would_happen(
    open_terminal: Open, answer: str, code: int, dialled: int
) -> None:
    with StubServer(answers={"call.dial": [DIALING, STARTED, ENDED]}) as server:
        terminal = open_terminal("call", NOBODYS, *hosted(server))
        text = terminal.shows("Call? [y/N]")
        assert "+1 415-555-0123" in text
        assert "from   +1 318-633-0963" in text
        assert "-desk (desk.yaml)" in text  # under a developer's own name
        assert "a real telephone rings" in text
        terminal.type(f"{answer}\r")
        assert terminal.end() == code
    assert [frame["event"] for frame in server.heard].count("call.dial") == dialled
    assert ("call ended — hangup" in terminal.text) == bool(dialled)
    assert terminal.after == terminal.before


@pytest.mark.usefixtures("phoned")
@pytest.mark.parametrize(
    ("answers", "code", "reason"),
    [((DIALING, STARTED, ENDED), 0, "hangup"), ((DIALING, BUSY), 1, "busy")],
)
def test_with_yes_it_is_dialled_off_a_terminal_too(
    start: Start, answers: tuple[dict[str, object], ...], code: int, reason: str
) -> None:
    with StubServer(answers={"call.dial": list(answers)}) as server:
        call = start(
            *("call", NOBODYS, *hosted(server), "--yes", "--json", "--greeting", "Hello."),
            *("--metadata", "order=7", "--wait-greeting", "--max-duration", "60"),
        )
        assert call.end() == code, call.talk
    assert call.records[-1]["type"] == "call.summary"
    assert call.records[-1]["reason"] == reason
    (dial,) = [frame for frame in server.heard if frame["event"] == "call.dial"]
    assert dial.pop("agent_id").endswith("-desk")
    assert dial == {
        "event": "call.dial",
        "to": NOBODYS,
        "from": PARTIES["from"],
        "greeting": "Hello.",
        "metadata": {"order": "7"},
        "config": {"session_limits": {"max_duration_seconds": 60}},
        "detect_turn_end": True,
    }


@pytest.mark.usefixtures("phoned")
def test_off_a_terminal_and_without_yes_nothing_is_even_connected(start: Start) -> None:
    with StubServer() as server:
        call = start("call", NOBODYS, *hosted(server), "--json")
        assert call.end() == 2
    assert server.heard == []
    assert call.records[-1]["error"]["code"] == "confirmation_needed"


@pytest.mark.usefixtures("phoned")
def test_a_server_that_does_not_keep_to_the_longest_time_is_hung_up_on(start: Start) -> None:
    with StubServer(
        answers={"call.dial": [DIALING, STARTED], "call.hangup": [ENDED]},
    ) as server:
        call = start("call", NOBODYS, *hosted(server), "--yes", "--json", "--max-duration", "1")
        assert call.end() == 0, call.talk
    assert server.heard[-1] == {"event": "call.hangup", "call_id": "CA1"}
    assert call.records[-1]["reason"] == "hangup"


@pytest.mark.usefixtures("phoned")
@pytest.mark.parametrize(
    ("error", "code"),
    [({"code": "NUMBER_NOT_OWNED"}, 2), ({"code": "NOT_SUPPORTED"}, 3), ({}, 1)],
)
def test_a_dial_that_is_refused_is_told_with_the_servers_reason(
    start: Start, error: dict[str, str], code: int
) -> None:
    refused = {"event": "call.error", "error": "not on a Sunday", **error}
    with StubServer(answers={"call.dial": [refused]}) as server:
        call = start("call", NOBODYS, *hosted(server), "--yes", "--json")
        assert call.end() == code
    assert call.records[-1]["error"]["message"] == "not on a Sunday"
