from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli import app
from pinecall_cli.audio.wav import WavWriter, read_wav
from pinecall_cli.server.log.journal import Journal
from pinecall_cli.server.log.log_file import FILE
from pinecall_cli.server.log.translate import Entry
from pinecall_cli.settings import data_dir

Run = Callable[..., tuple[int, str, str]]
OLD, NEW, CUT = "chat-0a11ce00-1111", "0a11ceff-2222-3333", "9f9f9f9f-4444"


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run `pinecall logs`; return the exit code, stdout and stderr."""

    def logs(*argv: str | Path) -> tuple[int, str, str]:
        capfdbinary.readouterr()
        code = app.run(["logs", *map(str, argv)])
        out, talk = capfdbinary.readouterr()
        return code, out.decode(), talk.decode()

    return logs


@pytest.fixture
def kept() -> float:
    """Keep three calls in this user's log; return when the newest began."""
    journal = Journal(data_dir() / FILE)
    now = time.time()
    seq = 0

    def add(call: str, agent: str, ago: float, type: str, **data: Any) -> None:
        nonlocal seq
        seq += 1
        journal.append(Entry(seq, now - ago, call, agent, "org_local", type, data))

    caller = {"direction": "inbound", "from": "webrtc", "to": "webrtc", "channel": "webrtc"}
    add(OLD, "shop", 7300, "call.started", **caller)
    add(OLD, "shop", 7290, "call.ended", reason="hangup", duration=10.0)
    add(OLD, "shop", 7290, "call.summary", reason="hangup")
    add(CUT, "shop", 600, "call.started", **caller)
    add(CUT, "shop", 590, "user.message", id="u0", text="Hello?", final=True)
    add(NEW, "desk", 60, "call.started", **{**caller, "direction": "outbound", "to": "+1415"})
    add(NEW, "desk", 59, "turn.start", turn=1, role="user")
    add(NEW, "desk", 57, "user.message", id="u1", text="Where is it?", final=True)
    add(NEW, "desk", 56, "tool.call", id="t1", name="lookup", args={"id": 7})
    add(NEW, "desk", 55, "tool.result", id="t1", name="lookup", result={"is": "near"}, ms=900)
    words = [{"w": "On", "t0": 0.0, "t1": 0.3}, {"w": "its way.", "t0": 0.3, "t1": 0.9}]
    add(NEW, "desk", 54, "bot.speaking", id="b1", text="On its way.", words=words)
    add(NEW, "desk", 54, "turn.end", turn=1, latency={"vad": 300, "e2e": 800})
    add(NEW, "desk", 50, "bot.finished", id="b1")
    add(NEW, "desk", 49, "call.ended", reason="hangup", duration=11.0)
    add(NEW, "desk", 49, "call.summary", reason="hangup", metrics={})
    journal.close()
    return now - 60


def test_without_any_log_there_is_nothing_and_that_is_no_error(run: Run):
    assert run("--json")[:2] == (0, '{"calls": []}\n')
    code, out, talk = run()
    assert (code, out) == (0, "")
    assert "no calls" in talk
    assert not (data_dir() / FILE).exists()


def test_with_no_server_running_the_file_is_read(run: Run, kept: float):
    code, out, talk = run("--json")
    assert code == 0
    assert str(data_dir() / FILE) in talk
    calls = json.loads(out)["calls"]
    assert [call["call_id"] for call in calls] == [NEW, CUT, OLD]
    assert calls[0] == {
        "call_id": NEW,
        "agent": "desk",
        "direction": "outbound",
        "from": "webrtc",
        "to": "+1415",
        "started_at": calls[0]["started_at"],
        "duration_s": 11.0,
        "reason": "hangup",
        "live": False,
    }
    assert calls[0]["started_at"].endswith("Z")
    assert (calls[1]["reason"], calls[1]["duration_s"], calls[1]["live"]) == (None, None, False)


