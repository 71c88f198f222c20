"""Calls and conversations as an account's pages list them, told from the call log (rest.md §9).

Nothing is charged here, so costs are 0; whose address a page had is not kept.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from typing import Any, Final

from pinecall_cli.server.log.log_file import LoggedCall, read_calls

SERVICES: Final = {
    "chat": ("llm",),
    "whatsapp": ("llm",),
    "phone": ("telephony", "stt", "llm", "tts"),
    "webrtc": ("stt", "llm", "tts"),
}
"""By channel: what a call made use of. Whose engines and models those were is not in the log."""


def usage_rows(database: sqlite3.Connection, org: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest calls with what they cost."""
    return [usage_row(database, call) for call in read_calls(database, org=org, limit=limit)]


def usage_row(database: sqlite3.Connection, call: LoggedCall) -> dict[str, Any]:
    """Return a call with what it cost; its duration is in whole seconds, as it is shown."""
    return {
        "callId": call.call_id,
        "credits": 0,
        "costUsd": 0,
        "duration": round(call.duration_s or 0),
        "events": counted(database, call),
        "startedAt": iso(call.started_at),
        "endedAt": None if call.ended_at is None else iso(call.ended_at),
        "services": [
            {"service": service, "provider": "", "model": "", "credits": 0}
            for service in SERVICES.get(call.channel or "", ())
        ],
    }


def conversation_rows(
    database: sqlite3.Connection,
    org: str,
    *,
    limit: int,
    agent: str | None = None,
    channel: str | None = None,
) -> list[dict[str, Any]]:
    """Return the newest conversations: all, or those of an agent or a channel."""
    rows: list[dict[str, Any]] = []
    # How many are of the channel is known only when they have been read.
    for call in read_calls(database, org=org, agent=agent, limit=limit if channel is None else -1):
        if channel in (None, call.channel) and len(rows) < limit:
            rows.append(conversation(database, call) | {"createdAt": iso(call.started_at)})
    return rows


def conversation(database: sqlite3.Connection, call: LoggedCall) -> dict[str, Any]:
    """Return what a conversation was."""
    return {
        "id": call.call_id,
        "type": call.channel or "",
        "agentId": call.agent,
        "messageCount": counted(database, call, "user.message", "bot.speaking"),
        "ip": "",
    }


def conversation_with_transcript(
    database: sqlite3.Connection, org: str, call_id: str
) -> dict[str, Any] | None:
    """Return a conversation and all that was said in it; None if there is none."""
    for call in read_calls(database, org=org, call=call_id, limit=1):
        return conversation(database, call) | {
            "ipCountry": "",
            "startedAt": iso(call.started_at),
            "transcript": transcript(database, call),
        }
    return None


def transcript(database: sqlite3.Connection, call: LoggedCall) -> list[dict[str, str]]:
    """Return what was said in a call, in order: of the agent's messages what was heard."""
    rows = database.execute(
        "SELECT seq, type, data FROM entries WHERE call = ? AND org = ? AND type IN "
        "('user.message', 'bot.speaking', 'bot.corrected') ORDER BY seq",
        (call.call_id, call.org),
    )
    lines: dict[int, dict[str, str]] = {}
    for seq, type_, text in rows:
        data = json.loads(text)
        if type_ == "bot.corrected":
            # What stands there now is what was really said.
            corrected = lines.get(data.get("supersedes"))
            if corrected is not None:
                corrected["content"] = data["text"]
            continue
        role = "user" if type_ == "user.message" else "assistant"
        lines[seq] = {"role": role, "content": data["text"]}
    return [line for line in lines.values() if line["content"]]


def counted(database: sqlite3.Connection, call: LoggedCall, *types: str) -> int:
    """Return how many entries a call has, of some types or of all."""
    where = f" AND type IN ({','.join('?' * len(types))})" if types else ""
    row = database.execute(
        f"SELECT count(*) FROM entries WHERE call = ? AND org = ?{where}",
        (call.call_id, call.org, *types),
    ).fetchone()
    return int(row[0])


def iso(seconds: float) -> str:
    """Return epoch seconds as a time in UTC."""
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")
