"""Steps: what they need beforehand, and what the command's options are short for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinecall_cli.audio.wav import WavWriter
from pinecall_cli.caller.render import render
from pinecall_cli.caller.steps import (
    Interrupt,
    Play,
    Press,
    Say,
    Wait,
    files,
    plays,
    refuse_keys_off_the_phone,
    says,
    texts,
)
from pinecall_cli.engines.types import Speech
from pinecall_cli.errors import EngineError, UsageError, Where


def test_what_has_to_be_rendered_is_named_once_and_in_order():
    noise = Path("noise.wav")
    steps = [Say("B"), Play(noise), Interrupt("A", after=1.0), Say("B"), Play(noise)]
    assert texts(steps) == ["B", "A"]
    assert files(steps) == [noise]


def test_say_is_short_for_waiting_and_speaking_in_turns():
    first, reply = Wait("greeting"), Wait("reply")
    assert says(["One", "Two"]) == (first, Say("One"), reply, Say("Two"))
    assert says(["One"], press="5") == (first, Press("5"), Say("One"))
    assert plays(Path("a.wav")) == (first, Play(Path("a.wav")))


def test_keys_need_a_phone_call():
    where = Where("menu.yaml", 3, 5)
    steps = [Say("Hi"), Press("1", where)]
    refuse_keys_off_the_phone(steps, "+14155550100")
    refuse_keys_off_the_phone([Say("Hi")], None)
    with pytest.raises(UsageError) as caught:
        refuse_keys_off_the_phone(steps, None)
    assert (caught.value.where, caught.value.exit_code) == (where, 2)
    with pytest.raises(UsageError) as caught:
        refuse_keys_off_the_phone(says([], press="1"), None)
    assert caught.value.where is None


class Hummer:
    """A voice that hums for 10 ms per letter at 24 kHz."""

    name = "hummer"

    async def synthesise(self, text: str) -> Speech:
        return Speech(b"\1\2" * 240 * len(text), 24_000, ())


async def test_texts_and_files_come_at_the_rate_of_the_call(tmp_path):
    pytest.importorskip("numpy")
    file = tmp_path / "noise.wav"
    with WavWriter(file, 16_000) as wav:
        wav.write(bytes(3200))
    sounds = await render([Say("four"), Play(file)], 8000, Hummer())
    assert {key: len(pcm) for key, pcm in sounds.items()} == {"four": 640, file: 1600}


async def test_a_file_at_the_right_rate_needs_neither_voice_nor_numpy(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pinecall_cli.audio.resample", None)
    file = tmp_path / "noise.wav"
    with WavWriter(file, 16_000) as wav:
        wav.write(b"\1\2" * 320)
    assert await render(plays(file), 16_000, None) == {file: b"\1\2" * 320}
    with pytest.raises(EngineError, match="is at 16000 Hz, the call at 8000"):
        await render(plays(file), 8000, None)


async def test_without_a_voice_nothing_can_be_said():
    with pytest.raises(EngineError, match="no voice"):
        await render(says(["Hi"]), 16_000, None)
