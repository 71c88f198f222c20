"""What events.md §8 and §1.2 promise of every call, whatever happens in it."""

from __future__ import annotations

from typing import Any

BEFORE_THE_CALL = {"call.ringing", "call.dialing"}
ENDS = {"bot.finished", "bot.interrupted"}


def check(frames: list[dict[str, Any]]) -> None:
    """Fail if the frames of one call, as one owner got them, break a promise about their order."""
    names = [frame["event"] for frame in frames]
    assert names.count("call.ended") == 1, names
    assert names[-1] == "call.ended", names
    first = next(name for name in names if name not in BEFORE_THE_CALL)
    assert first in ("call.started", "call.ended"), names
    seqs = [frame["seq"] for frame in frames]
    assert seqs == sorted(set(seqs)), names
    for message in {frame["message_id"] for frame in frames if "message_id" in frame}:
        check_message([frame for frame in frames if frame.get("message_id") == message])
    for place, frame in enumerate(frames):
        if frame["event"] in ("eager.turn", "turn.end"):
            check_turn(frame, frames[:place])


def check_message(frames: list[dict[str, Any]]) -> None:
    """Fail if a message is not told as it was played: begun, word by word, over."""
    names = [frame["event"] for frame in frames if frame["event"] != "turn.latency"]
    if not any(name.startswith("bot.") for name in names):
        return
    spoken = [name for name in names if name.startswith(("bot.", "message."))]
    if spoken[0] != "bot.speaking":
        # Taken back before it could be heard; whoever sent it still waits to hear so.
        assert spoken == ["bot.interrupted"], spoken
        return
    after = spoken[1:]
    while after and after[0] == "bot.word":
        del after[0]
    assert after in (
        ["message.confirmed", "bot.finished"],
        ["bot.finished"],
        ["bot.interrupted"],
        ["bot.interrupted", "message.confirmed"],
    ), spoken
    words = [frame["word_index"] for frame in frames if frame["event"] == "bot.word"]
    assert words == list(range(len(words))), words


def check_turn(end: dict[str, Any], before: list[dict[str, Any]]) -> None:
    """Fail if a turn ends without its message, or its message is told twice."""
    messages = [frame for frame in before if frame["event"] == "user.message"]
    told = [frame for frame in messages if frame["message_id"] == end["message_id"]]
    assert len(told) == 1, end
    assert told[0]["text"] == end["text"], end
    assert told[0]["turn_id"] == end["turn_id"], end
