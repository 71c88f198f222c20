from pinecall_cli.call.records import (
    AgentEntry,
    DevReady,
    DevReconnected,
    DevReconnecting,
    DevReloaded,
    DevReloadFailed,
    DevStopped,
    EngineNotice,
    FileProblem,
)
from pinecall_cli.call.session import AgentState, SessionState, advance
from pinecall_cli.call.state import CallState, Notice
from pinecall_cli.protocol import commands
from pinecall_cli.protocol.frames import Unknown
from tests.call.conversations import START, frame, order_call

READY = DevReady(
    at=START,
    agents=(AgentEntry(agent="front-desk", file="agents/front_desk.yaml", phones=("+1318",)),),
    server="http://127.0.0.1:4747",
    local=True,
)
PROBLEM = FileProblem(code="unknown_key", message="unknown key `vioce`", line=4, column=1)
FAILED = DevReloadFailed(at=START, agent="front-desk", file="a.yaml", errors=(PROBLEM,))


def begun() -> SessionState:
    return advance(SessionState(agents=(AgentState(slug="front-desk"),)), READY)


def test_ready_says_where_the_agents_are():
    session = begun()
    assert session.ready
    assert session.local
    assert session.started_at == START
    [agent] = session.agents
    assert (agent.state, agent.file, agent.phones) == (
        "registered",
        "agents/front_desk.yaml",
        ("+1318",),
    )
    assert [entry.what for entry in session.feed] == [READY]


def test_frames_find_their_call_and_their_agent():
    session = begun()
    for one in order_call():
        session = advance(session, one.frame)
    [call] = session.calls
    assert (call.call_id, call.agent, call.ended) == ("c1", "front-desk", True)
    other = frame("call.started", agent_id="org:Front Desk", call_id="c2", from_="a", to="b")
    session = advance(session, other)
    assert session.live[0].agent == "front-desk"
    stranger = frame("call.started", agent_id="sales", call_id="c3", from_="a", to="b")
    assert advance(session, stranger).live[1].agent == "sales"


def test_a_chat_is_found_by_its_session_id():
    session = advance(SessionState(), frame("llm.chat.token", call_id="", session_id="test-1"))
    assert session.live[0].call_id == "test-1"


def test_what_is_no_part_of_a_call_opens_none():
    session = begun()
    for event in ("session.configured", "history.updated", "ping", "error"):
        assert advance(session, frame(event)).calls == ()
    sent = commands.LlmToolResult(call_id="c9", msg_id="r", results=())
    assert advance(session, sent).calls == ()
    assert advance(session, Unknown("x", {"call_id": "c9"})).calls == ()


def test_a_session_begins_with_its_first_time():
    assert advance(SessionState(), frame("connected"), at=7.0).started_at == 7.0
    assert advance(SessionState(), frame("connected")).started_at is None


def test_registrations_come_and_go():
    session = SessionState(agents=(AgentState(slug="front-desk"), AgentState(slug="other")))
    session = advance(session, frame("agent.created"))
    assert [agent.state for agent in session.agents] == ["registered", "starting"]
    session = advance(session, frame("agent.removed"))
    assert session.agents[0].state == "removed"
    session = advance(session, frame("agent.resumed"))
    assert session.agents[0].state == "registered"
    session = advance(session, frame("agent.displaced", reason="Kicked via API"))
    assert (session.agents[0].state, session.agents[0].detail) == ("removed", "Kicked via API")
    assert session.feed[-1].what.text == "front-desk was taken off the server: Kicked via API"


def refused(code: str | None, text: str, **fields: object) -> SessionState:
    stamped = {"code": code} if code else {}
    return advance(begun(), frame("error", error=text, call_id="", **stamped, **fields))


def test_refusals_are_told_and_remembered_by_their_agent():
    session = refused("AGENT_CONFLICT_FATAL", "held by pid 7")
    assert (session.agents[0].state, session.agents[0].detail) == ("conflict", "held by pid 7")
    assert session.feed[-1].what == Notice(
        at=None, text="AGENT_CONFLICT_FATAL: held by pid 7", level="error"
    )
    assert refused("SERVER_AT_CAPACITY", "full").agents[0].state == "error"
    assert refused("PHONE_IN_USE", "PHONE_IN_USE: +1").agents[0].state == "registered"


