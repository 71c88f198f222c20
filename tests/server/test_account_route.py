"""What is told of past calls (protocol: rest.md §9)."""

from __future__ import annotations

from pathlib import Path

from pinecall_cli.server.log.past_calls import conversation_with_transcript
from pinecall_cli.server.log.translate import Entry
from tests.server.peer import embedded


def test_of_a_reply_that_was_cut_off_the_transcript_has_what_was_heard(tmp_path: Path):
    with embedded(data=tmp_path) as server:
        journal = server.server.journal
        facts = {"direction": "inbound", "from": "webrtc", "to": "webrtc", "channel": "webrtc"}
        story = [
            ("call.started", facts),
            ("user.message", {"id": "u1", "text": "Go on.", "final": True}),
            ("bot.speaking", {"id": "m1", "text": "Once upon a time there was"}),
            ("bot.corrected", {"supersedes": 3, "id": "m1", "text": "Once upon"}),
            ("bot.speaking", {"id": "m2", "text": "never heard"}),
            ("bot.corrected", {"supersedes": 5, "id": "m2", "text": ""}),
        ]
        for seq, (type_, data) in enumerate(story, start=1):
            journal.append(Entry(seq, 1.0, "c1", "desk", "org", type_, data))
        found = journal.ask(
            lambda database: conversation_with_transcript(database, "org", "c1")
        ).result()
    assert found is not None
    assert found["transcript"] == [
        {"role": "user", "content": "Go on."},
        {"role": "assistant", "content": "Once upon"},
    ]
    assert (found["type"], found["startedAt"]) == ("webrtc", "1970-01-01T00:00:01.000Z")
