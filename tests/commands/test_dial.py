"""`pinecall call NUMBER` as it is run, against a server with engines that cost nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import wave
from pathlib import Path

import pytest

from pinecall_cli.sdk.client import Pinecall
from tests.commands.office import OURS, PATIENCE_S, THEIRS, desk, office, pinecall, started
from tests.fakes.engines import Engines, utterance

# --- how it ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "reason", "said"),
    [
        ("+15005550001", "busy", "is busy"),
        ("+15005550002", "no-answer", "does not answer"),
        ("+15005550003", "rejected", "rejected the call"),
        ("+15005550004", "failed", "cannot be reached"),
        (THEIRS, "no-answer", "does not answer"),
    ],
)
async def test_a_call_that_nobody_takes_is_exit_1_and_says_why(number: str, reason: str, said: str):
    async with office(desk("desk", OURS)):
        done = await pinecall("call", number, "--agent", "desk", "--yes", "--json")
    assert done.code == 1
    assert done.types == ["call.dialing", "call.ended", "error", "call.summary"]
    assert [done.records[1]["from"], done.records[1]["to"]] == [OURS, number]
    assert done.records[2]["error"]["code"] == reason
    summary = done.records[-1]
    assert (summary["reason"], summary["turns"], summary["latency_ms"]) == (reason, 0, None)
    assert said in done.err


async def test_a_call_that_was_answered_is_exit_0_and_shows_every_frame():
    async with office(desk()):
        done = await pinecall(
            *("call", "+15005550006", "--agent", "desk", "--greeting", "Hi.", "--json"),
            *("--metadata", "order=7", "--metadata", "vip=yes"),
        )
    assert done.code == 0
    assert done.types[:3] == ["call.dialing", "call.started", "bot.speaking"]
    assert done.types[-2:] == ["call.ended", "call.summary"]
    assert "bot.word" in done.types
    started = done.records[1]
    assert started["metadata"] == {"order": "7", "vip": "yes"}
    assert started["agent"] == "desk"
    assert done.records[-1]["reason"] == "hangup"
    assert "+1 500-555-0006 (a test number)" in done.err


async def test_the_only_agent_need_not_be_named_and_plain_lines_tell_the_story():
    async with office(desk()):
        done = await pinecall("call", "+15005550006", "--greeting", "Hi.", "--max-duration", "1")
    assert done.code == 0
    assert "desk › Hi." in done.out
    assert "max_duration" in done.out


async def test_a_call_over_its_time_ends_well():
    async with office(desk()):
        done = await pinecall("call", "+15005550008", "--max-duration", "1", "--json")
    assert done.code == 0
    assert done.records[-1]["reason"] == "max_duration"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("number", "awaited", "reason"),
    [("+15005550008", "call.started", "hangup"), ("+15005550002", "call.dialing", "canceled")],
)
async def test_an_interrupted_call_is_hung_up_and_its_end_waited_for(
    sent: signal.Signals, code: int, number: str, awaited: str, reason: str
):
    async with office(desk()):
        process = await started("call", number, "--ring-timeout", "60", "--json")
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while json.loads(await process.stdout.readline())["type"] != awaited:
                pass
            process.send_signal(sent)
            rest, _ = await process.communicate()
    assert process.returncode == code
    last = [json.loads(line) for line in rest.decode().splitlines()][-2:]
    assert [record["type"] for record in last] == ["call.ended", "call.summary"]
    assert last[-1]["reason"] == reason


# --- who answers here -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"), [("busy", "busy"), ("reject", "rejected"), ("no-answer", "no-answer")]
)
async def test_this_terminal_turns_the_call_away(answer: str, reason: str):
    async with office(desk()):
        done = await pinecall("call", THEIRS, "--answer", answer, "--json")
    assert done.code == 1
    assert done.records[-1]["reason"] == reason


async def test_whoever_calls_says_how_long_it_may_ring():
    async with office(desk()):
        done = await pinecall(
            "call", THEIRS, "--answer", "no-answer", "--ring-timeout", "0.1", "--json"
        )
    began, ended = (done.records[at]["ts"][-7:-1] for at in (0, 1))
    assert done.records[-1]["reason"] == "no-answer"
    assert (float(ended) - float(began)) % 60 < 0.4


async def test_a_recording_answers_and_the_agent_hears_it(tmp_path: Path):
    hello = tmp_path / "hello.wav"
    # 8 kHz, as the call is: resampled, the mark that the recogniser knows would be lost.
    with wave.open(str(hello), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(utterance(0, 900)[: 8000 * 2])
    engines = Engines()

    async def transcribe(pcm: bytes) -> str:
        return "hello"

    engines.recogniser.transcribe = transcribe  # type: ignore[method-assign]
    async with office(desk(), engines=engines):
        done = await pinecall(
            *("call", THEIRS, "--answer", str(hello), "--wait-greeting", "--greeting", "Acme."),
            *("--json", "--record", str(tmp_path / "kept")),
        )
        assert done.code == 0, done.err
        exported = tmp_path / "exported.wav"
        logs = await pinecall(
            *("logs", done.records[0]["call_id"], "--export", "wav", "-o", str(exported))
        )
    assert logs.code == 0, logs.err
    (turn,) = [record for record in done.records if record["type"] == "turn.end"]
    assert (turn["text"], turn["source"]) == ("hello", "bot")
    assert done.types.index("turn.end") < done.types.index("bot.speaking")
    call = done.records[0]["call_id"]
    kept = tmp_path / "kept" / f"{call}.wav"
    assert kept.stat().st_size > 10_000
    assert exported.read_bytes() == kept.read_bytes()
    assert (tmp_path / "kept" / f"{call}.jsonl").exists()


async def test_an_agent_of_ours_answers_its_number():
    async with office(desk("caller"), desk("other", THEIRS, greeting="Other.")):
        done = await pinecall(
            *("call", THEIRS, "--agent", "caller", "--from", OURS, "--json"),
            *("--greeting", "Hello.", "--max-duration", "1"),
        )
    assert done.code == 0
    assert {record["agent"] for record in done.records} == {"caller"}
    assert done.types[1] == "call.started"


# --- what is refused before anything rings ----------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("911",), 2, "emergency"),
        ((THEIRS, "--say", "Hello."), 2, "`--say` does not go with this target"),
        ((THEIRS, "--agent", "nobody"), 1, "no agent `nobody`"),
        ((THEIRS,), 2, "several agents are running: `desk`, `sales`"),
        ((THEIRS, "--agent", "sales"), 2, "has 2 numbers"),
        ((THEIRS, "--agent", "desk", "--from", "+13186330963"), 2, "number of 'sales'"),
        (("desk", "--greeting", "Hi."), 2, "`--greeting` does not go with this target"),
        ((THEIRS, "--agent", "desk", "--record", "kept"), 2, "`--record`"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_exit_code(
    arguments: tuple[str, ...], code: int, said: str
):
    async with office(desk(), desk("sales", OURS, "+13186330964")):
        done = await pinecall("call", *arguments, "--json")
    assert done.code == code, done.err
    assert said in done.err
    (error,) = [record for record in done.records if record["type"] == "error"]
    assert set(error["error"]) >= {"code", "message", "hint"}


async def test_without_any_agent_the_error_says_how_to_get_one():
    done = await pinecall("call", THEIRS, "--yes")
    assert done.code == 1
    assert "pinecall dev FILE" in done.err


async def test_on_a_hosted_server_nothing_is_dialled_without_a_yes(tmp_path: Path):
    agent = tmp_path / "desk.yaml"
    agent.write_text(f"name: desk\nllm: openai/x\nphone_numbers: ['{OURS}']\n", "utf-8")
    hosted = ("--server", "https://127.0.0.1.invalid", "--api-key", "pk")
    done = await pinecall("call", THEIRS, "--agent", str(agent), *hosted)
    assert done.code == 2
    assert "`--yes`" in done.err
    assert "from   +1 318-633-0963" in done.err
    done = await pinecall("call", THEIRS, "--agent", str(agent), "--yes", *hosted)
    assert done.code == 3


async def test_a_file_runs_its_agent_for_this_one_call(tmp_path: Path):
    agent = tmp_path / "desk.yaml"
    agent.write_text("name: desk\nlocal: {llm: script, script: [{say: Hi.}]}\n", "utf-8")
    done = await pinecall("call", "+15005550001", "--agent", str(agent), "--json")
    assert done.code == 1
    assert done.records[-1]["reason"] == "busy"


# --- the numbers file -------------------------------------------------------------------------


async def test_the_servers_numbers_file_is_obeyed_and_a_wrong_one_refused(tmp_path: Path):
    numbers = tmp_path / "numbers.yaml"
    numbers.write_text(f'"{THEIRS}": bussy\n', "utf-8")
    done = await pinecall("server", "--port", "0", "--numbers", str(numbers))
    assert done.code == 2
    assert "did you mean `busy`?" in done.err
    assert "numbers.yaml:1:17" in done.err
    numbers.write_text(f'"{THEIRS}": busy\n', "utf-8")
    server = await started(
        "server", "--port", "0", "--json", "--data", ":memory:", "--numbers", str(numbers)
    )
    try:
        assert server.stdout is not None
        ready = json.loads(await server.stdout.readline())
        async with Pinecall(ready["api_key"], ready["url"]) as client:
            client.add(desk())
            await client.registered()
            done = await pinecall("call", THEIRS, "--json")
    finally:
        server.terminate()
        await server.communicate()
    assert done.records[-1]["reason"] == "busy"
