"""Turn-taking, played by hand: facts in, orders out, no audio and no clock."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol import events
from pinecall_cli.server.voice.orders import Answer, Continue, CutIn, Decode, Emit, Judge, Playing
from pinecall_cli.server.voice.rules import TurnRules, is_back_channel
from pinecall_cli.server.voice.turn import LONG_SEGMENT_MS, Turns


class Floor:
    """A call's turn machine with a caller, a recogniser and a judge that do as they are told.

    The numbers of its rules are the tests' own; those of the product are tuned to recordings.
    """

    def __init__(self, *, judge: float | None = 0.9, text: str = "hello there", **rules: object):
        numbers = count(1)
        rules = {"ask_after_ms": (200, 400, 600), "least_ms": 0, "limit_ms": 1000, **rules}
        self.turns = Turns(TurnRules(**rules), mint=lambda: f"u{next(numbers)}")  # type: ignore[arg-type]
        self.now = 0
        self.judge, self.text = judge, text
        self.log: list[object] = []
        self.answers: list[Answer] = []
        self.wait_decode = False
        self.asked = 0
        self.held: list[Decode] = []

    def run(self, ms: int, playing: Playing | None = None) -> None:
        """Let time pass in steps of 20 ms; the agent's audio goes on if it plays."""
        for _ in range(ms // 20):
            self.now += 20
            if playing is not None:
                playing = Playing(playing.played_ms + 20, playing.turn_id)
            self.turns.playback(playing, self.now)
            self.turns.tick(self.now)
            if self.drain():
                playing = None

    def drain(self) -> bool:
        """Carry out orders as a session would; say whether the agent was silenced."""
        silenced = False
        while orders := self.turns.take():
            for order in orders:
                match order:
                    case Emit(event=event):
                        self.log.append(event)
                    case Decode() if self.wait_decode:
                        self.held.append(order)
                    case Decode(job=job, end=end, kind=kind):
                        upto = end if kind == "piece" else None
                        self.turns.decoded(job, self.text, self.now, upto)
                    case Judge(job=job):
                        self.asked += 1
                        if self.judge is not None:
                            self.turns.judged(job, self.judge, self.now)
                    case Answer():
                        self.answers.append(order)
                        self.log.append(order)
                    case Continue() | CutIn():
                        silenced = True
                        self.log.append(order)
        return silenced

    def speak(self, ms: int, playing: Playing | None = None, text: str | None = None) -> None:
        if text is not None:
            self.text = text
        onset = self.now
        self.run(60, playing)
        if playing is not None:
            playing = Playing(playing.played_ms + 60, playing.turn_id)
        self.turns.voice_started(onset, self.now, 0.9)
        self.drain()
        self.run(ms - 60, playing)
        self.turns.voice_stopped(self.now, self.now)
        self.drain()

    def names(self) -> list[str]:
        return [
            type(entry).__struct_config__.tag
            if isinstance(entry, events.Event)
            else type(entry).__name__
            for entry in self.log
        ]

    def last(self, kind: type) -> object:
        return [entry for entry in self.log if isinstance(entry, kind)][-1]


def test_a_finished_sentence_is_answered_as_soon_as_the_judge_agrees():
    floor = Floor()
    floor.speak(1200)
    floor.run(300)
    assert floor.names() == [
        "speech.started",
        "user.speaking",
        "speech.ended",
        "user.message",
        "turn.end",
        "Answer",
    ]
    (answer,) = floor.answers
    assert (answer.turn_id, answer.text, answer.message_id) == (1, "hello there", "u1")
    assert answer.voice_end == 1200
    assert answer.decided_at <= 1200 + 220


def test_an_unfinished_sentence_waits_for_the_limit():
    floor = Floor(judge=0.1)
    floor.speak(1200)
    floor.run(960)
    assert not floor.answers
    assert floor.names().count("turn.pause") == 1
    floor.run(60)
    assert floor.answers[0].decided_at - 1200 in range(1000, 1060)


def test_however_sure_the_judge_is_a_short_silence_ends_nothing():
    floor = Floor(least_ms=560, limit_ms=800)
    floor.speak(1000)
    floor.run(540)
    assert not floor.answers
    floor.run(20)
    assert floor.answers[0].decided_at == 1560
    assert "eager.turn" not in floor.names()


def test_a_voice_that_may_have_begun_holds_the_end_of_a_turn_back():
    floor = Floor()
    floor.speak(1000)
    floor.turns.stirring = True
    floor.run(1200)
    assert not floor.answers
    floor.turns.stirring = False
    floor.run(20)
    assert len(floor.answers) == 1


def test_a_judge_who_is_sure_is_not_asked_again():
    asked = Floor(judge=0.9, least_ms=700), Floor(judge=0.3, least_ms=700)
    for floor in asked:
        floor.speak(1000)
        floor.run(680)
    assert [floor.asked for floor in asked] == [1, 3]


def test_speaking_again_before_the_end_resumes_the_turn():
    floor = Floor(judge=0.1)
    floor.speak(1000, text="I would like")
    floor.run(400)
    floor.speak(1000, text="I would like a table")
    floor.run(1100)
    assert "turn.resumed" in floor.names()
    assert floor.names().count("speech.started") == 2
    (answer,) = floor.answers
    assert (answer.text, answer.turn_id) == ("I would like a table", 1)


def test_without_a_judge_half_a_second_of_silence_ends_the_turn():
    floor = Floor(judged=False)
    floor.speak(1000)
    floor.run(480)
    assert not floor.answers
    floor.run(40)
    assert floor.answers[0].decided_at == 1500


def test_a_half_sure_judge_announces_the_end_and_then_keeps_its_word():
    floor = Floor(judge=0.6)
    floor.speak(1000)
    floor.run(300)
    assert floor.names()[-2:] == ["user.message", "eager.turn"]
    floor.judge = 0.9
    floor.run(300)
    end = floor.last(events.TurnEnd)
    assert isinstance(end, events.TurnEnd)
    assert end.message_id == "u1"
    assert floor.names().count("user.message") == 1


def test_speech_after_an_announced_end_takes_it_back_and_gets_a_new_message():
    floor = Floor(judge=0.6)
    floor.speak(1000, text="I want")
    floor.run(300)
    floor.judge = 0.9
    floor.speak(1000, text="I want a pony")
    floor.run(400)
    names = floor.names()
    assert names.index("eager.turn") < names.index("turn.continued") < names.index("turn.end")
    end = floor.last(events.TurnEnd)
    assert isinstance(end, events.TurnEnd)
    assert (end.message_id, end.text, end.turn_id) == ("u2", "I want a pony", 1)


def test_speech_before_the_reply_begins_continues_the_turn():
    floor = Floor()
    floor.speak(1000, text="I want")
    floor.run(300)
    floor.speak(1000, text="a pony")
    floor.run(300)
    names = floor.names()
    assert names.count("turn.continued") == 1
    assert names.index("turn.continued") < names.index("Continue")
    assert [a.text for a in floor.answers] == ["I want", "I want a pony"]
    assert [a.turn_id for a in floor.answers] == [1, 1]
    assert floor.answers[0].message_id != floor.answers[1].message_id


def test_speech_in_the_first_two_seconds_of_the_reply_continues_the_turn():
    floor = Floor()
    floor.speak(1000, text="I want")
    floor.run(300)
    floor.speak(1000, playing=Playing(1000, 1), text="a pony")
    floor.run(300)
    assert floor.names().count("Continue") == 1
    assert floor.answers[-1].text == "I want a pony"
    assert floor.answers[-1].turn_id == 1


def test_speech_later_in_the_reply_cuts_in_with_a_new_turn():
    floor = Floor()
    floor.speak(1000, text="tell me a story")
    floor.run(300)
    floor.run(400, playing=Playing(3000, 1))
    floor.speak(1000, playing=Playing(3400, 1), text="stop please")
    floor.run(300)
    assert "CutIn" in floor.names()
    assert "turn.continued" not in floor.names()
    assert floor.answers[-1].text == "stop please"
    assert floor.answers[-1].turn_id == 2


def test_the_agent_is_cut_300_ms_into_the_callers_speech():
    floor = Floor()
    floor.run(100, playing=Playing(5000, None))
    onset = floor.now
    floor.run(60, playing=Playing(5100, None))
    floor.turns.voice_started(onset, floor.now, 0.9)
    while "CutIn" not in floor.names():
        floor.run(20, playing=Playing(5200, None))
        assert floor.now < onset + 1000
    assert floor.now - onset == 300


def test_a_greeting_is_cut_in_on_however_short_it_was():
    floor = Floor()
    floor.run(400, playing=Playing(0, None))
    floor.speak(800, playing=Playing(400, None), text="yes hello")
    floor.run(300)
    assert "CutIn" in floor.names()
    assert floor.answers[-1].turn_id == 1


def test_a_lone_back_channel_does_not_stop_the_agent_and_is_reported():
    floor = Floor()
    floor.run(400, playing=Playing(2000, None))
    floor.speak(260, playing=Playing(2400, None), text="Uh-huh.")
    floor.run(400, playing=Playing(2700, None))
    assert "CutIn" not in floor.names()
    assert not floor.answers
    message = floor.last(events.UserMessage)
    assert isinstance(message, events.UserMessage)
    assert message.text == "Uh-huh."


def test_a_short_objection_stops_the_agent():
    floor = Floor()
    floor.run(400, playing=Playing(2000, None))
    floor.speak(260, playing=Playing(2400, None), text="Stop it!")
    floor.run(600, playing=Playing(2700, None))
    assert "CutIn" in floor.names()
    assert floor.answers[-1].text == "Stop it!"


def test_fewer_words_than_count_leave_the_agent_the_floor_and_are_reported():
    floor = Floor(min_words=3)
    floor.run(400, playing=Playing(2000, None))
    floor.speak(260, playing=Playing(2400, None), text="Stop it!")
    floor.run(600, playing=Playing(2700, None))
    assert "CutIn" not in floor.names()
    message = floor.last(events.UserMessage)
    assert isinstance(message, events.UserMessage)
    assert message.text == "Stop it!"


def test_a_voice_too_faint_to_cut_in_does_so_with_its_words():
    floor = Floor(text="")
    floor.turns.faint_ms = 5000
    floor.run(400, playing=Playing(3000, None))
    floor.speak(1200, playing=Playing(3400, None))
    assert "CutIn" not in floor.names()
    floor.run(600, playing=Playing(4600, None))
    floor.speak(1200, playing=Playing(5200, None), text="please stop")
    floor.run(600)
    assert floor.names().count("CutIn") == 1
    assert [a.text for a in floor.answers] == ["please stop"]


def faintly(floor: Floor, ms: int, text: str) -> None:
    """Say something over the agent that is too faint to cut in; its words are not known yet."""
    floor.turns.faint_ms, floor.wait_decode = 5000, True
    floor.run(400, playing=Playing(3000, None))
    floor.speak(ms, playing=Playing(3400, None), text=text)


def test_the_words_of_a_faint_voice_wait_for_no_interim_ones():
    floor = Floor()
    faintly(floor, 900, "please stop")
    assert [order.kind for order in floor.held] == ["partial"]
    floor.run(400, playing=Playing(4300, None))
    assert [order.kind for order in floor.held] == ["partial", "final"]
    final = floor.held[-1]
    floor.turns.decoded(final.job, "please stop", floor.now)
    floor.drain()
    assert floor.names().count("CutIn") == 1


def test_a_slow_recogniser_rests_between_the_interim_words_of_a_faint_voice():
    floor = Floor()
    floor.turns.faint_ms, floor.wait_decode = 9000, True
    floor.run(400, playing=Playing(3000, None))
    floor.turns.voice_started(floor.now - 60, floor.now, 0.9)
    floor.run(1300, playing=Playing(3400, None))
    (first,) = floor.held
    floor.turns.decoded(first.job, "hm", floor.now)  # a second after it was asked
    took = floor.now - first.end
    floor.run(took - 100, playing=Playing(4700, None))
    assert floor.held == [first]
    floor.run(200, playing=Playing(5700, None))
    assert [order.kind for order in floor.held] == ["partial", "partial"]


def test_interim_words_of_a_cough_are_no_part_of_what_comes_next():
    floor = Floor(text="hm")
    floor.turns.faint_ms = 5000
    floor.run(400, playing=Playing(3000, None))
    onset = floor.now
    floor.turns.voice_started(onset, onset, 0.9)
    floor.run(400, playing=Playing(3400, None))
    floor.turns.voice_stopped(onset + 120, floor.now)  # most of it was no sound at all
    floor.run(400, playing=Playing(3800, None))
    floor.turns.voice_started(floor.now - 60, floor.now, 0.9)
    floor.turns.injected("typed text", floor.now)
    floor.drain()
    assert [answer.text for answer in floor.answers] == ["typed text"]


def test_what_is_faint_of_a_voice_does_not_count_towards_cutting_in():
    for faint, at_least in ((0, 300), (100, 400), (260, 560)):
        floor = Floor(text="")
        floor.turns.faint_ms = faint
        floor.run(400, playing=Playing(3000, None))
        onset = floor.now
        floor.run(60, playing=Playing(3400, None))
        floor.turns.voice_started(onset, floor.now, 0.9)
        playing = Playing(3460, None)
        while "CutIn" not in floor.names():
            floor.run(20, playing=playing)
        assert floor.now - onset == at_least


def test_a_faint_uh_huh_leaves_the_agent_the_floor_however_long():
    floor = Floor(text="uh-huh")
    floor.turns.faint_ms = 5000
    floor.run(400, playing=Playing(3000, None))
    floor.speak(1200, playing=Playing(3400, None))
    floor.run(600, playing=Playing(4600, None))
    assert "CutIn" not in floor.names()
    assert floor.last(events.UserMessage).text == "uh-huh"


def test_an_agent_that_may_not_be_interrupted_finishes_and_then_answers():
    floor = Floor(barge_in_ms=None)
    floor.run(400, playing=Playing(3000, None))
    floor.speak(1200, playing=Playing(3400, None), text="are you done")
    floor.run(600, playing=Playing(4600, None))
    assert not floor.answers
    floor.run(400)
    assert [a.text for a in floor.answers] == ["are you done"]
    assert "CutIn" not in floor.names()


def test_a_cough_is_no_turn():
    floor = Floor(text="")
    floor.speak(120)
    floor.run(1500)
    assert not floor.answers
    assert "user.message" not in floor.names()
    assert floor.turns.turn_id == 0
    floor.speak(900, text="hello")
    floor.run(400)
    assert floor.answers[0].turn_id == 1


def test_noise_while_a_reply_is_pending_asks_for_the_reply_again():
    floor = Floor()
    floor.speak(1000, text="where is my order")
    floor.run(300)
    floor.speak(300, text="")
    floor.run(400)
    assert [a.text for a in floor.answers] == ["where is my order"] * 2


def test_a_turn_is_never_over_before_its_words_are_known():
    floor = Floor()
    floor.wait_decode = True
    floor.speak(1000)
    floor.run(3000)
    assert not floor.answers
    final = floor.held[-1]
    floor.turns.decoded(final.job, "at last", floor.now)
    floor.drain()
    assert [a.text for a in floor.answers] == ["at last"]


def test_a_reply_that_never_comes_frees_the_floor_in_the_end():
    floor = Floor(pending_ms=2000)
    floor.speak(1000, text="one")
    floor.run(2600)
    floor.speak(1000, text="two")
    floor.run(400)
    assert [(a.turn_id, a.text) for a in floor.answers] == [(1, "one"), (2, "two")]


def test_typed_text_is_a_turn_at_once():
    floor = Floor()
    floor.turns.injected("  where is\nmy order ", 40)
    floor.drain()
    assert floor.names() == ["user.message", "turn.end", "Answer"]
    assert floor.answers[0].text == "where is my order"
    floor.turns.injected(" ", 60)
    assert not floor.turns.take()


def test_typed_text_over_a_long_reply_cuts_in():
    floor = Floor()
    floor.run(200, playing=Playing(4000, 1))
    floor.turns.injected("enough", floor.now)
    floor.drain()
    assert floor.names() == ["CutIn", "user.message", "turn.end", "Answer"]


def test_words_heard_when_the_call_ends_are_not_lost():
    floor = Floor(judge=None)
    floor.speak(1000, text="wait I also")
    floor.run(240)
    floor.turns.close(floor.now)
    floor.drain()
    message = floor.last(events.UserMessage)
    assert isinstance(message, events.UserMessage)
    assert message.text == "wait I also"


def test_a_long_speech_is_set_down_in_pieces():
    floor = Floor(text="bla")
    floor.speak(30_000)
    floor.run(400)
    (answer,) = floor.answers
    assert answer.text == "bla bla bla"


def test_interim_words_that_wait_hold_up_no_piece_of_a_long_turn():
    floor = Floor()
    floor.wait_decode = True
    floor.turns.voice_started(0, 60, 0.9)
    floor.run(LONG_SEGMENT_MS + 40)
    assert [order.kind for order in floor.held] == ["partial", "piece"]
    floor.run(2_000)
    assert len(floor.held) == 2, "one piece at a time"


@pytest.mark.parametrize(("took", "until_next"), [(0, 320), (100, 320), (600, 1200)])
def test_interim_words_take_half_of_a_slow_recogniser_at_most(took: int, until_next: int):
    floor = Floor()
    floor.wait_decode = True
    floor.turns.voice_started(0, 60, 0.9)
    while not floor.held:
        floor.run(20)
    first = floor.held[0]
    floor.run(took)
    floor.turns.decoded(first.job, "so far", floor.now)
    while len(floor.held) == 1:
        floor.run(20)
    assert [order.kind for order in floor.held] == ["partial", "partial"]
    assert floor.held[1].end - first.end == until_next


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("uh-huh", True),
        ("Okay. Okay.", True),
        ("yes sure", True),
        ("Sí.", True),
        ("¡Vale, vale!", True),
        ("ja, genau", True),
        ("stop", False),
        ("no", False),
        ("para", False),
        ("", False),
    ],
)
def test_back_channels_say_only_that_somebody_listens(text: str, verdict: bool):
    assert is_back_channel(text) is verdict


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("speak"), st.integers(60, 1500)),
        st.tuples(st.just("quiet"), st.integers(20, 1500)),
        st.tuples(st.just("reply"), st.integers(20, 4000)),
        st.tuples(st.just("over"), st.just(0)),
        st.tuples(st.just("judge"), st.integers(0, 10)),
        st.tuples(st.just("type"), st.just(0)),
        st.tuples(st.just("slow"), st.booleans()),
    ),
    max_size=30,
)