def test_an_error_says_its_code_once():
    texts = [
        refused("X", "X: broken").feed[-1].what,
        refused(None, "broken").feed[-1].what,
        refused(None, "", agent_id=None).feed[-1].what,
    ]
    assert [notice.text for notice in texts] == ["X: broken", "broken", "error"]


def test_an_error_of_a_call_is_a_line_of_that_call():
    session = advance(begun(), frame("call.started", from_="a", to="b"))
    session = advance(session, frame("error", error="no such call", code="CALL_NOT_FOUND"))
    assert session.feed[-1].call_id == "c1"
    assert session.feed[-1].what == Notice(text="no such call", level="error")


def test_a_broken_file_stays_on_screen_until_it_is_mended():
    session = advance(advance(begun(), FAILED), FAILED)
    assert session.broken == (FAILED,)
    other = DevReloaded(at=START, agent="other", files=("b.yaml",), changed=(), applied_ms=1)
    session = advance(session, other)
    assert session.broken == (FAILED,)
    mended = DevReloaded(
        at=START, agent="front-desk", files=("p.md",), changed=("prompt",), applied_ms=80
    )
    assert advance(session, mended).broken == ()


def test_a_file_of_no_agent_is_mended_by_its_name():
    failed = DevReloadFailed(at=START, file="a.yaml", errors=(PROBLEM,))
    mended = DevReloaded(at=START, agent="x", files=("a.yaml",), changed=(), applied_ms=1)
    assert advance(advance(begun(), failed), mended).broken == ()


def test_a_lost_connection_is_told_once_and_its_return_too():
    session = begun()
    for attempt in (1, 2, 3):
        record = DevReconnecting(at=START, attempt=attempt, delay_ms=1000)
        session = advance(session, record)
    assert not session.connected
    assert session.reconnecting == record
    session = advance(session, DevReconnected(at=START + 9))
    assert session.connected
    assert session.reconnecting is None
    assert [entry.what.type for entry in session.feed] == [
        "dev.ready",
        "dev.reconnecting",
        "dev.reconnected",
    ]


def test_a_lost_connection_ends_the_calls_until_the_server_names_them_again():
    session = begun()
    for id in ("c1", "c2"):
        session = advance(session, frame("call.started", call_id=id, from_="a", to="b"))
    for attempt in (1, 2):
        lost = DevReconnecting(at=START, attempt=attempt, delay_ms=1000)
        session = advance(session, lost)
    assert session.live == ()
    assert [call.reason for call in session.calls] == ["connection_lost"] * 2
    session = advance(session, frame("call.started", call_id="c2", from_="a", to="b"))
    [call] = session.live
    assert (call.call_id, call.phase, call.reason) == ("c2", "listening", None)


def test_a_call_that_was_hung_up_does_not_come_back():
    session = begun()
    for event in ("call.started", "call.ended", "call.started"):
        session = advance(session, frame(event, from_="a", to="b"))
    assert session.live == ()


def test_engines_that_load_are_a_state_and_what_they_say_is_a_line():
    loading = EngineNotice(at=START, text="loading the voice", loading=True)
    session = advance(begun(), loading)
    assert session.engines == loading
    session = advance(session, EngineNotice(at=START, text="voice ready in 1.2 s"))
    assert session.engines is None
    assert session.feed[-1].what.text == "voice ready in 1.2 s"


def test_other_records_are_entries_as_they_are():
    stopped = DevStopped(at=START, reason="interrupted")
    assert advance(begun(), stopped).feed[-1].what == stopped


def test_calls_are_found_by_their_id():
    session = SessionState(calls=(CallState(call_id="a"), CallState(call_id="b")))
    assert session.call("a") is session.calls[0]
    assert session.call("c") is None
