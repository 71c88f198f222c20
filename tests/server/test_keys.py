"""The keys of a phone call, and how many of them are kept."""

from __future__ import annotations

from pinecall_cli.server.voice.keys import MOST_KEPT, MOST_KEYS, Keypad


def test_each_key_is_told_with_those_before_it():
    pad = Keypad()
    told = [(event.digit, event.digits) for event in pad.pressed("1x#") + pad.pressed("7")]
    assert told == [("1", "1"), ("#", "1#"), ("7", "1#7")]


def test_more_keys_than_anybody_presses_at_once_are_none():
    pad = Keypad()
    assert pad.pressed("1" * (MOST_KEYS + 1)) == []
    assert [event.digits for event in pad.pressed("2")] == ["2"]


def test_however_long_the_other_side_presses_an_event_repeats_the_last_keys_alone():
    pad = Keypad()
    for _ in range(10):
        told = pad.pressed("0123456789" * 10)
    assert max(len(event.digits) for event in told) == MOST_KEPT
    assert told[-1].digits.endswith("0123456789")


def test_the_agent_presses_more_only_when_the_keys_before_have_sounded():
    pad = Keypad()
    assert pad.press("1" * MOST_KEYS) is not None
    assert pad.press("2") is None
    pad.step()
    assert pad.press("2") is not None


def test_keys_that_make_no_sound_need_no_room():
    pad = Keypad()
    pad.audible = False
    assert all(pad.press("1" * MOST_KEYS) for _ in range(3))
    assert pad.step() is None
