"""The caller cuts in: the agent falls silent, and what was not heard was not said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.audio.wav import read_wav
from tests.audio_clips.wer import word_error_rate
from tests.end_to_end.conftest import Start
from tests.end_to_end.program import Record, agent_file, spoken

STORY = (
    "Once there was a lighthouse keeper who counted every wave that came in, and nobody knows"
    " what he did with all of the numbers."
)
RULES = f"""\
- on: story
  say: {STORY}
- say: All right.
"""
QUIET_DBFS = -60.0
SILENT_WITHIN_MS = 100
"""Of the cut, as the contract says; the cut itself comes after 300 ms of the caller's voice."""


@dataclass(frozen=True)
class Heard:
    """A call with an interruption, and the sound of the agent in it."""

    records: list[Record]
    sound: bytes
    rate: int

    def of(self, type: str) -> list[Record]:
        return [record for record in self.records if record["type"] == type]

    def at_ms(self, record: Record) -> float:
        """Return where an event stands on the call's clock, as far as wall clocks tell."""
        begun = datetime.fromisoformat(self.of("call.started")[0]["ts"])
        return (datetime.fromisoformat(record["ts"]) - begun).total_seconds() * 1000

    def level(self, start_ms: float, end_ms: float) -> float:
        """Return how loud the agent is between two moments, in dBFS."""
        first, last = (int(at * self.rate / 1000) * 2 for at in (start_ms, end_ms))
        return level_dbfs(self.sound[first:last])

    def history(self) -> list[tuple[str, str]]:
        return [(m["role"], m["content"]) for m in self.of("call.ended")[0]["messages"]]


Call = Callable[..., Heard]


@pytest.fixture
def call(start: Start, tmp_path: Path) -> Call:
    """Return how to make a call to a teller of stories, with these steps of the caller."""
    teller = agent_file(
        tmp_path,
        "{name: teller, llm: script, local: {llm: script, script: rules.script.yaml}}",
        rules__script__yaml=RULES,
    )
    dev = start("dev", teller, "--json")
    dev.ready()

    def make(*steps: str) -> Heard:
        caller = "steps:\n" + "".join(f"  - {step}\n" for step in steps)
        reply = tmp_path / "reply.wav"
        program = start(
            *("call", "teller", "--caller", "-", "--output", reply, "--stay", "0.2", "--json"),
            stdin=caller,
        )
        assert program.end() == 0, program.talk
        return Heard(program.records, *read_wav(reply))

    return make


def test_what_was_heard_before_an_interruption_stays_and_the_rest_was_never_said(
    call: Call,
) -> None:
    heard = call(
        "say: Tell me a story.",
        "interrupt: {after_words: 12, say: Thank you. I would like to hear something else.}",
        "wait: reply",
    )
    (cut,) = heard.of("bot.interrupted")
    words = [w for w in heard.of("bot.word") if w["message_id"] == cut["message_id"]]
    assert cut["reason"] == "user_spoke"
    # The caller began at word 12; it takes 300 ms of voice to cut in, and the voice must be heard.
    assert 12 <= cut["words_spoken"] <= 18
    assert cut["words_spoken"] == len(words)
    assert cut["last_word"] == words[-1]["word"]
    assert words[-1]["start_time"] * 1000 <= cut["played_ms"] <= words[-1]["end_time"] * 1000 + 500
    assert cut["played_ms"] >= 2000
    assert heard.of("turn.continued") == []

    # Nothing sounds from then on until the next reply begins.
    after = heard.at_ms(cut) + SILENT_WITHIN_MS
    following = next(s for s in heard.of("bot.speaking") if s["seq"] > cut["seq"])
    assert heard.at_ms(following) > after + 500
    assert heard.level(after, heard.at_ms(following) - 60) < QUIET_DBFS
    assert heard.level(heard.at_ms(words[0]), heard.at_ms(cut)) > -40

    told = " ".join(word["word"] for word in words)
    assert STORY.startswith(told)
    roles = heard.history()
    assert [role for role, _ in roles] == ["user", "assistant", "user", "assistant"]
    assert roles[1] == ("assistant", told)
    assert roles[3] == ("assistant", "All right.")
    said = [
        ("Tell me a story.", roles[0][1]),
        ("Thank you. I would like to hear something else.", roles[2][1]),
    ]
    assert word_error_rate(said) <= 0.15
    assert [m["text"] for m in heard.of("message.confirmed")] == [told, "All right."]


def test_whoever_goes_on_speaking_at_once_is_answered_as_if_in_one_breath(call: Call) -> None:
    heard = call(
        "say: Tell me a story.",
        "interrupt: {after: 500ms, say: But please make it about the sea.}",
        "wait: reply",
        "hangup",
    )
    cut = heard.of("bot.interrupted")[0]
    assert cut["reason"] == "continuation"
    assert cut["played_ms"] < 2000
    (continued,) = heard.of("turn.continued")
    assert {turn["turn_id"] for turn in heard.of("turn.end")} == {continued["turn_id"]}

    (whole,) = {turn["text"] for turn in heard.of("turn.end")[1:]}
    expected = "Tell me a story. But please make it about the sea."
    assert word_error_rate([(expected, whole)]) <= 0.15
    # The void reply has left the history: one question, and the answer to all of it.
    assert heard.history() == [("user", whole), ("assistant", STORY)]
    said = list(spoken(heard.records).values())
    assert len(said) == 2
    assert STORY.startswith(said[0])
    assert said[1] == STORY
