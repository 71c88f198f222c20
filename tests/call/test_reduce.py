from typing import Any

import pytest

from pinecall_cli.call.reduce import WINDOW, reduce
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
from pinecall_cli.protocol import commands
from pinecall_cli.protocol.frames import Unknown
from tests.call.conversations import START, folded, frame, order_call, told


def of(call: CallState, kind: type) -> list[Any]:
    return [line for line in call.lines if isinstance(line, kind)]


def test_a_call_becomes_its_transcript_in_the_order_it_was_heard():
    call = folded(one.frame for one in order_call())
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
    assert call.ended
    assert (call.reason, call.duration_s, call.peer) == ("hangup", 2.2, "webrtc")
    assert call.ended_turns == {1}


def test_an_interrupted_reply_says_what_was_heard_and_what_was_not():
    call = folded(one.frame for one in order_call()[:6])
    [said] = of(call, Said)
    assert (said.text, said.cut, said.rest) == ("Hi, Acme", "user_spoke", "front desk.")
    assert call.reply is None
    assert call.phase == "listening"


@pytest.mark.parametrize(
    ("event", "fields", "phase"),
    [
        ("speech.started", {}, "listening"),
        ("turn.pause", {"turn_id": 1}, "pause"),
        ("turn.resumed", {"turn_id": 1}, "listening"),
        ("eager.turn", {"turn_id": 1}, "thinking"),
        ("turn.end", {"turn_id": 1}, "thinking"),
        ("turn.continued", {"turn_id": 1}, "listening"),
        ("bot.speaking", {"message_id": "m1"}, "speaking"),
    ],
)
def test_each_event_of_a_turn_sets_the_phase(event: str, fields: dict[str, Any], phase: str):
    assert folded([frame(event, **fields)]).phase == phase


@pytest.mark.parametrize("event", ["speech.started", "turn.pause", "eager.turn", "turn.end"])
def test_while_a_reply_plays_the_phase_stays_speaking(event: str):
    assert folded([frame("bot.speaking", message_id="m"), frame(event)]).phase == "speaking"


def test_a_partial_is_a_draft_until_its_final_comes():
    call = folded([frame("user.speaking", text="Where"), frame("user.speaking", text="Where is")])
    assert call.draft == "Where is"
    assert call.lines == ()
    call = folded([frame("user.message", message_id="u1", text="Where is it?")], call)
    assert call.draft == ""
    assert told(call) == ["caller: Where is it?"]


def test_a_voice_turn_is_not_thought_about_before_it_ends():
    assert folded([frame("user.message", message_id="u1", text="Hm.")]).phase == "listening"


def test_a_final_that_only_the_end_of_turn_carries_is_not_lost():
    call = folded([frame("turn.end", turn_id=3, message_id="u9", text="Goodbye.")])
    assert told(call) == ["caller: Goodbye."]
    assert folded([frame("user.message", message_id="u9", text="Goodbye.")], call) == call


def test_a_callees_end_of_turn_is_not_the_callers():
    call = folded([frame("turn.end", turn_id=1, source="bot")])
    assert (call.phase, call.ended_turns) == ("listening", frozenset())


def test_turns_without_a_number_are_counted():
    assert len(folded([frame("turn.end"), frame("turn.end")]).ended_turns) == 2


def test_words_that_come_out_of_order_are_put_in_order():
    words = [("c", 2), ("a", 0), ("b", 1), ("b", 1), ("c", 2)]
    call = folded(
        frame("bot.word", message_id="m", word=word, word_index=index) for word, index in words
    )
    assert call.reply is not None
    assert call.reply.heard == "a b c"


def test_words_of_another_reply_are_not_taken_for_this_one():
    call = folded([frame("bot.speaking", message_id="m1", text="")])
    assert folded([frame("bot.word", message_id="m2", word="x", word_index=0)], call) == call


def test_a_late_word_does_not_start_a_finished_reply_again():
    late = frame("bot.word", message_id="m1", word="late", word_index=9)
    done = folded([frame("bot.speaking", message_id="m1", text="Hi."), finished("m1")])
    assert folded([late, frame("bot.speaking", message_id="m1", text="Hi.")], done) == done


def finished(id: str) -> Any:
    return frame("bot.finished", message_id=id)


