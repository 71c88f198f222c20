import io
from collections.abc import Iterable
from dataclasses import replace
from textwrap import dedent

import pytest

from pinecall_cli.call.records import (
    DevReconnected,
    DevReconnecting,
    DevReloaded,
    DevReloadFailed,
    DevStopped,
    EngineNotice,
    ErrorRecord,
    FileProblem,
    summary,
)
from pinecall_cli.call.session import AgentState, Entry, SessionState
from pinecall_cli.call.state import ToolAnswered
from pinecall_cli.errors import UsageError, Where
from pinecall_cli.view.header import header_rows
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.output import Output
from pinecall_cli.view.plain import PlainView
from tests.call.conversations import START, order_call, received
from tests.view.sessions import READY, Happened, step


def printed(happened: Iterable[Happened], *, encoding: str = "utf-8", **options: bool) -> str:
    out = io.BytesIO()
    view = PlainView(Output(out), encoding=encoding, **options)
    session = SessionState(agents=(AgentState(slug="front-desk"),))
    for one in happened:
        session = step(session, one)
        view.show(session, one, at=START)
    view.close()
    return out.getvalue().decode(encoding)


def without_times(text: str) -> list[str]:
    return [line.partition(" ")[2] for line in text.splitlines()]


def test_a_call_reads_as_it_was_heard():
    assert printed([READY, *order_call()]) == dedent("""\
        t+0.0s ● front-desk  agents/front_desk.yaml  +13186330963
        t+0.0s · embedded server http://127.0.0.1:43211
        t+0.1s ☎ incoming call — webrtc
        t+0.5s front-desk › Hi, Acme ⏏ caller cut in · unsaid: front desk.
        t+0.7s     caller › Where is my order?
        t+0.9s   ⚡ lookup_order(id="ORD-1")
        t+1.0s   ✓ lookup_order {"status": "shipped"} · 50 ms
        t+1.3s front-desk › It shipped.
        t+1.3s   ↳ heard 192 → text +40 → decided +100 → tools +50 → first word +1 → first audio +110 = 493 ms
        t+2.3s ☎ call ended — hangup (2.2 s)
        """)  # noqa: E501 - one line each, as it is printed


def test_an_attempt_that_begins_at_once_has_no_seconds():
    told = printed([READY, DevReconnecting(at=START + 4, attempt=0, delay_ms=0)])
    assert without_times(told)[-1] == "! connection lost; trying again"


@pytest.mark.parametrize(
    ("local", "joined", "said"),
    [
        (True, False, "embedded server"),
        (True, True, "local server"),
        (False, True, "server"),
    ],
)
def test_the_head_says_what_kind_of_server_it_is(local: bool, joined: bool, said: str):
    head = printed([replace(READY, local=local, joined=joined)])
    assert f"· {said} {READY.server}" in head


def test_where_only_ascii_can_be_written_glyphs_become_ascii():
    text = printed([READY, *order_call()], encoding="ascii")
    assert "t+0.5s front-desk > Hi, Acme ^ caller cut in - unsaid: front desk." in text
    assert "text +40 -> decided +100" in text
    umlaut = received("user.message", 1.0, message_id="u", text="Grüße")
    assert "caller > Gr\\xfc\\xdfe" in printed([umlaut], encoding="ascii")


