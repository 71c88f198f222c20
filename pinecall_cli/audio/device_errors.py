"""What goes wrong with sound devices, each as one sentence with a way out."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pinecall_cli.errors import AudioDeviceError

Side = Literal["input", "output"]

WITHOUT_DEVICES = "`--say TEXT`, `--input FILE.wav` and `t` in `pinecall dev` need no audio device"
LIST = "`pinecall call --list-devices` shows what there is"

DEVICE_UNAVAILABLE, BAD_COMBINATION, INVALID_DEVICE = -9985, -9993, -9996
"""PortAudio's codes (portaudio.h, PaErrorCode)."""
REFUSALS = ("permission", "not permitted", "access is denied", "access denied", "0x80070005")
"""What a refusal says, in the words of ALSA, PulseAudio and Windows."""

INSTALLERS = {
    "apt-get": "sudo apt install libportaudio2",
    "dnf": "sudo dnf install portaudio",
    "pacman": "sudo pacman -S portaudio",
    "zypper": "sudo zypper install libportaudio2",
    "apk": "sudo apk add portaudio",
}


def noun(side: Side) -> str:
    """Return what people call a device of that side."""
    return "microphone" if side == "input" else "loudspeaker"


def portaudio_missing(
    platform: str = sys.platform, which: Callable[[str], str | None] = shutil.which
) -> AudioDeviceError:
    """Return the error for a machine without PortAudio; the Linux wheel brings none."""
    if platform == "darwin":
        fix = "brew install portaudio"
    elif platform == "win32":
        fix = "pip install --force-reinstall sounddevice"
    else:
        found = [line for program, line in INSTALLERS.items() if which(program)]
        fix = found[0] if found else INSTALLERS["apt-get"]
    return AudioDeviceError(
        "PortAudio, which reaches microphone and loudspeaker, is not installed",
        fix=f"{fix}; {WITHOUT_DEVICES}",
        code="portaudio_missing",
    )


def no_device(side: Side, *, nodes: Path = Path("/dev/snd")) -> AudioDeviceError:
    """Return the error for a machine without a device of that side, or with none we may open."""
    try:
        doors = [node for node in nodes.iterdir() if node.name.startswith("pcm")]
    except OSError:
        doors = []
    if doors and not any(os.access(door, os.R_OK | os.W_OK) for door in doors):
        return AudioDeviceError(
            f"the {noun(side)} may not be opened by this user",
            fix=f"sudo usermod -aG audio $USER, then log in again; {WITHOUT_DEVICES}",
            code="audio_permission",
        )
    return AudioDeviceError(
        f"there is no {noun(side)} on this machine",
        fix=f"plug one in; {WITHOUT_DEVICES}",
        code="no_audio_device",
    )


def open_failed(
    side: Side, name: str, code: int | None, detail: str, *, platform: str = sys.platform
) -> AudioDeviceError:
    """Return the error for a device that is listed and does not open."""
    what = f"the {noun(side)} `{name}`"
    if any(word in detail.lower() for word in REFUSALS):
        return AudioDeviceError(
            f"{what} is refused to this program",
            fix=f"{_permission(side, platform)}; {WITHOUT_DEVICES}",
            code="audio_permission",
        )
    if code == DEVICE_UNAVAILABLE:
        message, fix = (
            f"{what} is in use by another program, or gone",
            f"close that program; {LIST}",
        )
    elif code == INVALID_DEVICE:
        message, fix = f"{what} is not there any more", LIST
    elif code == BAD_COMBINATION and platform.startswith("linux"):
        # Nothing is combined here: it is what PortAudio says when ALSA's PulseAudio plugin cannot
        # reach its server.
        message = f"{what} does not answer"
        fix = f"start the sound server (`pactl info` shows whether it runs); {WITHOUT_DEVICES}"
    else:
        message, fix = f"{what} does not open: {detail}", f"name another with `--device`; {LIST}"
    return AudioDeviceError(message, fix=fix)


def _permission(side: Side, platform: str) -> str:
    place = "Microphone" if side == "input" else "Sound"
    if platform == "darwin":
        return f"allow your terminal in System Settings › Privacy & Security › {place}"
    if platform == "win32":
        return f"allow desktop apps in Settings › Privacy › {place}"
    return "sudo usermod -aG audio $USER, then log in again"


def lost(side: Side, name: str) -> AudioDeviceError:
    """Return the error for a device that went away during a call."""
    return AudioDeviceError(
        f"the {noun(side)} `{name}` has stopped",
        fix=f"plug it in again or name another with `--device`; {LIST}",
        code="audio_device_lost",
    )