def test_piped_the_list_is_a_line_a_call_with_its_whole_id(run: Run, kept: float):
    header, *rows = run("-q")[1].splitlines()
    assert header.split("\t") == ["call", "agent", "with", "started", "length", "ended"]
    cells = [row.split("\t") for row in rows]
    assert [row[0] for row in cells] == [NEW, CUT, OLD]
    assert [row[2] for row in cells] == ["to +1415", "from webrtc", "from webrtc"]
    assert [row[5] for row in cells] == ["hangup", "cut off", "hangup"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--agent", "shop"], [CUT, OLD]),
        (["--agent", "Shop"], [CUT, OLD]),
        (["--since", "30m"], [NEW, CUT]),
        (["--since", "1d"], [NEW, CUT, OLD]),
        (["--since", "0.5m"], []),
        (["--limit", "1"], [NEW]),
        (["--limit", "1", "--agent", "shop"], [CUT]),
    ],
)
def test_the_list_can_be_narrowed(run: Run, kept: float, options: list[str], expected: list[str]):
    calls = json.loads(run(*options, "--json")[1])["calls"]
    assert [call["call_id"] for call in calls] == expected


def test_a_call_is_read_by_the_beginning_of_its_id(run: Run, kept: float):
    code, out, _ = run("0a11cef")
    assert code == 0
    assert [line.partition(" ")[2].strip() for line in out.splitlines()] == [
        "☎ outgoing call — +1415 · webrtc",
        "caller › Where is it?",
        "⚡ lookup(id=7)",
        '✓ lookup {"is": "near"} · 1000 ms',
        "desk › On its way.",
        "↳ heard 300 = 800 ms",
        "☎ call ended — hangup (11.0 s)",
    ]
    assert run(NEW, "-q")[:2] == (0, out)
    assert run("0a11ce00")[0] == 0  # also without its kind in front
    code, out, talk = run("9f")
    assert out.splitlines()[-1].endswith("caller › Hello?")
    assert "breaks off here" in talk


def test_json_prints_the_entries_as_they_are_stored_but_for_their_time(run: Run, kept: float):
    code, out, talk = run(NEW, "--json", "-q")
    entries = [json.loads(line) for line in out.splitlines()]
    assert (code, talk) == (0, "")
    assert [entry["seq"] for entry in entries] == list(range(6, 16))
    assert set(entries[0]) == {"seq", "ts", "call", "agent", "type", "data"}
    assert entries[3] == {
        "seq": 9,
        "ts": entries[3]["ts"],
        "call": NEW,
        "agent": "desk",
        "type": "tool.call",
        "data": {"id": "t1", "name": "lookup", "args": {"id": 7}},
    }
    assert entries[3]["ts"].endswith("Z")


def test_entries_are_filtered_by_type_and_text(run: Run, kept: float):
    def types(*options: str) -> list[str]:
        lines = run(NEW, "--json", "-q", *options)[1].splitlines()
        return [json.loads(line)["type"] for line in lines]

    assert types("--event", "tool.*") == ["tool.call", "tool.result"]
    assert types("--event", "tool.*", "--event", "turn.end")[-1] == "turn.end"
    assert types("--grep", "way|near") == ["tool.result", "bot.speaking"]
    assert types("--event", "tool.*", "--grep", "near") == ["tool.result"]
    assert types("--event", "nothing") == []
    lines = run(NEW, "-q", "--grep", "way|near")[1].splitlines()
    assert len(lines) == 2
    (line,) = run(NEW, "-q", "--event", "tool.call")[1].splitlines()
    assert line == 't+4.0s tool.call {"id": "t1", "name": "lookup", "args": {"id": 7}}'


# --- exports ---


def test_a_call_is_exported_as_text_and_captions(run: Run, kept: float, tmp_path: Path):
    plain = run(NEW, "-q")[1]
    assert run(NEW, "-q", "--export", "txt")[1] == plain
    code, srt, _ = run(NEW, "--export", "srt")
    assert code == 0
    assert srt == (
        "1\n00:00:01,000 --> 00:00:02,700\nCaller: Where is it?\n\n"
        "2\n00:00:06,000 --> 00:00:06,900\nAgent: On its way.\n"
    )
    file = tmp_path / "call.vtt"
    code, out, talk = run(NEW, "--export", "vtt", "-o", file)
    assert (code, out) == (0, "")
    assert f"wrote {file}" in talk
    assert file.read_text().startswith("WEBVTT\n\n00:00:01.000 --> 00:00:02.700\n<v Caller>Where")
    document = json.loads(run(NEW, "--export", "json")[1])
    assert (document["call_id"], document["duration_s"]) == (NEW, 11.0)
    assert document["entries"][0]["type"] == "call.started"


