"""Devices: through the real PortAudio in a virtual room, and their errors without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pinecall_cli.audio.choice import Choice, Device
from pinecall_cli.audio.device_errors import no_device, open_failed, portaudio_missing
from pinecall_cli.audio.devices import Speaker, parse_device
from pinecall_cli.audio.off_loop import off_loop
from pinecall_cli.audio.stall import STEADY, Stall
from pinecall_cli.errors import AudioDeviceError, UsageError
from tests.audio.room import in_a_room, needs_a_room

DEVICES = [
    Device(0, "HDA Intel: ALC (hw:0,0)", input=True, output=True, default=False),
    Device(1, "USB Headset", input=True, output=True, default=False),
    Device(2, "USB Webcam", input=True, output=False, default=False),
    Device(3, "default", input=True, output=True, default=True),
]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("", Choice(None, None)),
        ("2", Choice(2, None)),
        ("2:1", Choice(2, 1)),
        (":1", Choice(None, 1)),
        ("2:", Choice(2, None)),
        ("headset", Choice(1, None)),
        ("usb webcam : usb headset", Choice(2, 1)),
        ("hw:0,0", Choice(0, None)),
        ("hw:0,0:1", Choice(0, 1)),
        ("1:hw:0,0", Choice(1, 0)),
        ("HDA Intel: ALC (hw:0,0)", Choice(0, None)),
    ],
)
def test_devices_are_named_by_id_or_by_part_of_their_name(text, choice):
    assert parse_device(text, DEVICES) == choice


def test_a_name_that_fits_two_devices_is_a_question_back():
    with pytest.raises(UsageError, match=r"`usb` fits 2 devices: 1 \(USB Headset\), 2"):
        parse_device("usb", DEVICES)


@pytest.mark.parametrize(
    ("text", "said"), [("9", "no microphone is called `9`"), (":2", "no loudspeaker"), ("x", "`x`")]
)
def test_a_device_that_is_not_there_is_an_error_with_the_list_as_its_fix(text, said):
    with pytest.raises(AudioDeviceError, match=said) as caught:
        parse_device(text, DEVICES)
    assert "--list-devices" in str(caught.value.fix)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("platform", "tool", "fix"),
    [
        ("linux", "apt-get", "sudo apt install libportaudio2"),
        ("linux", "dnf", "sudo dnf install portaudio"),
        ("linux", "", "sudo apt install libportaudio2"),
        ("darwin", "", "brew install portaudio"),
        ("win32", "", "pip install --force-reinstall sounddevice"),
    ],
)
def test_without_portaudio_the_fix_is_the_line_to_type_here(platform, tool, fix):
    error = portaudio_missing(platform, which=lambda name: name if name == tool else None)
    assert str(error.fix).startswith(fix)
    assert "--say TEXT" in str(error.fix)


@pytest.mark.parametrize(
    ("code", "detail", "said"),
    [
        (-9985, "Device unavailable", "in use by another program"),
        (-9996, "Invalid device", "not there any more"),
        (-9993, "Illegal combination of I/O devices", "does not answer"),
        (-9999, "Unanticipated host error: 'Permission denied'", "is refused to this program"),
        (-9997, "Invalid sample rate", "does not open: Invalid sample rate"),
        (None, "nobody knows", "does not open: nobody knows"),
    ],
)
def test_a_device_that_does_not_open_says_why_in_one_sentence(code, detail, said):
    error = open_failed("input", "USB Webcam", code, detail, platform="linux")
    assert error.message.startswith("the microphone `USB Webcam`")
    assert said in error.message
    assert error.fix


@pytest.mark.parametrize(
    ("platform", "fix"), [("darwin", "System Settings"), ("win32", "desktop apps")]
)
def test_a_refused_microphone_names_the_setting_that_refuses_it(platform, fix):
    error = open_failed("input", "Mic", -9999, "Access denied", platform=platform)
    assert fix in str(error.fix)
    assert error.code == "audio_permission"


def test_a_machine_without_devices_is_told_from_one_that_refuses_them(tmp_path, monkeypatch):
    assert no_device("output", nodes=tmp_path / "snd").code == "no_audio_device"
    (tmp_path / "pcmC0D0p").touch()
    assert no_device("output", nodes=tmp_path).code == "no_audio_device"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert no_device("output", nodes=tmp_path).code == "audio_permission"


def test_a_device_that_stops_calling_back_is_lost_after_a_second():
    stall = Stall()
    assert not stall.gone(STEADY, now=0.0)
    assert not any(stall.gone(STEADY, now=n / 10) for n in range(1, 10))
    assert stall.gone(STEADY, now=1.0) or stall.gone(STEADY, now=1.1)


def test_a_device_may_take_longer_to_start():
    stall = Stall()
    assert not any(stall.gone(0, now=n / 10) for n in range(49))
    # The first buffers are filled at once, the next when a sound server has started.
    assert not any(stall.gone(STEADY - 1, now=4.9 + n / 10) for n in range(49))
    assert any(stall.gone(STEADY - 1, now=9.8 + n / 10) for n in range(3))


def test_a_program_that_was_stopped_does_not_blame_the_device():
    stall = Stall()
    stall.gone(7, now=0.0)
    assert not stall.gone(7, now=60.0)
    assert not stall.gone(8, now=60.1)


async def test_work_off_the_loop_returns_or_raises_here():
    async def fails() -> None:
        def work() -> None:
            raise UsageError("no")

        await off_loop(work)

    assert await off_loop(lambda: 7) == 7
    with pytest.raises(UsageError, match="no"):
        await fails()


class Card:
    """Stands in for PortAudio's thread: calls back when told to."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        speaker._prepare()

    def asks(self) -> bytes:
        block = bytearray(640)
        self.speaker._callback(block, 320, None, None)
        return bytes(block)