def test_a_finish_without_a_beginning_says_nothing_and_is_remembered():
    call = folded([finished("m1"), frame("bot.speaking", message_id="m1", text="Hi.")])
    assert call.lines == ()
    assert folded([frame("bot.finished")]) == CallState(call_id="c1", agent="front-desk")
    call = folded([frame("bot.interrupted", message_id="m2"), finished("m2")])
    assert call.lines == ()


@pytest.mark.parametrize(
    ("fields", "text"),
    [({"message_id": "m1"}, "Hello there."), ({"message_id": "m1", "text": "?"}, "Hello there.")],
)
def test_a_reply_without_words_says_its_text(fields: dict[str, Any], text: str):
    speaking = frame("bot.speaking", message_id="m1", text=text)
    assert told(folded([speaking, frame("bot.finished", **fields)])) == [f"agent: {text}"]


def test_a_streamed_reply_may_tell_its_text_at_the_end():
    frames = [
        frame("bot.speaking", message_id="m1", text=""),
        frame("bot.speaking", message_id="m1", text=""),
        frame("bot.finished", message_id="m1", text="All of it."),
    ]
    assert told(folded(frames)) == ["agent: All of it."]


def test_a_server_that_sends_no_words_is_taken_at_its_count():
    frames = [
        frame("bot.speaking", message_id="m1", text="one two three four"),
        frame("bot.interrupted", message_id="m1", words_spoken=2, reason="continuation"),
    ]
    [said] = of(folded(frames), Said)
    assert (said.text, said.cut, said.rest) == ("one two", "continuation", "three four")


def test_a_reply_cut_before_its_first_word_is_marked_all_the_same():
    frames = [frame("bot.speaking", message_id="m1", text="Hi."), interrupted("m1")]
    [said] = of(folded(frames), Said)
    assert (said.text, said.cut) == ("", "user_spoke")


def interrupted(id: str) -> Any:
    return frame("bot.interrupted", message_id=id)


def test_a_new_reply_ends_the_one_before():
    frames = [
        frame("bot.speaking", message_id="m1", text="First."),
        frame("bot.speaking", message_id="m2", text="Second."),
    ]
    call = folded(frames)
    assert told(call) == ["agent: First."]
    assert call.reply is not None
    assert call.reply.id == "m2"


def test_a_confirmed_message_that_was_never_heard_of_is_shown_once():
    confirmed = frame("message.confirmed", message_id="m7", text="Earlier.")
    assert told(folded([confirmed, confirmed, finished("m7")])) == ["agent: Earlier."]
    assert told(folded([frame("message.confirmed", message_id="m8", text="")])) == []


def test_the_latency_line_waits_for_its_reply_to_be_heard():
    latency = frame("turn.latency", turn_id=1, message_id="m1", vad=100, e2e=400)
    frames = [latency, latency, frame("bot.speaking", message_id="m1", text="Hi.")]
    call = folded(frames)
    assert of(call, TurnLatency) == []
    assert len(call.latencies) == 1
    kinds = [type(line) for line in folded([finished("m1")], call).lines]
    assert kinds == [Said, TurnLatency]


def test_a_latency_that_comes_after_its_reply_is_a_line_at_once():
    frames = [
        frame("bot.speaking", message_id="m1", text="Hi."),
        finished("m1"),
        frame("turn.latency", turn_id=1, message_id="m1", e2e=400),
    ]
    assert len(of(folded(frames), TurnLatency)) == 1


def test_a_latency_whose_reply_never_came_stands_before_the_end():
    frames = [
        frame("turn.latency", turn_id=1, message_id="m1", e2e=400),
        frame("call.ended", reason="hangup"),
    ]
    assert [type(line) for line in folded(frames).lines] == [TurnLatency, Closed]


TOOL = {"id": "t1", "name": "look", "arguments": "{}"}


def test_a_tools_answer_knows_how_long_it_took_and_whether_it_failed():
    frames = [
        frame("llm.tool_call", 1.0, msg_id="r", tool_calls=[TOOL]),
        frame("llm.tool_result", 1.25, tool_call_id="t1", result={"error": "no such order"}),
    ]
    [answered] = of(folded(frames), ToolAnswered)
    assert (answered.name, answered.ms, answered.failed) == ("look", 250, True)


def test_results_that_we_send_count_like_those_we_are_told():
    sent = commands.LlmToolResult(
        call_id="c1",
        msg_id="r",
        results=(commands.ToolResult(tool_call_id="t1", result=[1]),),
    )
    call = folded([frame("llm.tool_call", 1.0, msg_id="r", tool_calls=[TOOL])])
    call = reduce(call, sent, at=START + 1.5)
    [answered] = of(call, ToolAnswered)
    assert (answered.result, answered.ms) == ([1], 500)
    told_again = frame("llm.tool_result", tool_call_id="t1", result=[1])
    assert folded([told_again], call) == call