def test_receipts_and_errors_say_what_and_where():
    problems = (
        FileProblem(
            code="unknown_key",
            message="unknown key `vioce`",
            line=4,
            column=1,
            hint="did you mean `voice`?",
        ),
        FileProblem(code="missing", message="no such file", file="prompts/p.md"),
    )
    happened = [
        READY,
        DevReloaded(
            at=START + 1,
            agent="front-desk",
            files=("prompts/p.md",),
            changed=("prompt", "greeting"),
            calls=("2f8c41d6-0b52-4d3c-9d0e-5a1f",),
            applied_ms=84,
            prompt_diff="−polite +rude",
            notes=("greeting: from the next call",),
        ),
        DevReloaded(
            at=START + 2, agent="front-desk", files=(), changed=("lookup_order",), applied_ms=9
        ),
        DevReloaded(
            at=START + 2, agent="front-desk", files=(), changed=(), calls=("a", "b"), applied_ms=9
        ),
        DevReloaded(at=START + 2, agent="front-desk", files=(), changed=(), applied_ms=412_851),
        DevReloadFailed(at=START + 3, agent="front-desk", file="agents/a.yaml", errors=problems),
        DevReloadFailed(at=START + 3, file="agents/b.yaml", errors=()),
        DevReconnecting(at=START + 4, attempt=1, delay_ms=1000),
        DevReconnected(at=START + 5),
        EngineNotice(at=START + 5, text="voice elevenlabs/sarah → offline hibari/heart"),
        ErrorRecord.of(
            UsageError("no such key", where=Where("a.yaml", 4), fix="mend it"), at=START + 6
        ),
        DevStopped(at=START + 7, reason="interrupted"),
    ]
    assert without_times(printed(happened))[2:] == [
        "↻ front-desk reloaded: prompt, greeting · call 2f8c41d6 from its next turn, and new calls · 84 ms",  # noqa: E501
        "  prompt: −polite +rude",
        "  greeting: from the next call",
        "↻ front-desk reloaded: lookup_order · new calls · 9 ms",
        "↻ front-desk reloaded: nothing changed · 2 calls from their next turn, and new calls · 9 ms",  # noqa: E501
        "↻ front-desk reloaded: nothing changed",
        "✗ agents/a.yaml:4:1 unknown key `vioce` — did you mean `voice`?",
        "✗ prompts/p.md no such file",
        "  front-desk goes on as it was until this is fixed",
        "  the agent goes on as it was until this is fixed",
        "! connection lost; trying again in 1.0 s",
        "✓ connected again",
        "· voice elevenlabs/sarah → offline hibari/heart",
        "error: no such key",
        "  where: a.yaml:4",
        "  fix: mend it",
        "· stopped: interrupted",
    ]


def test_a_summary_is_the_last_word_on_a_call():
    session = SessionState()
    for one in order_call():
        session = step(session, one)
    record = summary(session.calls[0], at=START + 3)
    assert without_times(printed([record])) == ["  ↳ 1 turn · latency p50 493 ms, p95 493 ms"]
    bare = summary(step(SessionState(), received("call.held")).calls[0], at=START)
    assert without_times(printed([bare])) == ["  ↳ 0 turns"]


def test_agents_that_could_not_register_say_why():
    refused = received("error", 1.0, code="AGENT_CONFLICT_FATAL", error="held by pid 7")
    text = printed([refused])
    assert "✗ AGENT_CONFLICT_FATAL: held by pid 7" in text


def test_two_calls_at_once_are_told_apart():
    first = received("call.started", 0.1, from_="+1415", to="+1", transport="phone")
    other = {"call_id": "chat-7f1c2a9e", "session_id": "chat-7f1c2a9e"}
    happened = [
        first,
        received("llm.chat.started", 0.2, **other),
        received("chat.message", 0.3, text="Open?", **other),
        received("chat.response", 0.4, text="Yes.", **other),
        received("call.ended", 0.5, reason="hangup", direction="inbound"),
        received("llm.chat.ended", 0.6, **other),
    ]
    assert without_times(printed(happened)) == [
        "☎ incoming call — +1415 · phone",
        "[7f1c2a9e] ☎ chat",
        "[7f1c2a9e]     caller › Open?",
        "[7f1c2a9e] front-desk › Yes.",
        "[c1] ☎ call ended — hangup (0.4 s)",
        "☎ chat ended — chat_completed (0.4 s)",
    ]


def test_ringing_and_dialling_say_which_way():
    happened = [
        received("call.ringing", 0.1, from_="+1415", to="+1"),
        received("call.dialing", 0.2, call_id="c2", from_="+1", to="+1212"),
    ]
    lines = without_times(printed(happened))
    assert lines[0] == "☎ incoming call rings — +1415 · phone"
    assert lines[1] == "[c2] ☎ outgoing call rings — +1212 · phone"


def tool_lines(arguments: str, result: object) -> list[str]:
    tool = {"id": "t1", "name": "look", "arguments": arguments}
    happened = [
        received("llm.tool_call", 0.1, msg_id="r", tool_calls=[tool]),
        received("llm.tool_result", tool_call_id="t1", result=result),
    ]
    return printed(happened).splitlines()