def test_a_loudspeaker_waits_for_a_cushion_and_plays_silence_without_sound():
    speaker = Speaker()
    card = Card(speaker)
    assert card.asks() == bytes(640)
    speaker.write(b"\1" * 640)
    assert card.asks() == bytes(640)
    speaker.write(b"\2" * 640)
    assert [card.asks()[:1], card.asks()[:1], card.asks()[:1]] == [b"\1", b"\2", b"\0"]
    assert speaker.underruns == 0


def test_the_end_of_a_sound_shorter_than_the_cushion_is_played_too():
    speaker = Speaker()
    card = Card(speaker)
    speaker.write(b"\1" * 640)
    assert [card.asks()[:1], card.asks()[:1]] == [b"\0", b"\1"]


def test_never_more_than_60_ms_wait_and_what_waits_is_dropped_at_an_interruption():
    speaker = Speaker()
    card = Card(speaker)
    for number in range(1, 6):
        speaker.write(bytes([number]) * 640)
    assert (speaker.buffered_ms, speaker.dropped_ms) == (60, 40)
    assert card.asks()[:1] == b"\3"
    speaker.clear()
    assert speaker.buffered_ms == 0
    assert card.asks() == bytes(640)


def test_what_was_really_played_is_given_back_in_order_a_little_later():
    speaker = Speaker()
    card = Card(speaker)
    for number in range(1, 4):
        speaker.write(bytes([number]) * 640)
    back = []
    for _ in range(6):
        card.asks()
        back.append(speaker.played()[0])
    assert back == [0, 1, 2, 3, 0, 0]


def test_a_backlog_of_played_sound_is_skipped():
    speaker = Speaker()
    card = Card(speaker)
    for _ in range(9):
        card.asks()
    speaker.write(b"\1" * 640)
    speaker.write(b"\1" * 640)
    card.asks()
    assert [speaker.played()[0], speaker.played()[0]] == [0, 1]


def test_sounddevice_that_does_not_import_is_one_clear_error():
    program = """
import sys
sys.modules["sounddevice"] = None
from pinecall_cli.audio.devices import list_devices
from pinecall_cli.errors import AudioDeviceError
try:
    list_devices()
except AudioDeviceError as error:
    print(error.code)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "portaudio_missing\n"


SPOKEN = """
import asyncio, json, math, subprocess, sys
from array import array
from pinecall_cli.audio.devices import Microphone, list_devices
from pinecall_cli.audio.pcm import level_dbfs

async def main(rate):
    async with Microphone(rate=rate) as microphone:
        for _ in range(8):
            await microphone.read()
        player = subprocess.Popen(["paplay", "--device=micpipe", sys.argv[1]])
        heard = []
        while len(heard) < 150 and len([f for f in heard if level_dbfs(f) > -30]) < 40:
            heard.append(await microphone.read())
        player.wait()
    loud = b"".join(f for f in heard if level_dbfs(f) > -30)
    samples = array("h", loud)
    crossings = sum(a < 0 <= b for a, b in zip(samples, samples[1:]))
    return {
        "sizes": sorted({len(f) for f in heard}),
        "hz": crossings * rate / max(1, len(samples)),
        "dropped": microphone.dropped_ms,
        "defaults": [d.name for d in list_devices() if d.default],
    }