@given(
    steps=STEPS,
    judged=st.booleans(),
    barge_in=st.sampled_from([300, None]),
    faint=st.sampled_from([0, 0, 120, 5000]),
)
def test_no_interleaving_raises_loses_a_final_or_breaks_the_order(steps, judged, barge_in, faint):
    """Each burst of speech is a word of its own; every word must reach a message."""
    floor = Floor(judged=judged, barge_in_ms=barge_in)
    floor.turns.faint_ms = faint
    spoken: list[tuple[int, int, str]] = []
    finals: set[str] = set()
    real = floor.turns.decoded

    def hear(job: int, text: str, now: int, upto: int | None = None) -> None:
        order = floor.turns._decoding
        if order is not None and order.job == job:
            end = order.end if upto is None else upto
            words = [w for a, b, w in spoken if a < end and b > order.start and b <= now + 20]
            text = " ".join(words)
            if order.kind != "partial":
                finals.update(words)
        real(job, text, now, upto)

    floor.turns.decoded = hear  # type: ignore[method-assign]
    playing: Playing | None = None
    number = 0
    for step, value in steps:
        silenced = len([e for e in floor.log if isinstance(e, CutIn | Continue)])
        match step:
            case "speak":
                number += 1
                spoken.append((floor.now, floor.now + int(value), f"w{number}"))
                floor.speak(max(80, int(value)), playing)
            case "quiet":
                floor.run(int(value), playing)
            case "reply":
                if floor.answers and floor.turns.floor == "agent":
                    playing = Playing(0, floor.answers[-1].turn_id)
                    floor.run(int(value), playing)
                    playing = Playing(int(value), playing.turn_id)
            case "over":
                playing = None
                floor.turns.reply_over(floor.turns.turn_id, floor.now)
                floor.run(40)
            case "judge":
                floor.judge = int(value) / 10
            case "type":
                number += 1
                finals.add(f"w{number}")
                floor.turns.injected(f"w{number}", floor.now)
                floor.drain()
            case "slow":
                floor.wait_decode = bool(value)
                if not value:
                    for order in floor.held:
                        floor.turns.decoded(order.job, "", floor.now)
                        floor.drain()
                    floor.held.clear()
        if len([e for e in floor.log if isinstance(e, CutIn | Continue)]) > silenced:
            playing = None
    for order in floor.held:
        floor.turns.decoded(order.job, "", floor.now)
        floor.drain()
    floor.wait_decode = False
    floor.run(2500)
    floor.turns.close(floor.now)
    floor.drain()

    told = " ".join(e.text for e in floor.log if isinstance(e, events.UserMessage)).split()
    assert finals <= set(told)
    turn, open_speech, seen = 0, False, set()
    for entry in floor.log:
        match entry:
            case events.SpeechStarted():
                assert not open_speech
                open_speech = True
            case events.SpeechEnded():
                open_speech = False
            case events.UserMessage(message_id=message):
                assert message not in seen
                seen.add(message)
            case events.TurnEnd(turn_id=id_, message_id=message):
                assert message in seen
                assert id_ >= turn
                turn = id_
