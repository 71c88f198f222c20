"""Our own records as rows: header, reload receipts, errors with their place, connection."""

from __future__ import annotations

from rich.text import Text

from pinecall_cli.call.records import (
    CallSummary,
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
)
from pinecall_cli.call.session import SessionState
from pinecall_cli.view.header import header_rows
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.rows import Row
from pinecall_cli.view.text import short_id


def record_rows(record: Record, session: SessionState, ink: Ink) -> list[Row]:
    """Return the rows of a record of ours."""
    match record:
        case DevReady():
            return header_rows(session, ink)
        case DevReloaded():
            return _reloaded(record, session, ink)
        case DevReloadFailed(file=file, errors=errors):
            return [*(problem_row(file, error, ink) for error in errors), _kept(record, ink)]
        case DevReconnecting(delay_ms=delay):
            when = f" in {delay / 1000:.1f} s" if delay >= 50 else ""  # in "0.0 s" is now
            text = f"connection lost; trying again{when}"
            return [Row(ink.text(("! ", "yellow")), Text(text, "yellow"))]
        case DevReconnected():
            return [Row(ink.text(("✓ ", "green")), Text("connected again"))]
        case DevStopped(reason=reason):
            return [Row(ink.text(("· ", "dim")), Text(f"stopped: {ink.safe(reason)}", "dim"))]
        case EngineNotice(text=text):
            return [Row(ink.text(("· ", "dim")), Text(ink.safe(text), "dim"))]
        case CallSummary():
            return [Row(ink.text(("  ↳ ", "dim")), Text(_summed(record, ink), "dim"))]
        case ErrorRecord():
            return _error(record, ink)
        case _:
            return []


def problem_row(file: str, problem: FileProblem, ink: Ink) -> Row:
    """Return an error of a file with its place first, so that a terminal makes it a link."""
    places = [problem.file or file, problem.line, problem.column]
    place = ":".join(str(part) for part in places if part is not None)
    body = Text.assemble((ink.safe(place), "bold"), " ", ink.safe(problem.message, lines=True))
    if problem.hint:
        body.append(ink.own(f" — {ink.safe(problem.hint)}"), "dim")
    return Row(ink.text(("✗ ", "red")), body)


def _kept(record: DevReloadFailed, ink: Ink) -> Row:
    name = ink.safe(record.agent or "the agent")
    return Row(Text("  "), Text(f"{name} goes on as it was until this is fixed", "dim"))


def _reloaded(record: DevReloaded, session: SessionState, ink: Ink) -> list[Row]:
    name = ink.safe(record.agent or "agent")
    changed = ", ".join(ink.safe(key) for key in record.changed) or "nothing changed"
    body = Text.assemble((name, "bold"), " reloaded: ", (changed, "bold"))
    if record.changed or record.calls:  # nothing took no time: the file is as old as it is
        body.append(ink.own(f" · {_took(record, ink)} · {record.applied_ms} ms"), "dim")
    rows = [Row(ink.text(("↻ ", "green")), body)]
    if record.prompt_diff:
        rows.append(Row(Text("  prompt: "), Text(ink.safe(record.prompt_diff))))
    rows.extend(Row(Text("  "), Text(ink.safe(note), "dim")) for note in record.notes)
    return rows


def _took(record: DevReloaded, ink: Ink) -> str:
    match len(record.calls):
        case 0:
            return "new calls"
        case 1:
            return f"call {ink.safe(short_id(record.calls[0]))} from its next turn, and new calls"
        case many:
            return f"{many} calls from their next turn, and new calls"


def _summed(record: CallSummary, ink: Ink) -> str:
    turns = "1 turn" if record.turns == 1 else f"{record.turns} turns"
    if record.latency_ms is None:
        return turns
    spread = record.latency_ms
    return ink.own(f"{turns} · latency p50 {spread.p50} ms, p95 {spread.p95} ms")


def _error(record: ErrorRecord, ink: Ink) -> list[Row]:
    rows = [Row(Text("error: ", "bold red"), Text(ink.safe(record.message, lines=True)))]
    for name, value in (("where", record.where), ("fix", record.hint)):
        if value:
            rows.append(Row(Text(f"  {name}: ", "dim"), Text(ink.safe(value))))
    return rows