print(json.dumps([asyncio.run(main(rate)) for rate in (8000, 16000)]))
"""


@needs_a_room
def test_what_is_said_into_the_microphone_arrives_in_frames_of_20_ms(tmp_path):
    run = in_a_room(SPOKEN, arguments=(str(tone(tmp_path / "tone.wav", seconds=1.5)),))
    assert run.returncode == 0, run.stderr
    for rate, heard in zip((8000, 16000), json.loads(run.stdout), strict=True):
        assert heard["sizes"] == [rate // 25]
        assert heard["hz"] == pytest.approx(440, rel=0.05)
        assert heard["dropped"] == 0
        assert "default" in heard["defaults"]


ECHOED = """
import asyncio, json, sys
from pinecall_cli.audio.devices import Microphone, Speaker
from pinecall_cli.audio.echo import open_echo
from pinecall_cli.audio.pcm import frames, level_dbfs
from pinecall_cli.audio.wav import read_wav

def onset(pcm):
    return next((n / 16 for n in range(0, len(pcm) // 2, 16)
                 if level_dbfs(pcm[2 * n : 2 * n + 64]) > -45), None)

async def main():
    pcm, rate = read_wav(sys.argv[1])
    assert rate == 16000
    echo, near, far, clean = open_echo(True), b"", b"", b""
    async with Speaker() as speaker, Microphone() as microphone:
        for frame in [bytes(640)] * 25 + list(frames(pcm, 16000)):
            heard = await microphone.read()
            speaker.write(frame)
            played = speaker.played()
            near, far = near + heard, far + played
            clean += echo.process(heard, played)
        late = speaker.buffered_ms
    half = len(near) // 2 // 640 * 640
    return {
        "echo": type(echo).__name__,
        "near": level_dbfs(near[half:]),
        "clean": level_dbfs(clean[half:]),
        "lag_ms": onset(near) - onset(far),
        "buffered_ms": late,
        "underruns": speaker.underruns,
        "dropped_ms": speaker.dropped_ms,
    }

print(json.dumps(asyncio.run(main())))
"""


@needs_a_room
def test_the_agent_does_not_hear_itself_through_real_devices(tmp_path):
    pytest.importorskip("pywebrtc_audio")
    speech = Path(__file__).parents[1] / "audio_clips" / "dickens_01.wav"
    run = in_a_room(ECHOED, "--echo", arguments=(str(speech),))
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    heard = json.loads(run.stdout)
    assert heard["echo"] == "EchoCanceller"
    assert heard["near"] > -45  # there was something to cancel
    assert heard["clean"] < heard["near"] - 12
    assert heard["lag_ms"] > 0  # the reference comes before its echo
    assert heard["buffered_ms"] <= 60


LOST = """
import asyncio, subprocess
from pinecall_cli.audio.devices import Microphone, Speaker
from pinecall_cli.errors import AudioDeviceError

async def until_lost(device):
    try:
        async with asyncio.timeout(20):
            await device()
    except AudioDeviceError as error:
        print(error.code, error.message)

async def main():
    async with Speaker() as speaker, Microphone() as microphone:
        async def listen():
            async for _ in microphone:
                pass

        async def speak():
            while True:
                speaker.write(bytes(640))
                await asyncio.sleep(0.02)

        for _ in range(8):
            await microphone.read()
        subprocess.run(["pactl", "exit"], check=True)
        await asyncio.gather(until_lost(listen), until_lost(speak))
    try:
        async with Microphone():
            pass
    except AudioDeviceError as error:
        print(error.code, error.message)

asyncio.run(main())
"""


@needs_a_room
def test_a_device_lost_during_a_call_is_one_sentence_and_no_noise():
    run = in_a_room(LOST)
    assert run.returncode == 0, run.stderr
    assert sorted(run.stdout.splitlines()) == [
        "audio_device the microphone `default` does not answer",
        "audio_device_lost the loudspeaker `default` has stopped",
        "audio_device_lost the microphone `default` has stopped",
    ]
    assert run.stderr == ""


NOTHING = """
import asyncio
from pinecall_cli.audio.devices import Microphone, Speaker, list_devices
from pinecall_cli.errors import AudioDeviceError

async def main():
    print(list_devices())
    for kind in (Microphone, Speaker):
        try:
            async with kind():
                pass
        except AudioDeviceError as error:
            print(error.code, error.message)

asyncio.run(main())
"""


@needs_a_room
@pytest.mark.skipif(Path("/dev/snd").exists(), reason="this machine has sound hardware")
def test_a_machine_without_devices_says_so():
    run = in_a_room(NOTHING, "--no-devices")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "[]",
        "no_audio_device there is no microphone on this machine",
        "no_audio_device there is no loudspeaker on this machine",
    ]
    assert run.stderr == ""


def tone(path: Path, seconds: float) -> Path:
    """Write 440 Hz."""
    import math
    import wave
    from array import array

    values = [int(12_000 * math.sin(2 * math.pi * 440 * n / 16_000)) for n in range(16_000)]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(array("h", (values * 2)[: int(seconds * 16_000)]).tobytes())
    return path