def test_a_whole_round_may_be_told_in_one_frame():
    tools = [TOOL, TOOL | {"id": "t2"}]
    results = [{"tool_call_id": "t2", "result": 2}, {"tool_call_id": "t1", "result": 1}]
    frames = [
        frame("llm.tool_call", msg_id="r", tool_calls=tools),
        frame("llm.tool_result", msg_id="r", results=results),
    ]
    assert [line.result for line in of(folded(frames), ToolAnswered)] == [2, 1]


def test_ids_of_tools_may_come_again_in_another_round():
    rounds = [frame("llm.tool_call", msg_id=round, tool_calls=[TOOL]) for round in ("r1", "r2")]
    result = frame("llm.tool_result", msg_id="r2", tool_call_id="t1", result="second")
    call = folded([*rounds, *rounds, result])
    assert len(of(call, ToolCalled)) == 2
    assert [tool.round for tool in call.open_tools] == ["r1"]


@pytest.mark.parametrize(
    ("sent", "value"),
    [('{"a": 1}', {"a": 1}), ("[1]", [1]), ("{torn", "{torn"), ("plain", "plain")],
)
def test_a_result_sent_as_json_text_is_unpacked(sent: str, value: Any):
    frames = [
        frame("llm.tool_call", msg_id="r", tool_calls=[TOOL]),
        frame("llm.tool_result", tool_call_id="t1", result=sent),
    ]
    assert [line.result for line in of(folded(frames), ToolAnswered)] == [value]


def test_a_result_nested_past_all_bounds_stays_a_text():
    deep = "[" * 100_000
    frames = [
        frame("llm.tool_call", msg_id="r", tool_calls=[TOOL]),
        frame("llm.tool_result", tool_call_id="t1", result=deep),
    ]
    assert [line.result for line in of(folded(frames), ToolAnswered)] == [deep]


def test_tools_run_while_a_reply_plays_do_not_change_the_phase():
    frames = [
        frame("bot.speaking", message_id="m1", text="One moment."),
        frame("llm.tool_call", msg_id="r", tool_calls=[TOOL]),
    ]
    assert folded(frames).phase == "speaking"
    assert folded(frames[1:]).phase == "thinking"


def test_a_frame_is_applied_once_per_seq():
    pressed = frame("call.dtmf_received", 1.0, digit="1", digits="")
    call = folded([pressed])
    assert folded([pressed], call) == call
    assert call.digits == "1"


def test_a_frame_that_was_overtaken_is_applied_too():
    late, early = frame("call.held", 2.0), frame("call.dtmf_received", 1.99, digit="5")
    call = folded([late, early, late, early])
    assert call.digits == "5"
    assert len(call.lines) == 2


def test_a_frame_from_before_the_window_is_applied_by_its_own_lights():
    old = frame("user.message", 1.0, message_id="u1", text="Hi.")
    call = folded([frame("call.held", 1.0 + WINDOW / 1000 + 1), old, old])
    assert told(call) == ["caller: Hi."]


def test_a_call_rings_and_is_answered():
    frames = [
        frame("call.ringing", from_="+14155550100", to="+13186330963"),
        frame("call.ringing", from_="+14155550100", to="+13186330963"),
    ]
    call = folded(frames)
    assert (call.phase, call.peer) == ("ringing", "+14155550100")
    started = frame("call.started", from_="+14155550100", to="+1318", transport="phone")
    call = folded([started], call)
    assert call.phase == "listening"
    assert [line.ringing for line in of(call, Opened)] == [True, False]


def test_a_dialled_call_has_the_other_end_for_its_peer():
    call = folded([frame("call.dialing", from_="+1318", to="+1415")])
    assert (call.direction, call.peer) == ("outbound", "+1415")


def test_a_call_that_is_announced_again_keeps_its_transcript():
    started = frame("call.started", from_="webrtc", to="webrtc", transport="webrtc")
    call = folded([started, frame("user.message", message_id="u", text="Hi.")])
    again = frame("call.started", from_="webrtc", to="webrtc", transport="webrtc", language="es")
    after = folded([again], call)
    assert after.lines == call.lines
    assert after.language == "es"


