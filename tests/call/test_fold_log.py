from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.call.fold_log import reduce_entry
from pinecall_cli.call.state import (
    CallState,
    Closed,
    Notice,
    Opened,
    Said,
    ToolAnswered,
    ToolCalled,
    TurnLatency,
)
from pinecall_cli.protocol.log import LOG_TYPES, LogEntry
from tests.call.conversations import START, told


def entry(seq: int, type: str, **data: Any) -> LogEntry:
    if "from_" in data:
        data["from"] = data.pop("from_")
    return LogEntry(seq=seq, ts=START + seq, type=type, call="c1", agent="front-desk", data=data)


def folded(*entries: LogEntry, call: CallState | None = None) -> CallState:
    call = call or CallState(call_id="c1")
    for one in entries:
        call = reduce_entry(call, one)
    return call


CALL = (
    entry(1, "call.started", from_="+1415", to="+1318", direction="inbound", channel="phone"),
    entry(2, "bot.speaking", id="m1", text="Hi, Acme front desk."),
    entry(3, "user.speaking", active=True),
    entry(4, "bot.interrupted", id="m1", at_word=2),
    entry(5, "user.message", id="u1", text="Where is", final=False),
    entry(6, "user.message", id="u1", text="Where is my order?", final=True),
    entry(7, "turn.end", turn=1, latency={"vad": 192, "asr": 40, "e2e": 493, "eou": None}),
    entry(8, "tool.call", id="t1", name="lookup_order", args={"id": "ORD-1"}),
    entry(9, "tool.result", id="t1", name="lookup_order", result={"status": "shipped"}, ms=50),
    entry(10, "bot.speaking", id="m2", text="", words=[{"w": "It"}, {"w": "shipped."}]),
    entry(11, "bot.finished", id="m2"),
    entry(12, "call.ended", reason="hangup", duration=11.5),
    entry(13, "call.summary", metrics={}),
)


def test_a_log_reads_like_the_call_itself():
    call = folded(*CALL)
    assert [type(line) for line in call.lines] == [
        Opened,
        Said,
        Said,
        ToolCalled,
        ToolAnswered,
        Said,
        TurnLatency,
        Closed,
    ]
    assert told(call) == [
        "agent: Hi, Acme|",
        "caller: Where is my order?",
        "agent: It shipped.",
    ]
    assert (call.agent, call.peer, call.transport) == ("front-desk", "+1415", "phone")
    assert (call.reason, call.duration_s, call.ended_turns) == ("hangup", 11.5, {1})


def test_an_entry_that_comes_twice_counts_once():
    assert folded(*(one for one in CALL for _ in range(2))) == folded(*CALL)


def test_live_words_are_heard_as_they_come():
    words = [entry(3, "bot.word", id="m1", w="Hi,"), entry(4, "bot.word", id="m1", w="Acme")]
    call = folded(*CALL[:2], *words)
    assert call.reply is not None
    assert call.reply.heard == "Hi, Acme"
    assert folded(words[0]).reply is not None


def test_a_chats_log_is_a_chat():
    assert folded(entry(1, "call.started", channel="chat")).is_text


def test_tools_may_be_logged_as_text_and_may_fail():
    call = folded(
        entry(1, "tool.call", id="t1", name="look", args='{"a": 1}'),
        entry(2, "tool.result", id="t1", name="look", error="no such order"),
    )
    assert call.lines[0].arguments == '{"a": 1}'
    assert call.lines[1].failed


def test_a_call_that_a_line_hands_over_goes_on():
    routed = entry(2, "call.routed", agent="sales", routed_from="line:+1218")
    call = folded(CALL[0], routed, *CALL[3:5])
    assert [line.text for line in call.lines if isinstance(line, Notice)] == [
        "handed over to sales"
    ]
    assert not call.ended
    assert call.agent == "sales"


def test_humans_in_the_call_are_noted_once():
    said = entry(1, "supervisor.said", text="One moment.", by="ann")
    whispered = entry(2, "supervisor.whispered", text="Be kind.", by="ann")
    taken = entry(3, "handoff.active", by="ann")
    back = entry(4, "handoff.released", by="ann")
    call = folded(said, said, whispered, taken, back)
    assert [line.text for line in call.lines if isinstance(line, Notice)] == [
        "supervisor says: One moment.",
        "supervisor whispers: Be kind.",
        "a human has taken over",
        "the agent answers again",
    ]


def test_a_call_that_rang_and_its_skills_are_shown():
    call = folded(
        entry(1, "call.ringing", from_="+1", to="+2", direction="inbound"),
        entry(2, "skill.loaded", skill="billing", by="model"),
    )
    assert call.phase == "ringing"
    assert len(call.lines) == 2


def test_markers_and_what_nobody_shows_change_nothing():
    before = folded(*CALL[:3])
    for type in ("log.gap", "log.caught_up", "audio.metrics", "docs.sources", "brand.new"):
        assert folded(entry(3, type, **{"from": 1}), call=before) == before


VALUES = st.one_of(
    st.none(), st.integers(-2, 3), st.text(max_size=3), st.booleans(), st.just([{}]), st.just({})
)
KEYS = ("id", "text", "words", "w", "at_word", "turn", "latency", "args", "result", "final")


@given(
    st.lists(
        st.tuples(st.sampled_from(LOG_TYPES), st.dictionaries(st.sampled_from(KEYS), VALUES)),
        max_size=20,
    )
)
def test_nothing_in_a_log_raises(entries: list[tuple[str, dict[str, Any]]]):
    call = CallState(call_id="c1")
    for seq, (type, data) in enumerate(entries):
        after = folded(entry(seq, type, **data), call=call)
        assert after.lines[: len(call.lines)] == call.lines
        call = after
