"""People and programs call, and are understood; what the agent says is what is heard of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.audio.resample import resample
from pinecall_cli.audio.wav import read_wav
from pinecall_cli.engines.moonshine import Moonshine
from tests.audio_clips.wer import Clip, clips, errors, word_error_rate
from tests.end_to_end.conftest import Start
from tests.end_to_end.program import Record, agent_file, spoken, understood

AT_ONCE = 5
"""Calls side by side: two cores carry them in real time with room to spare."""
CALLERS = sorted(clips(), key=lambda clip: clip.path.stat().st_size)[:23]
"""The shortest recordings, for a call takes as long as what is said in it."""
FRONT_DESK = Path(__file__).parents[2] / "agents" / "front_desk.yaml"


@dataclass(frozen=True)
class Answered:
    """A call that has been made."""

    clip: Clip
    code: int
    records: list[Record]
    reply: Path

    @property
    def said(self) -> str:
        """What the agent was heard to say, word by word."""
        return " ".join(spoken(self.records).values())


@pytest.fixture(scope="module")
def recogniser() -> Moonshine:
    return Moonshine()


def test_twenty_recordings_are_understood_and_what_is_answered_can_be_understood(
    start: Start, tmp_path: Path, recogniser: Moonshine
) -> None:
    echo = agent_file(
        tmp_path,
        "{name: echo, llm: script, greeting: Hello., local: {llm: script, script: s.script.yaml}}",
        s__script__yaml='- say: "You said: {text}"\n',
    )
    dev = start("dev", echo, "--json")
    dev.ready()

    def call(clip: Clip) -> Answered:
        reply = tmp_path / f"{clip.path.stem}.reply.wav"
        program = start(
            *("call", "echo", "--input", clip.path, "--output", reply, "--stay", "0.2", "--json")
        )
        return Answered(clip, program.end(), program.records, reply)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answered = list(pool.map(call, CALLERS))

    assert len(answered) >= 20
    assert sum(one.clip.people for one in answered) >= 10
    assert [one.code for one in answered] == [0] * len(answered)

    pairs = [(one.clip.text, understood(one.records)) for one in answered]
    worst = sorted(pairs, key=lambda pair: -errors(*pair)[0])[:3]
    assert word_error_rate(pairs) <= 0.15, worst

    for one in answered:
        ended = one.records[-1]
        assert ended["type"] == "call.summary"
        assert ended["reason"] == "hangup"
        assert ended["turns"] >= 1
        assert 0 < ended["latency_ms"]["p50"] <= ended["latency_ms"]["p95"]
        confirmed = {
            r["message_id"]: r["text"] for r in one.records if r["type"] == "message.confirmed"
        }
        said = spoken(one.records)
        assert confirmed
        assert all(said[message] == text for message, text in confirmed.items())

    heard = [(one.said, heard_in(recogniser, one.reply)) for one in answered]
    worst = sorted(heard, key=lambda pair: -errors(*pair)[0])[:3]
    assert word_error_rate(heard) <= 0.15, worst


def test_the_front_desk_answers_a_question_that_was_recorded(
    start: Start, tmp_path: Path, recogniser: Moonshine
) -> None:
    dev = start("dev", FRONT_DESK, "--json")
    dev.ready()
    question = next(clip for clip in clips() if clip.text.startswith("What time do you close"))
    reply = tmp_path / "reply.wav"
    call = start("call", "front-desk", "--input", question.path, "--output", reply, "--json")
    assert call.end() == 0
    assert call.hears("calling front-desk on http://127.0.0.1:")
    assert word_error_rate([(question.text, understood(call.records))]) <= 0.15
    said = spoken(call.records)
    assert list(said.values())[-1] == "On Saturday we are open from ten to four."
    assert len(call.of("llm.tool_call")) == 1
    assert word_error_rate([(" ".join(said.values()), heard_in(recogniser, reply))]) <= 0.15
    assert call.records[-1]["latency_ms"]["n"] == 1
    # The terminal with the agent saw the same call.
    call_id = call.records[-1]["call_id"]
    ended = dev.wait("call.ended", where=lambda record: record["call_id"] == call_id)
    assert ended["agent"] == "front-desk"
    assert ended["messages"] == call.of("call.ended")[0]["messages"]


def heard_in(recogniser: Moonshine, path: Path) -> str:
    """Return the words in a file, stretch by stretch between its silences."""
    pcm, rate = read_wav(path)
    assert level_dbfs(pcm) > -50
    pcm = resample(pcm, rate, 16_000)
    return " ".join(recogniser.recognise(pcm[a:b]) for a, b in stretches(pcm))


def stretches(pcm: bytes, quiet_ms: int = 500) -> list[tuple[int, int]]:
    """Return where sound lies between silences of half a second, with some silence around it."""
    step = 20 * 32
    loud = [at for at in range(0, len(pcm), step) if level_dbfs(pcm[at : at + step]) > -50]
    found: list[tuple[int, int]] = []
    for at in loud:
        if found and at - found[-1][1] <= quiet_ms * 32:
            found[-1] = found[-1][0], at + step
        else:
            found.append((at, at + step))
    return [(max(0, a - 3200), b + 3200) for a, b in found]