def test_a_recording_is_exported_if_there_is_one(run: Run, kept: float, tmp_path: Path):
    wanted = tmp_path / "call.wav"
    code, _, talk = run(NEW, "--export", "wav", "-o", wanted)
    assert code == 1
    assert "has no recording" in talk
    assert "--record" in talk
    assert not wanted.exists()
    folder = data_dir() / "recordings"
    folder.mkdir()
    with WavWriter(folder / f"{NEW}.wav", 16_000, channels=1) as recording:
        recording.write(b"\1\0" * 320)
    assert run(NEW, "--export", "wav", "-o", wanted)[0] == 0
    assert read_wav(wanted) == (b"\1\0" * 320, 16_000)
    assert list(tmp_path.iterdir()) == [wanted]


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_the_old_one(
    run: Run, kept: float, tmp_path: Path
):
    code, _, talk = run(NEW, "--export", "txt", "-o", tmp_path / "no" / "file.txt")
    assert code == 2
    assert "cannot write" in talk
    if os.path.exists("/dev/full"):
        assert run(NEW, "--export", "txt", "-o", "/dev/full/x")[0] == 2
    assert run(NEW, "--export", "txt", "-o", tmp_path)[0] in (2, 3)  # a folder


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("name", "code", "error", "fix"),
    [
        (NEW[:-1] + "4", 1, "call_not_found", f"did you mean `{NEW}`?"),
        ("zzzzzz", 1, "call_not_found", NEW),
        ("0a11ce", 2, "ambiguous_call", OLD),
    ],
)
def test_a_call_that_is_not_there_is_answered_with_the_closest(
    run: Run, kept: float, name: str, code: int, error: str, fix: str
):
    found, out, talk = run(name, "--json")
    assert found == code
    body = json.loads(out)["error"]
    assert body["code"] == error
    assert fix in body["hint"]
    assert name in body["message"]
    assert f"fix: {body['hint']}" in talk


def test_an_agent_that_nobody_has_heard_of_is_answered_with_the_closest(run: Run, kept: float):
    code, out, talk = run("--agent", "desc", "--json")
    assert code == 1
    assert json.loads(out)["error"]["hint"] == "did you mean `desk`? known: `desk`, `shop`"
    assert "error: no agent `desc`" in talk


def test_where_there_are_no_calls_at_all_no_agent_is_unknown(run: Run):
    assert run("--agent", "desk", "--json")[:2] == (0, '{"calls": []}\n')


@pytest.mark.parametrize(
    "argv",
    [
        ["--since", "yesterday"],
        ["--since", "-5m"],
        [NEW, "--grep", "("],
        ["--event", "tool.*"],
        ["--grep", "x"],
        ["--export", "txt"],
        ["-o", "file.txt"],
        [NEW, "--export", "mp3"],
        [NEW, "--export", "txt", "-f"],
        [NEW, "--export", "txt", "--grep", "x"],
        ["--limit", "0"],
    ],
)
def test_what_makes_no_sense_is_wrong_usage(run: Run, kept: float, argv: list[str]):
    code, out, talk = run(*argv, "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "usage"
    assert talk.startswith("error: ")


def test_a_server_that_is_named_has_to_be_there(run: Run, kept: float):
    named = ("--server", "http://127.0.0.1:9", "--api-key", "pk", "--json")
    for argv in ([], [NEW], ["-f"]):
        code, out, _ = run(*argv, *named)
        assert code == 3
        body = json.loads(out)
        assert body["error"]["code"] == "server_unreachable"
        assert body.get("type") == ("error" if argv == ["-f"] else None)


def test_a_log_that_is_none_is_an_error(run: Run):
    data_dir().mkdir(parents=True)
    (data_dir() / FILE).write_text("nonsense" * 100)
    code, _, talk = run()
    assert code == 3
    assert "call log" in talk


def test_a_pipe_that_closes_is_no_error(run: Run, kept: float):
    reading, writing = os.pipe()
    os.close(reading)
    before = os.dup(1)
    os.dup2(writing, 1)
    try:
        code = app.run(["logs", NEW, "--json", "-q"])
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(writing)
    assert code == 0
