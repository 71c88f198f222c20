from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinecall_cli.engines.script import BuiltInScript, ScriptModel
from pinecall_cli.engines.types import Model, ModelRequest, ToolCall
from pinecall_cli.errors import EngineError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Command, Event
from pinecall_cli.server.dialogue.conversation import MOST_ROUNDS, Conversation
from pinecall_cli.server.dialogue.history import usable

NOON = datetime(2027, 3, 5, 12, 0, tzinfo=UTC)

Answer = Sequence[str | ToolCall | EngineError] | Callable[[], AsyncIterator[str | ToolCall]]


class JumpingSelector(selectors.DefaultSelector):
    """Time that jumps to the next timer, and a stuck test that fails at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing is scheduled and nothing will arrive: this test is stuck")
        self.now += 0 if ready else timeout or 0
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = JumpingSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": JumpingLoop}


class Fake:
    """A model that plays its answers in order and keeps what it was asked."""

    name = "fake"

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[ModelRequest] = []
        self.closed = 0

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ToolCall]:
        self.requests.append(request)
        answer = self.answers.pop(0)
        try:
            if callable(answer):
                async for said in answer():
                    yield said
                return
            for piece in answer:
                await asyncio.sleep(0)
                if isinstance(piece, EngineError):
                    raise piece
                yield piece
        finally:
            self.closed += 1


class Session:
    """A conversation, what it emitted, and a client that answers its tool calls at once."""

    def __init__(
        self,
        model: Model | None = None,
        *,
        channel: str = "phone",
        tools: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        **config: Any,
    ) -> None:
        self.events: list[Event] = []
        self.tools = tools
        self.marks: list[str] = []
        self.called = asyncio.Event()
        self.react: Callable[[Event], object] | None = None
        self.conversation = Conversation(
            config={"preparing": False, **config},
            channel=channel,
            model=model,
            emit=self.emit,
            now=lambda: NOON,
            metadata=metadata or {},
        )
        self.conversation.on_mark = self.marks.append

    def emit(self, event: Event) -> None:
        self.events.append(event)
        if self.react is not None:
            self.react(event)
        if isinstance(event, events.LlmToolCall):
            self.called.set()
            if self.tools is not None:
                self.answer_tools(event, **self.tools)

    def answer_tools(self, event: events.LlmToolCall, **flags: Any) -> None:
        results = tuple(
            commands.ToolResult(
                tool_call_id=call.id, **self.flagged(flags.get(call.name, {"result": call.name}))
            )
            for call in event.tool_calls
        )
        result = commands.LlmToolResult(call_id="c1", msg_id=event.msg_id, results=results)
        assert self.conversation.handle(result)

    @staticmethod
    def flagged(answer: Any) -> dict[str, Any]:
        return answer if isinstance(answer, dict) else {"result": answer}

    async def say(self, text: str, turn: int = 1) -> str:
        return "".join([piece async for piece in self.conversation.answer(text, turn=turn)])

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def do(self, command: Command) -> Event:
        assert self.conversation.handle(command)
        return self.events[-1]

    @property
    def history(self) -> list[dict[str, Any]]:
        return self.conversation.history


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


async def first_of(pieces: AsyncIterator[str]) -> str:
    return await anext(pieces)


# -- replies ---------------------------------------------------------------------------


async def test_a_reply_streams_and_only_what_was_heard_enters_the_history() -> None:
    session = Session(ScriptModel([{"say": "You said: {text}"}]))
    assert await session.say("Hello?") == "You said: Hello?"
    assert session.history == [user("Hello?")]
    session.conversation.confirm("You said:")
    assert session.history == [user("Hello?"), assistant("You said:")]


async def test_without_a_model_the_application_answers() -> None:
    session = Session(None, preparing=True)
    assert await session.say("Hello?") == ""
    assert session.history == [user("Hello?")]
    assert session.events == []


async def test_the_system_prompt_leads_each_request_and_never_enters_the_history() -> None:
    model = Fake(["Hi"])
    session = Session(model, prompt="Be kind, {{name}}.", vars={"name": "Ana"}, raw_prompt=True)
    await session.say("Hello?")
    assert model.requests[0].messages == [
        {"role": "system", "content": "Be kind, Ana."},
        user("Hello?"),
    ]


async def test_an_empty_prompt_is_not_sent() -> None:
    model = Fake(["Hi"])
    await Session(model, raw_prompt=True).say("Hello?")
    assert model.requests[0].messages == [user("Hello?")]


async def test_the_llm_object_says_temperature_limit_and_prompt() -> None:
    llm = {"provider": "openai", "model": "m", "temperature": 0.5, "max_tokens": 9, "prompt": "P"}
    model = Fake(["Hi"])
    await Session(model, llm=llm, raw_prompt=True).say("Hello?")
    request = model.requests[0]
    assert (request.temperature, request.max_tokens) == (0.5, 9)
    assert request.messages[0] == {"role": "system", "content": "P"}


async def test_a_provider_that_fails_ends_the_reply_with_llm_error() -> None:
    model = Fake(["Well, ", EngineError("the model broke", fix="try again", code="llm")])
    session = Session(model)
    assert await session.say("Hello?", turn=3) == "Well, "
    assert session.events == [
        events.LlmError(error="the model broke; try again", code="llm", turn=3)
    ]
    assert session.history == [user("Hello?")]


async def test_marks_say_when_the_generation_and_its_first_word_came() -> None:
    model = Fake([ToolCall("c1", "a", "{}")], ["Hi", " there"])
    session = Session(model, tools={})
    await session.say("Hello?")
    assert session.marks == ["barrier", "tools", "first_token"]


async def test_a_script_that_lacks_a_value_reports_it_as_llm_error() -> None:
    session = Session(ScriptModel([{"say": "It is {result.eta}.", "at": "a.script.yaml:3"}]))
    assert await session.say("When?") == "It is ."
    assert "a.script.yaml:3" in session.of(events.LlmError)[0].error


# -- tools -------------------------------------------------------------------------------


async def test_a_round_of_tools_goes_out_once_and_its_results_come_back_to_the_model() -> None:
    calls = [ToolCall("c1", "order", '{"id": 1}'), ToolCall("c2", "weather", "{}")]
    model = Fake(calls, ["Shipped."])
    session = Session(model, tools={"order": {"result": {"status": "shipped"}}}, raw_prompt=True)
    assert await session.say("Where is it?") == "Shipped."
    (called,) = session.of(events.LlmToolCall)
    assert called.tool_calls == (
        events.ToolCall(id="c1", name="order", arguments='{"id": 1}'),
        events.ToolCall(id="c2", name="weather", arguments="{}"),
    )
    assert session.of(events.LlmToolResult) == [
        events.LlmToolResult(tool_call_id="c1", name="order", result={"status": "shipped"}),
        events.LlmToolResult(tool_call_id="c2", name="weather", result="weather"),
    ]
    expected = [
        user("Where is it?"),
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "order", "arguments": '{"id": 1}'},
                },
                {
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "weather", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"status":"shipped"}'},
        {"role": "tool", "tool_call_id": "c2", "content": '"weather"'},
    ]
    assert list(model.requests[1].messages) == expected
    assert session.history == expected


async def test_every_round_has_a_fresh_msg_id() -> None:
    model = Fake([ToolCall("c1", "a", "{}")], [ToolCall("c2", "a", "{}")], ["Done."])
    session = Session(model, tools={})
    await session.say("Go")
    first, second = session.of(events.LlmToolCall)
    assert first.msg_id != second.msg_id


async def test_call_ids_that_a_provider_uses_again_are_made_unique() -> None:
    model = Fake([ToolCall("call_0", "a", "{}")], ["A"], [ToolCall("call_0", "a", "{}")], ["B"])
    session = Session(model, tools={})
    await session.say("One", turn=1)
    await session.say("Two", turn=2)
    another = Session(Fake([ToolCall("call_0", "a", "{}")], ["A"]), tools={})
    await another.say("One", turn=1)
    calls = [*session.of(events.LlmToolCall), *another.of(events.LlmToolCall)]
    ids = [call.id for event in calls for call in event.tool_calls]
    assert len(set(ids)) == 3  # a page knows the calls of several sessions by these alone


async def test_words_before_a_tool_call_are_a_line_of_their_own_before_the_tool_is_asked() -> None:
    model = Fake(["Let me ", "see.", ToolCall("c1", "a", "{}")], ["Found it."])
    session = Session(model, tools={})
    said = []
    async for piece in session.conversation.answer("Go", turn=1):
        said.append((piece, len(session.of(events.LlmToolCall))))
    assert said == [("Let me ", 0), ("see.", 0), ("\n", 0), ("Found it.", 1)]


async def test_words_before_a_tool_call_are_shown_to_the_model_but_kept_only_when_heard() -> None:
    model = Fake(["Let me see. ", ToolCall("c1", "a", "{}")], ["Found it."])
    session = Session(model, tools={}, raw_prompt=True)
    assert await session.say("Go") == "Let me see. \nFound it."
    assert model.requests[1].messages[1]["content"] == "Let me see. "
    session.conversation.confirm("Let me see. Found it.")
    assert [message["content"] for message in session.history] == [
        "Go",
        None,
        '"a"',
        "Let me see. Found it.",
    ]
    assert session.marks == ["barrier", "first_token"]


async def test_an_ephemeral_result_serves_this_reply_and_leaves_no_trace() -> None:
    calls = [ToolCall("c1", "secret", "{}"), ToolCall("c2", "open", "{}")]
    model = Fake(calls, ["Told."], ["Later."])
    session = Session(
        model, tools={"secret": {"result": "1234", "ephemeral": True}}, raw_prompt=True
    )
    await session.say("Go", turn=1)
    assert any("1234" in str(message) for message in model.requests[1].messages)
    await session.say("And?", turn=2)
    assert not any("1234" in str(message) for message in model.requests[2].messages)
    assert [call["id"] for call in session.history[1]["tool_calls"]] == ["c2"]


async def test_a_round_that_is_ephemeral_as_a_whole_is_not_in_the_history() -> None:
    model = Fake([ToolCall("c1", "secret", "{}")], ["Told."])
    session = Session(model, tools={"secret": {"result": 1, "ephemeral": True}})
    await session.say("Go")
    assert session.history == [user("Go")]


async def test_no_followup_skips_the_reply_only_if_every_tool_of_the_round_says_so() -> None:
    quiet = {"result": 1, "no_followup": True}
    both = [ToolCall("c1", "a", "{}"), ToolCall("c2", "b", "{}")]
    model = Fake(both, ["Spoken."])
    assert await Session(model, tools={"a": quiet}).say("Go") == "Spoken."
    model = Fake(both)
    assert await Session(model, tools={"a": quiet, "b": quiet}).say("Go") == ""


async def test_a_tool_without_an_answer_times_out_and_the_reply_goes_on() -> None:
    model = Fake([ToolCall("c1", "slow", "{}")], ["Sorry."])
    session = Session(model)
    since = asyncio.get_running_loop().time()
    assert await session.say("Go") == "Sorry."
    assert asyncio.get_running_loop().time() - since == pytest.approx(30)
    assert session.history[2]["content"] == '{"error":"timeout"}'
    assert session.of(events.LlmToolResult)[0].result == {"error": "timeout"}
    assert "`slow`" in session.of(events.LlmError)[0].error


async def test_results_that_come_in_pieces_are_waited_for_and_strangers_are_ignored() -> None:
    model = Fake([ToolCall("c1", "a", "{}"), ToolCall("c2", "b", "{}")], ["Done."])
    session = Session(model)
    reply = asyncio.ensure_future(session.say("Go"))
    await session.called.wait()
    msg_id = session.of(events.LlmToolCall)[0].msg_id
    for msg, call in [("msg_other", "c1"), (msg_id, "c9"), (msg_id, "c2"), (msg_id, "c2")]:
        result = commands.ToolResult(tool_call_id=call, result=call)
        session.conversation.handle(
            commands.LlmToolResult(call_id="c", msg_id=msg, results=(result,))
        )
    assert len(session.history) == 1
    last = commands.ToolResult(tool_call_id="c1")
    session.conversation.handle(commands.LlmToolResult(call_id="c", msg_id=msg_id, results=(last,)))
    assert await reply == "Done."
    assert [message.get("content") for message in session.history[2:]] == ["null", '"c2"']


async def test_a_model_that_calls_tools_in_a_circle_is_stopped() -> None:
    rounds: list[Answer] = [[ToolCall(f"c{n}", "a", "{}")] for n in range(MOST_ROUNDS)]
    session = Session(Fake(*rounds), tools={})
    assert await session.say("Go") == ""
    assert "stopped" in session.of(events.LlmError)[0].error


async def test_the_built_in_script_calls_a_tool_and_says_its_result() -> None:
    session = Session(BuiltInScript(), tools={"look_up": {"result": {"status": "shipped"}}})
    assert await session.say('tool look_up {"id": 1}') == '{"status": "shipped"}'


# -- interruptions -------------------------------------------------------------------------


async def test_closing_the_reply_closes_the_models_stream_at_once() -> None:
    model = Fake(["One ", "two ", "three"])
    session = Session(model)
    async with aclosing(session.conversation.answer("Go", turn=1)) as pieces:
        assert await first_of(pieces) == "One "
    assert model.closed == 1
    assert session.history == [user("Go")]


async def test_a_continuation_takes_the_whole_exchange_out_of_the_history() -> None:
    model = Fake([ToolCall("c1", "a", "{}")], ["Done."], ["All."])
    session = Session(model, tools={})
    session.conversation.add("assistant", "Hi, how can I help?")
    await session.say("Book a")
    session.conversation.confirm("Do")
    session.conversation.retract()
    session.conversation.retract()
    assert session.history == [assistant("Hi, how can I help?")]
    await session.say("Book a table")
    assert [message for message in session.history if message["role"] == "user"] == [
        user("Book a table")
    ]


async def test_a_continuation_takes_back_a_turn_that_the_application_answers() -> None:
    session = Session(None)
    session.conversation.add("user", "Book a")
    session.conversation.retract()
    assert session.history == []


async def test_a_cancelled_reply_leaves_no_call_without_its_result() -> None:
    session = Session(Fake([ToolCall("c1", "slow", "{}")]))
    reply = asyncio.ensure_future(session.say("Go"))
    await session.called.wait()
    reply.cancel()
    with suppress(asyncio.CancelledError):
        await reply
    assert session.history == [user("Go")]


async def test_a_result_that_comes_after_the_interruption_is_remembered_in_its_place() -> None:
    session = Session(Fake(["Booking. ", ToolCall("c1", "book", "{}")], ["It is booked."]))
    reply = asyncio.ensure_future(session.say("Book it"))
    await session.called.wait()
    reply.cancel()
    with suppress(asyncio.CancelledError):
        await reply
    session.conversation.confirm("Booking.")
    await session.say("Is it done?", turn=2)
    session.answer_tools(session.of(events.LlmToolCall)[0], book="booked")
    assert [message["role"] for message in session.history] == [
        *("user", "assistant", "tool", "assistant", "user")
    ]
    assert session.history[2]["content"] == '"booked"'


async def test_a_late_result_of_a_retracted_turn_leaves_no_trace() -> None:
    session = Session(Fake([ToolCall("c1", "book", "{}")]))
    reply = asyncio.ensure_future(session.say("Book it"))
    await session.called.wait()
    reply.cancel()
    session.conversation.retract()
    with suppress(asyncio.CancelledError):
        await reply
    session.answer_tools(session.of(events.LlmToolCall)[0])
    assert session.history == []


# -- the barrier -----------------------------------------------------------------------------


async def test_variables_set_while_the_generation_is_held_are_in_that_very_prompt() -> None:
    model = Fake(["Hi"])
    session = Session(model, prompt="For {{name}}", raw_prompt=True, preparing=True)

    def client(event: Event) -> None:
        if isinstance(event, events.LlmBefore):
            session.conversation.handle(commands.HistorySetVars(call_id="c1", vars={"name": "Ana"}))
            session.conversation.handle(commands.LlmReady(call_id="c1", turn=7))

    session.react = client
    await session.say("Hello?", turn=7)
    assert session.of(events.LlmBefore) == [events.LlmBefore(turn=7)]
    assert model.requests[0].messages[0]["content"] == "For Ana"
    assert session.of(events.LlmPreparingTimeout) == []


@pytest.mark.parametrize(
    ("preparing", "budget"), [(True, 1500), ({"timeout_ms": 800}, 800), ({"timeout_ms": 9e9}, 5000)]
)
async def test_an_agent_that_asked_for_the_barrier_is_told_whenever_its_time_is_up(
    preparing: Any, budget: int
) -> None:
    session = Session(Fake(*[["Hi"]] * 5), preparing=preparing)
    for turn in range(1, 6):
        await session.say("Hello?", turn=turn)
    assert session.of(events.LlmPreparingTimeout) == [
        events.LlmPreparingTimeout(turn=turn, waited_ms=budget, budget_ms=budget)
        for turn in range(1, 6)
    ]


async def test_an_agent_that_did_not_ask_is_waited_for_until_it_missed_three_in_a_row() -> None:
    session = Session(Fake(*[["Hi"]] * 8), preparing=None)
    loop = asyncio.get_running_loop()
    waited = []
    for turn in range(1, 9):
        if turn == 3:
            session.react = lambda event: (
                isinstance(event, events.LlmBefore)
                and session.do(commands.LlmReady(call_id="c1", turn=3))
            )
        since = loop.time()
        await session.say("Hello?", turn=turn)
        waited.append(round((loop.time() - since) * 1000))
    assert waited == [150, 150, 0, 150, 150, 150, 0, 0]
    assert len(session.of(events.LlmBefore)) == 8
    assert session.of(events.LlmPreparingTimeout) == []


@pytest.mark.parametrize("preparing", [False, {"enabled": False}])
async def test_the_barrier_can_be_switched_off(preparing: Any) -> None:
    session = Session(Fake(["Hi"]), preparing=preparing)
    await session.say("Hello?")
    assert session.events == []


@pytest.mark.parametrize(
    ("channel", "preparing", "held"), [("chat", None, 0), ("chat", True, 1), ("whatsapp", None, 1)]
)
async def test_text_sessions_are_held_once_at_most(channel: str, preparing: Any, held: int) -> None:
    session = Session(Fake(["Hi"], ["Hi"]), channel=channel, preparing=preparing)

    session.react = lambda _: session.do(commands.LlmReady(call_id="c1"))
    await session.say("One", turn=1)
    await session.say("Two", turn=2)
    assert len(session.of(events.LlmBefore)) == held


# -- history commands ------------------------------------------------------------------------


def test_history_commands_are_acknowledged_with_request_call_and_count() -> None:
    session = Session()
    ack = session.do(
        commands.HistoryAdd(call_id="c1", request_id="r1", messages=[user("a"), assistant("b")])
    )
    assert ack == events.HistoryUpdated(call_id="c1", request_id="r1", count=2)
    data = session.do(commands.HistoryGet(call_id="c1", request_id="r2"))
    assert data == events.HistoryData(
        call_id="c1", request_id="r2", messages=[user("a"), assistant("b")]
    )
    ack = session.do(commands.HistorySet(call_id="c1", request_id="r3", messages=[user("z")]))
    assert ack == events.HistoryUpdated(call_id="c1", request_id="r3", count=1)
    assert session.do(commands.HistoryClear(call_id="c1")) == events.HistoryUpdated(
        call_id="c1", count=0
    )


def test_a_refused_change_is_acknowledged_with_an_error_and_changes_nothing() -> None:
    session = Session()
    session.do(commands.HistoryAdd(call_id="c1", messages=[user("a")]))
    ack = session.do(commands.HistorySet(call_id="c1", messages=[{"role": "boss"}]))
    assert isinstance(ack, events.HistoryUpdated)
    assert "role" in str(ack.error)
    assert ack.count == 1
    long = session.do(commands.HistorySetInstructions(call_id="c1", prompt="x" * 300_000))
    assert isinstance(long, events.HistoryUpdated)
    assert "prompt" in str(long.error)


def test_what_history_get_hands_out_cannot_change_the_history() -> None:
    session = Session()
    session.do(commands.HistoryAdd(call_id="c1", messages=[user("a")]))
    data = session.do(commands.HistoryGet(call_id="c1"))
    assert isinstance(data, events.HistoryData)
    data.messages[0]["content"] = "b"
    assert session.history == [user("a")]


def test_commands_of_other_families_are_left_to_the_session() -> None:
    session = Session()
    assert not session.conversation.handle(commands.CallHangup(call_id="c1"))
    assert session.events == []


async def test_the_prompt_is_replaced_for_the_next_generation() -> None:
    model = Fake(["A"], ["B"], ["C"])
    session = Session(model, prompt="one", raw_prompt=True)
    await session.say("1", turn=1)
    session.do(commands.HistorySetInstructions(call_id="c1", prompt="two {{x}}"))
    session.do(commands.HistorySetVars(call_id="c1", vars={"x": "X"}))
    session.do(commands.HistoryAddContext(call_id="c1", text="More."))
    session.do(commands.SetContext(call_id="c1", key="cart", value={"n": 1}))
    session.events.clear()
    await session.say("2", turn=2)
    session.conversation.set_context("cart", None)
    session.conversation.configure({"prompt": "three"}, session.conversation.model)
    await session.say("3", turn=3)
    prompts = [request.messages[0]["content"] for request in model.requests]
    assert prompts[0] == "one"
    assert prompts[1] == 'two X\n\nMore.\n\n## UI Context\n\n### cart\n{\n  "n": 1\n}'
    assert prompts[2] == "three\n\nMore."


async def test_a_new_configuration_in_the_middle_of_a_reply_leaves_its_model_alone() -> None:
    first, second = Fake(["One ", "two"]), Fake(["Three"])
    session = Session(first, prompt="one", raw_prompt=True)
    pieces = session.conversation.answer("Go", turn=1)
    got = [await anext(pieces)]
    session.conversation.configure({"prompt": "two"}, second)
    got += [piece async for piece in pieces]
    assert "".join(got) == "One two"
    assert await session.say("Next", turn=2) == "Three"
    assert second.requests[0].messages[0]["content"] == "two"


async def test_a_history_replaced_in_the_middle_of_a_reply_does_not_break_it() -> None:
    model = Fake([ToolCall("c1", "a", "{}")], ["Done."])
    session = Session(model, raw_prompt=True)
    reply = asyncio.ensure_future(session.say("Go"))
    await session.called.wait()
    session.do(commands.HistorySet(call_id="c1", messages=[user("before")]))
    session.answer_tools(session.of(events.LlmToolCall)[0])
    assert await reply == "Done."
    assert [message["role"] for message in model.requests[1].messages] == [
        *("user", "user", "assistant", "tool")
    ]
    session.conversation.confirm("Done.")
    assert session.history == [user("before"), assistant("Done.")]


async def test_restored_messages_without_their_counterparts_are_not_shown_to_a_provider() -> None:
    model = Fake(["Hi"])
    session = Session(model, raw_prompt=True)
    orphan = {"role": "assistant", "tool_calls": [{"id": "x", "name": "a", "arguments": "{}"}]}
    session.do(commands.HistorySet(call_id="c1", messages=[user("old"), orphan]))
    await session.say("Hello?")
    assert model.requests[0].messages == [user("old"), user("Hello?")]
    assert len(session.history) == 3


# -- skills ------------------------------------------------------------------------------------

BOOKING = {
    "name": "booking",
    "description": "Book a table",
    "instructions": "Ask for {{what}}.",
    "tools": [{"type": "function", "function": {"name": "book", "parameters": {}}}],
    "activation": "model",
}


async def test_the_model_loads_a_skill_and_gets_its_instructions_and_tools_in_the_next_round() -> (
    None
):
    model = Fake([ToolCall("c1", "loadSkill", '{"name": "booking"}')], ["For how many?"])
    session = Session(model, skills=[BOOKING], vars={"what": "the time"}, tools={})
    assert await session.say("A table, please") == "For how many?"
    assert session.of(events.LlmToolCall) == []
    assert session.of(events.SkillLoaded) == [events.SkillLoaded(skill="booking", by="model")]
    names = [[tool["function"]["name"] for tool in request.tools] for request in model.requests]
    assert names == [["loadSkill"], ["book", "unloadSkill"]]
    assert "Ask for the time." not in model.requests[0].messages[0]["content"]
    assert "Ask for the time." in model.requests[1].messages[0]["content"]
    assert "booking: Book a table" in model.requests[0].messages[0]["content"]


async def test_a_round_of_own_and_foreign_tools_asks_the_client_for_the_latter_alone() -> None:
    both = [ToolCall("c1", "loadSkill", '{"name": "nope"}'), ToolCall("c2", "a", "{}")]
    session = Session(Fake(both, ["Done."]), skills=[BOOKING], tools={})
    await session.say("Go")
    (called,) = session.of(events.LlmToolCall)
    assert [call.name for call in called.tool_calls] == ["a"]
    assert "no skill" in session.history[2]["content"]


async def test_the_application_loads_and_unloads_a_skill() -> None:
    session = Session(Fake(["A"]), skills=[{**BOOKING, "activation": "manual"}], raw_prompt=True)
    loaded = session.do(commands.SkillLoad(call_id="c1", skill="booking"))
    assert loaded == events.SkillLoaded(skill="booking", by="manual")
    assert session.conversation.system_prompt() == "## Skill: booking\nAsk for ."
    unloaded = session.do(commands.SkillUnload(call_id="c1", skill="booking"))
    assert unloaded == events.SkillUnloaded(skill="booking", by="manual")
    assert session.conversation.system_prompt() == ""
    unknown = session.do(commands.SkillLoad(call_id="c1", skill="cooking"))
    assert isinstance(unknown, events.LlmError)


async def test_a_skill_that_is_always_on_is_there_without_an_event() -> None:
    model = Fake(["A"])
    session = Session(model, skills=[{**BOOKING, "activation": "always"}])
    await session.say("Go")
    assert [tool["function"]["name"] for tool in model.requests[0].tools] == ["book"]
    assert session.events == []


async def test_the_model_unloads_what_it_loaded_and_may_not_load_what_is_manual() -> None:
    manual = {**BOOKING, "name": "hidden", "activation": "manual"}
    model = Fake(
        [ToolCall("c1", "loadSkill", '{"name": "booking"}')],
        [ToolCall("c2", "loadSkill", '{"name": "booking"}')],
        [ToolCall("c3", "unloadSkill", '{"name": "booking"}')],
        [ToolCall("c4", "loadSkill", '{"name": "hidden"}'), ToolCall("c5", "loadSkill", "broken")],
        ["Done."],
    )
    session = Session(model, skills=[BOOKING, manual])
    await session.say("Go")
    assert session.events == [
        events.SkillLoaded(skill="booking", by="model"),
        events.SkillUnloaded(skill="booking", by="model"),
    ]
    results = [message["content"] for message in session.history if message["role"] == "tool"]
    assert results[:3] == [
        '{"loaded":"booking"}',
        '{"loaded":"booking"}',
        '{"unloaded":"booking"}',
    ]
    assert all("no skill" in result for result in results[3:])


async def test_a_context_that_is_too_long_is_refused_aloud() -> None:
    session = Session()
    session.conversation.set_context("page", "x" * 300_000)
    assert "`page`" in session.of(events.LlmError)[0].error
    assert "UI Context" not in session.conversation.system_prompt()


async def test_closing_a_conversation_closes_the_models_it_had() -> None:
    class Connected(Fake):
        async def aclose(self) -> None:
            self.closed += 100

    first, second = Connected(["Hi"]), Connected()
    session = Session(first)
    await session.say("Hello?")
    session.conversation.configure({}, second)
    await session.conversation.aclose()
    assert (first.closed, second.closed) == (101, 100)


def test_a_greeting_is_expanded_as_the_prompt_is() -> None:
    session = Session(vars={"company": "Acme"})
    assert session.conversation.expand("Hi, {{company}}, {{day}}.") == "Hi, Acme, Friday."


# -- anything at any moment ----------------------------------------------------------------------


def operations() -> st.SearchStrategy[list[str]]:
    kinds = ("step", "say", "cancel", "retract", "confirm", "tool", "clear", "set", "add")
    return st.lists(st.sampled_from(kinds), max_size=30)


def tool_messages_follow_their_calls(messages: Sequence[Mapping[str, Any]]) -> bool:
    wanted: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            if not wanted or message["tool_call_id"] != wanted.pop(0):
                return False
        elif wanted:
            return False
        else:
            wanted = [call["id"] for call in message.get("tool_calls") or ()]
    return not wanted


@settings(max_examples=60, deadline=None)
@given(operations())
def test_whatever_happens_no_history_holds_half_a_round(kinds: list[str]) -> None:
    def answers() -> Iterator[Answer]:
        while True:
            yield ["Let me see. ", ToolCall("", "a", "{}"), ToolCall("", "b", "{}")]
            yield ["It is ", "done."]

    class Endless(Fake):
        async def stream(self, request: ModelRequest) -> AsyncIterator[str | ToolCall]:
            assert tool_messages_follow_their_calls(request.messages)
            self.answers.append(next(endless))
            async for piece in super().stream(request):
                yield piece

    endless = answers()

    async def play() -> None:
        session = Session(Endless())
        running: asyncio.Task[str] | None = None
        told = 0
        for number, kind in enumerate(kinds):
            match kind:
                case "step":
                    for _ in range(3):
                        await asyncio.sleep(0)
                case "say":
                    if running is not None:
                        running.cancel()
                    running = asyncio.ensure_future(session.say(f"turn {number}"))
                case "cancel" if running is not None:
                    running.cancel()
                case "retract":
                    session.conversation.retract()
                case "confirm":
                    session.conversation.confirm("heard")
                case "tool":
                    calls = session.of(events.LlmToolCall)
                    if told < len(calls):
                        session.answer_tools(calls[told])
                        told += 1
                case "clear":
                    session.do(commands.HistoryClear(call_id="c1"))
                case "set":
                    session.do(commands.HistorySet(call_id="c1", messages=[user("restored")]))
                case "add":
                    session.conversation.add("assistant", "Hello!")
            assert tool_messages_follow_their_calls(session.history)
            assert usable(session.history) == usable(usable(session.history))
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    asyncio.run(play())
