"""A call as a file: its transcript, its entries, captions, or its recording."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from pinecall_cli.call.captions import cues, srt, vtt
from pinecall_cli.commands.whole_file import keep
from pinecall_cli.errors import NotFoundError, UsageError
from pinecall_cli.protocol.log import LogEntry
from pinecall_cli.sdk.log import LoggedCall
from pinecall_cli.server.log.log_file import RECORDINGS
from pinecall_cli.settings import data_dir
from pinecall_cli.view.ndjson import iso
from pinecall_cli.view.output import Output
from pinecall_cli.view.transcript import LogView

FORMATS = ("txt", "json", "srt", "vtt", "wav")


def export(
    call: LoggedCall, entries: list[LogEntry], form: str, output: Path | None, *, quiet: bool
) -> None:
    """Write a call in one of `FORMATS`, to a file or standard output.

    Raises:
        NotFoundError: If it is to be a recording, and the call was not recorded.
        UsageError: If the file cannot be written to.
        InfrastructureError: If the disk is full.
    """
    if form == "wav":
        write = copier(recording(call, entries))
    else:
        text = written(call, entries, form).encode("utf-8", "backslashreplace")

        def write(file: BinaryIO) -> None:
            file.write(text)

    if output is not None:
        keep(output, write)
        if not quiet:
            sys.stderr.write(f"wrote {output}\n")
        return
    if form == "wav":
        if sys.stdout.isatty():
            raise UsageError("a recording is no text for a terminal", fix="add `-o FILE.wav`")
        write(sys.stdout.buffer)
        return
    Output(sys.stdout.buffer).write(text)


def written(call: LoggedCall, entries: list[LogEntry], form: str) -> str:
    """Return a call as text in one of the formats that are text."""
    match form:
        case "srt":
            return srt(cues(entries))
        case "vtt":
            return vtt(cues(entries))
        case "json":
            return json.dumps(document(call, entries), indent=2) + "\n"
        case _:
            view = LogView(colour=False, one_call=True)
            return b"".join(view.lines(entry) for entry in entries).decode()


def document(call: LoggedCall, entries: list[LogEntry]) -> dict[str, Any]:
    """Return a call with all its entries as one JSON document."""
    return {
        "call_id": call.call_id,
        "agent": call.agent,
        "direction": call.direction,
        "from": call.from_,
        "to": call.to,
        "channel": call.channel,
        "started_at": None if call.started_at is None else iso(call.started_at),
        "duration_s": call.duration_s,
        "reason": call.reason,
        "entries": [
            {"seq": e.seq, "ts": iso(e.ts), "agent": e.agent, "type": e.type, "data": e.data}
            for e in entries
        ],
    }


def recording(call: LoggedCall, entries: list[LogEntry]) -> Path:
    """Return where a call's recording is.

    Raises:
        NotFoundError: If it was not recorded, or the recording is gone.
    """
    said = [e.data.get("recording_url") for e in entries if e.type == "call.summary"]
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in call.call_id)[:80]
    places = [Path(path.removeprefix("file://")) for path in said if isinstance(path, str)]
    places.append(data_dir() / RECORDINGS / f"{name}.wav")
    for place in places:
        if place.is_file():
            return place
    raise NotFoundError(
        f"call `{call.call_id}` has no recording in {places[-1].parent}",
        fix="`pinecall dev --record DIR` and `pinecall call --record DIR` keep one, and so does "
        "`media: {recording: true}` in the agent's file",
        code="not_recorded",
    )


def copier(source: Path) -> Callable[[BinaryIO], None]:
    """Return what writes a file's bytes to another."""

    def write(file: BinaryIO) -> None:
        with source.open("rb") as opened:
            shutil.copyfileobj(opened, file)

    return write
