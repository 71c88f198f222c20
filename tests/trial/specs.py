"""Specs written in a test, and what happened in a conversation that nobody had to hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.problems import AgentFileProblems
from pinecall_cli.protocol.codec import decode_event
from pinecall_cli.trial.record import Record
from pinecall_cli.trial.spec import Spec
from pinecall_cli.trial.yaml_file import load_specs

VOICES = ("hibari/heart",)
AGENT = "agent: agent.yaml\n"
SAY = "steps: [{say: Hello}]\n"


def written(folder: Path, text: str | bytes, name: str = "desk.spec.yaml") -> Path:
    """Write a spec beside an agent's file that is there and is never read."""
    (folder / "agent.yaml").touch()
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return file


def loaded(folder: Path, text: str | bytes) -> Spec:
    (spec,) = load_specs([written(folder, text)], voices=VOICES)
    return spec


def problems(folder: Path, text: str | bytes) -> list[tuple[int | None, int | None, str, str]]:
    """Return line, column, code and hint of everything that is wrong with a spec."""
    with pytest.raises(AgentFileProblems) as caught:
        loaded(folder, text)
    assert caught.value.exit_code == 2
    assert {Path(one.file).name for one in caught.value.problems} == {"desk.spec.yaml"}
    return [(p.line, p.column, p.code, p.hint or "") for p in caught.value.problems]


def heard(record: Record, event: str, **fields: Any) -> None:
    """Let a frame of the server come."""
    record.hear(decode_event(json.dumps({"event": event, "call_id": "c", **fields})))
