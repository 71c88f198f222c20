import pytest

from pinecall_cli.call.state import (
    CallState,
    Closed,
    Notice,
    Opened,
    Said,
    ToolAnswered,
    ToolCalled,
)
from tests.call.conversations import folded, frame, told

STARTED = frame("llm.chat.started", 0.0, language="en")


def of(call: CallState, kind: type) -> list[object]:
    return [line for line in call.lines if isinstance(line, kind)]


def test_a_chat_is_a_call_without_audio():
    call = folded([STARTED, STARTED, frame("chat.message", 0.5, text="Do you open on Sunday?")])
    assert call.is_text
    assert call.phase == "thinking"
    assert call.language == "en"
    call = folded([frame("chat.response", 1.0, text="Yes, 10 to 2.")], call)
    assert call.phase == "listening"
    assert told(call) == ["caller: Do you open on Sunday?", "agent: Yes, 10 to 2."]
    call = folded([frame("llm.chat.ended", 2.0, duration_seconds=61.2)], call)
    assert (call.reason, call.duration_s) == ("chat_completed", 61.2)
    assert len(call.ended_turns) == 1


def test_a_chat_is_announced_once():
    again = frame("llm.chat.started", 3.0, language="es")
    call = folded([STARTED, again])
    assert len(call.lines) == 1
    assert call.language == "es"


def test_an_answer_that_both_families_bring_is_shown_once():
    owner = frame("chat.response", text="Yes.")
    sender = frame("llm.chat.done", text="Yes.")
    for pair in ([owner, sender], [sender, owner]):
        assert told(folded([STARTED, *pair])) == ["agent: Yes."]


def test_the_same_answer_to_another_question_is_shown_again():
    asked = [frame("chat.message", text=text) for text in ("Open?", "Really?")]
    yes = [frame("chat.response", text="Yes."), frame("llm.chat.done", text="Yes.")]
    call = folded([STARTED, asked[0], *yes, asked[1], *yes])
    assert told(call) == ["caller: Open?", "agent: Yes.", "caller: Really?", "agent: Yes."]


def test_an_answer_is_seen_while_it_is_written():
    call = folded(
        [STARTED, frame("llm.chat.chunk", token="We "), frame("llm.chat.chunk", text="o")]
    )
    assert call.reply is not None
    assert call.reply.text == "We o"
    assert call.phase == "speaking"
    call = folded(
        [frame("llm.chat.token", token="pen"), frame("llm.chat.token", text="We open.")], call
    )
    assert call.reply is not None
    assert call.reply.text == "We open."
    assert folded([frame("llm.chat.done", text="We open.")], call).reply is None


@pytest.mark.parametrize("copy", [{}, {"msg_id": "r"}], ids=["no-round", "round"])
@pytest.mark.parametrize("first", ["owner", "sender"])
def test_tools_of_a_chat_that_both_families_bring_are_shown_once(first: str, copy: dict[str, str]):
    tool = {"id": "t1", "name": "look", "arguments": "{}"}
    called = [
        frame("llm.tool_call", msg_id="r", tool_calls=[tool]),
        frame("llm.chat.tool_call", tool_calls=[tool], **copy),
    ]
    answered = frame("llm.chat.tool_result", text="found")
    frames = [STARTED, *(called if first == "owner" else called[::-1]), answered]
    call = folded(frames)
    assert len(of(call, ToolCalled)) == 1
    assert len(of(call, ToolAnswered)) == 1
    assert call.open_tools == ()


def test_a_chat_may_use_a_tools_id_again():
    tool = {"id": "t1", "name": "look", "arguments": "{}"}
    rounds = [
        frame("llm.tool_call", msg_id="r", tool_calls=[tool]),
        frame("llm.tool_result", tool_call_id="t1", result=1),
    ]
    assert len(of(folded([STARTED, *rounds, *rounds]), ToolCalled)) == 2


@pytest.mark.parametrize(("later", "times"), [(1.5, 1), (4.0, 2)])
def test_a_message_without_an_id_is_the_same_one_within_two_seconds(later: float, times: int):
    frames = [frame("chat.message", 0.1, text="Hi"), frame("chat.message", later, text="Hi")]
    assert told(folded([STARTED, *frames])) == ["caller: Hi"] * times


def test_a_message_with_an_id_is_the_same_one_by_its_id():
    frames = [frame("chat.message", at, text="Hi", message_id="u1") for at in (0.1, 9.0)]
    call = folded([STARTED, *frames])
    assert told(call) == ["caller: Hi"]
    assert len(call.ended_turns) == 1


def test_a_chat_that_failed_goes_on_with_the_next_message():
    call = folded([STARTED, frame("llm.chat.error", error="no such model")])
    assert [type(line) for line in call.lines[1:]] == [Notice]
    assert not call.ended
    call = folded([frame("llm.chat.ended"), STARTED, frame("chat.message", text="Again")], call)
    assert not call.ended
    assert told(call) == ["caller: Again"]
    assert len(of(call, Closed)) == 1


def test_confirmations_are_a_thing_of_voice():
    call = folded([STARTED, frame("message.confirmed", message_id="m", text="Yes.")])
    assert of(call, Said) == []


def test_a_whatsapp_conversation_is_told_like_any_other():
    contact = {"contact_phone": "34600", "contact_name": "Ana"}
    wrote = {"from": "34600", "name": "Ana"}
    call = folded(
        [
            frame("whatsapp.session_started", **contact),
            frame("whatsapp.message", **wrote, type="text", text="Hi", message_id="w1"),
            frame("whatsapp.message", **wrote, type="text", text="Hi", message_id="w1"),
            frame("whatsapp.response", to="34600", text="Hello Ana."),
            frame("whatsapp.message", **wrote, type="image", text="my lamp", message_id="w2"),
            frame("whatsapp.session_ended", **contact, reason="idle_timeout", duration=60),
        ]
    )
    assert told(call) == ["caller: Hi", "agent: Hello Ana.", "caller: [image] my lamp"]
    (opened,), (closed,) = of(call, Opened), of(call, Closed)
    assert (opened.peer, opened.transport) == ("34600", "whatsapp")
    assert (closed.reason, call.duration_s, call.ended) == ("idle_timeout", 60, True)
