import pytest

from pinecall_cli.call.records import (
    AgentEntry,
    DevReady,
    DevReconnected,
    DevReconnecting,
    DevReloaded,
    DevReloadFailed,
    DevStopped,
    EngineNotice,
    ErrorRecord,
    FileProblem,
    Record,
    spread,
    summary,
)
from pinecall_cli.call.state import CallState
from pinecall_cli.errors import UsageError, Where
from tests.call.conversations import folded, order_call

PROBLEM = FileProblem(code="c", message="m", line=4, column=1, hint="h", file="prompts/p.md")


@pytest.mark.parametrize(
    ("record", "type", "fields"),
    [
        (
            DevReady(
                at=1,
                agents=(AgentEntry(agent="a", file="a.yaml", phones=("+1",)),),
                server="http://127.0.0.1:1",
                local=True,
            ),
            "dev.ready",
            {
                "agents": [{"agent": "a", "file": "a.yaml", "phones": ["+1"]}],
                "server": "http://127.0.0.1:1",
                "local": True,
            },
        ),
        (
            DevReloaded(
                at=1, agent="a", files=("p.md",), changed=("prompt",), calls=("c1",), applied_ms=84
            ),
            "dev.reloaded",
            {"files": ["p.md"], "changed": ["prompt"], "calls": ["c1"], "applied_ms": 84},
        ),
        (
            DevReloaded(
                at=1,
                agent="a",
                files=(),
                changed=(),
                applied_ms=1,
                prompt_diff="+x",
                notes=("greeting: next call",),
            ),
            "dev.reloaded",
            {
                "files": [],
                "changed": [],
                "calls": [],
                "applied_ms": 1,
                "prompt_diff": "+x",
                "notes": ["greeting: next call"],
            },
        ),
        (
            DevReloadFailed(at=1, agent="a", file="a.yaml", errors=(PROBLEM,)),
            "dev.reload_failed",
            {
                "file": "a.yaml",
                "errors": [
                    {
                        "code": "c",
                        "message": "m",
                        "line": 4,
                        "column": 1,
                        "hint": "h",
                        "file": "prompts/p.md",
                    }
                ],
            },
        ),
        (
            DevReconnecting(at=1, attempt=2, delay_ms=2000),
            "dev.reconnecting",
            {"attempt": 2, "delay_ms": 2000},
        ),
        (DevReconnected(at=1), "dev.reconnected", {}),
        (DevStopped(at=1, reason="interrupted"), "dev.stopped", {"reason": "interrupted"}),
        (EngineNotice(at=1, text="x"), "engine.notice", {"text": "x", "loading": False}),
        (
            ErrorRecord.of(UsageError("no", fix="do"), at=1),
            "error",
            {"error": {"code": "usage", "message": "no", "hint": "do"}},
        ),
        (
            ErrorRecord.of(UsageError("no", where=Where("a.yaml", 4, 1)), at=1),
            "error",
            {"error": {"code": "usage", "message": "no", "hint": None, "where": "a.yaml:4:1"}},
        ),
    ],
)
def test_records_have_the_keys_of_the_contract(
    record: Record, type: str, fields: dict[str, object]
):
    assert record.type == type
    assert record.fields() == fields


def test_a_problem_of_the_agents_own_file_does_not_repeat_it():
    record = DevReloadFailed(at=1, file="prompts/p.md", errors=(PROBLEM,))
    assert "file" not in record.fields()["errors"][0]


def test_a_summary_says_how_the_call_went():
    record = summary(folded(one.frame for one in order_call()), at=1)
    assert record.agent == "front-desk"
    assert record.fields() == {
        "call_id": "c1",
        "reason": "hangup",
        "duration_s": 2.2,
        "turns": 1,
        "latency_ms": {"p50": 493, "p95": 493, "n": 1},
    }


def test_a_summary_of_nothing_says_so():
    record = summary(CallState(call_id="c1"), at=1)
    assert record.fields() == {
        "call_id": "c1",
        "reason": "unknown",
        "duration_s": None,
        "turns": 0,
        "latency_ms": None,
    }


def test_percentiles_are_latencies_that_were_measured():
    found = spread([100, 400, 200, 300])
    assert found is not None
    assert (found.p50, found.p95, found.n) == (200, 400, 4)
    many = spread(range(1, 101))
    assert many is not None
    assert (many.p50, many.p95) == (50, 95)