def test_arguments_that_are_no_object_are_shown_as_they_are():
    assert "look({torn)" in tool_lines("{torn", 1)[0]
    assert "look([1])" in tool_lines("[1]", 1)[0]


def test_what_is_nested_too_deep_is_not_laid_out():
    deep: object = 1
    for _ in range(5000):
        deep = [deep]
    answered = ToolAnswered(id="t1", name="look", result=deep)
    session = SessionState(feed=(Entry(number=1, what=answered),), fed=1)
    out = io.BytesIO()
    PlainView(Output(out)).show(session, at=0)
    assert out.getvalue().decode() == "t+0.0s   ✓ look (nested too deep to show)\n"


def test_agents_that_are_not_registered_say_how_they_stand():
    agents = (
        AgentState(slug="a", state="conflict", detail="held by pid 7"),
        AgentState(slug="b"),
        AgentState(slug="c", file="c.yaml", state="registered"),
    )
    session = SessionState(agents=agents, server="wss://voice.pinecall.io")
    assert [f"{row.lead.plain}{row.body.plain}" for row in header_rows(session, Ink())] == [
        "✗ a  no phone  name is taken: held by pid 7",
        "○ b  no phone  starting",
        "● c  c.yaml  no phone",
        "· server wss://voice.pinecall.io",
    ]


def test_a_failed_tool_is_marked():
    assert "✗ look {" in tool_lines("{}", {"error": "no"})[1]


def test_a_long_result_is_laid_out_and_clipped():
    lines = tool_lines("{}", {f"key {count}": "x" * 20 for count in range(40)})
    assert lines[1].endswith("✓ look {")
    assert lines[2] == "          " + '"key 0": "xxxxxxxxxxxxxxxxxxxx",'
    assert lines[-1].strip() == "… (+30 lines)"
    assert len(lines) == 14
    long = tool_lines("{}", "y " * 60)
    assert len(long) == 2


def test_text_from_outside_cannot_look_like_a_line_of_ours():
    happened = [
        received("user.message", 0.1, message_id="u", text="hi\nt+9.9s ☎ call ended\x1b[2J [bold]"),
    ]
    assert printed(happened).splitlines() == [
        "t+0.0s     caller › hi",
        "        t+9.9s ☎ call ended\\x1b[2J [bold]",
    ]


@pytest.mark.parametrize(
    ("latency", "said"),
    [
        ({"e2e": 1200}, "1200 ms"),
        ({"vad": 5, "e2e": 9, "other": -4}, "heard 5, other -4 = 9 ms"),
        ({"vad": 5}, "heard 5"),
        ({"asr": 7, "tts_ttfb": 3}, "text 7 → first audio +3"),
    ],
)
def test_a_latency_says_what_it_knows(latency: dict[str, int], said: str):
    happened = [
        received("bot.speaking", 0.1, message_id="m", text="Hi."),
        received("turn.latency", 0.2, turn_id=1, message_id="m", **latency),
        received("bot.finished", 0.3, message_id="m"),
    ]
    assert without_times(printed(happened))[1] == f"  ↳ {said}"


def test_a_cut_before_the_first_word_says_so():
    happened = [
        received("bot.speaking", 0.1, message_id="m", text="Hi."),
        received("bot.interrupted", 0.2, message_id="m", reason="continuation"),
    ]
    assert without_times(printed(happened)) == ["front-desk › nothing heard ⏏ caller went on"]


def test_with_events_every_frame_is_a_line():
    happened = [received("speech.started", 1.0, turn_id=1, confidence=0.5)]
    assert without_times(printed(happened, events=True)) == [
        '  speech.started {"turn_id": 1, "confidence": 0.5}'
    ]
    assert printed(happened) == ""


def test_colours_come_only_when_they_are_forced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in printed([READY], colour=True)
    assert "\x1b[" not in printed([READY])


def test_long_calls_are_told_in_minutes():
    happened = [received("call.ended", 0.1, reason="hangup", duration_seconds=125.4)]
    assert without_times(printed(happened)) == ["☎ call ended — hangup (2:05)"]
    hours = [received("call.ended", 0.1, reason="hangup", duration_seconds=3725)]
    assert without_times(printed(hours)) == ["☎ call ended — hangup (1:02:05)"]
