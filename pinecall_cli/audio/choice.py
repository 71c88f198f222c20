"""Which sound device is meant by what a user wrote; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pinecall_cli.audio.device_errors import LIST, Side, noun
from pinecall_cli.errors import AudioDeviceError, UsageError


@dataclass(frozen=True, slots=True)
class Device:
    """A sound device as the user may name it."""

    id: int
    name: str
    input: bool
    """Whether it can record."""
    output: bool
    """Whether it can play."""
    default: bool
    """Whether it is what is used when none is named, on either side."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The devices of a call, by their ids; None is the default."""

    input: int | None = None
    output: int | None = None


def choose(text: str, devices: Sequence[Device]) -> Choice:
    """Return the devices that ``IN[:OUT]`` names, each by id, name or a part of its name.

    Names may hold colons themselves (``hw:0,0``): an id or nothing on one side of a colon is the
    clearest sign of a cut, then the whole may be one name, then every colon is tried.

    Raises:
        UsageError: If a name fits several devices.
        AudioDeviceError: If nothing fits.
    """
    cuts = [(text[:at], text[at + 1 :]) for at, letter in enumerate(text) if letter == ":"]
    clear = [cut for cut in cuts if any(not s.strip() or s.strip().isdecimal() for s in cut)]
    # The first cut is what is usually meant, so its complaint is the one to show.
    complaint: UsageError | AudioDeviceError | None = None
    for left, right in [*clear, (text, ""), *cuts]:
        try:
            return Choice(_find(left, "input", devices), _find(right, "output", devices))
        except (UsageError, AudioDeviceError) as refused:
            complaint = complaint or refused
    raise complaint or AssertionError("the whole text is always tried")


def _find(name: str, side: Side, devices: Sequence[Device]) -> int | None:
    wanted = name.strip()
    if not wanted:
        return None
    usable = [device for device in devices if getattr(device, side)]
    if wanted.isdecimal():
        found = [device for device in usable if device.id == int(wanted)]
    else:
        low = wanted.lower()
        found = [device for device in usable if device.name.lower() == low]
        found = found[:1] or [device for device in usable if low in device.name.lower()]
    if len(found) > 1:
        names = ", ".join(f"{device.id} ({device.name})" for device in found)
        raise UsageError(f"`{wanted}` fits {len(found)} devices: {names}", fix="name one by its id")
    if not found:
        raise AudioDeviceError(
            f"no {noun(side)} is called `{wanted}`", fix=LIST, code="no_audio_device"
        )
    return found[0].id