def test_a_call_met_in_the_middle_learns_what_its_end_says():
    ended = frame(
        "call.ended",
        from_="+1415",
        to="+1318",
        direction="outbound",
        reason="busy",
        started_at=START,
    )
    call = folded([ended])
    assert (call.peer, call.reason, call.started_at) == ("+1318", "busy", START)


def test_a_line_that_hands_a_call_over_does_not_end_it():
    assert not folded([frame("call.ended", reason="routed")]).ended


def test_a_call_that_was_turned_away_or_refused_is_over():
    assert folded([frame("call.rejected", reason="busy")]).reason == "busy"
    call = folded([frame("call.error", error="from number not owned")])
    assert call.reason == "failed"
    assert of(call, Notice)[0].level == "error"


def test_what_comes_after_the_end_changes_nothing():
    call = folded([frame("call.ended", reason="hangup")])
    late = [frame("user.message", message_id="u", text="Hi."), frame("call.held"), finished("m")]
    assert folded(late, call) == call


def test_what_was_being_said_at_the_end_is_kept():
    frames = [
        frame("bot.speaking", message_id="m", text=""),
        frame("bot.word", message_id="m", word="Good", word_index=0),
        frame("call.ended", 5.0, reason="hangup"),
    ]
    assert told(folded(frames)) == ["agent: Good"]


def test_the_length_of_a_call_comes_from_its_events():
    call = folded([frame("call.started", 1.0, from_="a", to="b"), frame("call.held", 4.5)])
    assert call.elapsed_s == 3.5
    call = folded([frame("call.ended", 6.0, reason="hangup")], call)
    assert call.duration_s == 5.0
    assert CallState(call_id="x").elapsed_s is None


@pytest.mark.parametrize(
    ("event", "fields", "said"),
    [
        ("call.updated", {"language": "es"}, "language is now es"),
        ("call.held", {}, "on hold"),
        ("call.unheld", {}, "off hold"),
        ("call.muted", {}, "caller muted"),
        ("call.unmuted", {}, "caller unmuted"),
        ("call.forwarded", {"to": "+1"}, "forwarded to +1"),
        ("call.dtmf_sent", {"digits": "12#"}, "keys sent: 12#"),
        ("call.dtmf_received", {"digit": "1", "digits": "1"}, "pressed 1"),
        ("call.routed", {"agent": "sales"}, "handed over to sales"),
        (
            "call.route_failed",
            {"agent": "sales", "reason": "offline"},
            "hand-over to sales failed: offline",
        ),
        ("skill.loaded", {"skill": "billing"}, "skill billing loaded"),
        ("skill.unloaded", {"skill": "billing"}, "skill billing unloaded"),
        ("session.idle_warning", {"remaining_seconds": 10}, "the caller is silent: 10 s left"),
        ("session.idle_warning", {}, "the caller is silent"),
        ("session.timeout", {"reason": "idle_timeout"}, "session limit reached: idle_timeout"),
        ("session.paused", {}, "a human has taken over"),
        ("session.resumed", {}, "the agent answers again"),
        (
            "message.aborted",
            {"message_id": "m", "reason": "stale"},
            "reply dropped before it was heard: stale",
        ),
        ("reply.rejected", {"message_id": "m"}, "reply rejected"),
        ("llm.preparing_timeout", {"budget_ms": 1500}, "preparing took over 1500 ms"),
        ("llm.error", {"error": "429"}, "model: 429"),
        ("credits.exhausted", {}, "the account ran out of credit"),
        ("error", {"error": "no such call"}, "no such call"),
        ("error", {"code": "NOT_PHONE"}, "NOT_PHONE"),
    ],
)
def test_what_happens_beside_the_talk_is_noted(event: str, fields: dict[str, Any], said: str):
    assert [line.text for line in of(folded([frame(event, **fields)]), Notice)] == [said]


def test_what_was_said_while_muted_is_shown_afterwards():
    call = folded([frame("call.muted"), frame("call.unmuted", muted_transcript="Hello?")])
    assert told(call) == ["caller: Hello?"]
    assert not call.muted


def test_unknown_events_change_nothing():
    call = folded(one.frame for one in order_call()[:4])
    assert reduce(call, Unknown("brand.new", {"event": "brand.new"}), at=START) == call


def test_times_beyond_reckoning_are_ignored():
    call = reduce(CallState(call_id="c1"), frame("call.held"), at=None)
    assert call.last_at is None
    assert call.lines[0].at is None
