from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.call.captions import LONGEST_CHARS, LONGEST_S, Cue, cues, srt, vtt
from pinecall_cli.protocol.log import LOG_TYPES, LogEntry

T0 = 1_787_352_100.0


def entry(after: float, type: str, seq: int = 1, **data: Any) -> LogEntry:
    return LogEntry(seq=seq, ts=T0 + after, type=type, call="c1", agent="desk", data=data)


def words(*timed: tuple[str, float, float]) -> list[dict[str, Any]]:
    return [{"w": word, "t0": start, "t1": end} for word, start, end in timed]


CALL = [
    entry(0.0, "call.started", direction="inbound"),
    entry(1.0, "turn.start", turn=1, role="user"),
    entry(3.0, "user.message", id="u1", text="Where is it?", final=True),
    entry(
        3.2,
        "bot.speaking",
        seq=4,
        id="b1",
        text="On <its> way.",
        words=words(("On", 0.02, 0.2), ("<its>", 0.2, 0.4), ("way.", 1.4, 1.7)),
    ),
    entry(3.3, "turn.end", turn=1, latency={"vad": 300, "asr": 100, "eou": 100, "e2e": 700}),
]


def test_each_side_is_captioned_when_it_was_heard():
    assert [(round(c.start, 2), round(c.end, 2), c.who, c.text) for c in cues(CALL)] == [
        (1.0, 2.5, "caller", "Where is it?"),
        (3.22, 3.72, "agent", "On <its>"),
        (4.6, 5.1, "agent", "way."),
    ]


def test_captions_are_spelled_as_players_want_them():
    told = [
        Cue(1.0, 2.5, "caller", "Where\u00a0is it?"),
        Cue(3723.0049, 3724.5, "agent", "a <b> & c"),
    ]
    assert srt(told) == (
        "1\n00:00:01,000 --> 00:00:02,500\nCaller: Where\u00a0is it?\n\n"
        "2\n01:02:03,005 --> 01:02:04,500\nAgent: a <b> & c\n"
    )
    assert vtt(told) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\n<v Caller>Where\u00a0is it?\n"
        "\n01:02:03.005 --> 01:02:04.500\n<v Agent>a &lt;b&gt; &amp; c\n"
    )
    assert srt([]) == ""


def test_no_caption_is_longer_than_can_be_read():
    long = words(*((f"word{n}", n * 0.3, n * 0.3 + 0.25) for n in range(200)))
    found = cues([entry(0, "bot.speaking", id="b", text="…", words=long)])
    assert len(found) > 5
    assert all(len(cue.text) <= LONGEST_CHARS for cue in found)
    assert all(cue.end - cue.start <= LONGEST_S for cue in found)
    assert " ".join(cue.text for cue in found) == " ".join(word["w"] for word in long)


def test_what_was_corrected_is_captioned_as_it_was_heard():
    said = [
        entry(0, "bot.speaking", seq=7, id="b", text=""),
        entry(1, "bot.corrected", seq=8, supersedes=7, id="b", text="Only\nthis."),
    ]
    assert [cue.text for cue in cues(said)] == ["Only this."]
    assert cues([entry(0, "bot.speaking", id="b", text="")]) == []


VALUES = st.one_of(st.none(), st.integers(-2, 3), st.text(max_size=3), st.just([{}]), st.just({}))
KEYS = ("id", "text", "words", "turn", "role", "latency", "final", "supersedes")


@given(
    st.lists(
        st.tuples(st.sampled_from(LOG_TYPES), st.dictionaries(st.sampled_from(KEYS), VALUES)),
        max_size=20,
    )
)
def test_nothing_in_a_log_raises(told: list[tuple[str, dict[str, Any]]]):
    found = cues(entry(seq, type, seq=seq, **data) for seq, (type, data) in enumerate(told))
    assert srt(found).count("-->") == vtt(found).count("-->") == len(found)
    assert [cue.start for cue in found] == sorted(cue.start for cue in found)
