"""`doctor` where there are sound devices: what it finds, and what it measures."""

from __future__ import annotations

import json
import re
from typing import Any

from pinecall_cli.commands import complete
from tests.audio.room import needs_a_room
from tests.end_to_end_audio.conftest import Enter, Start

pytestmark = needs_a_room


def checks(text: list[str]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads("".join(text))["checks"]}


def test_the_way_from_the_loudspeaker_to_the_microphone_is_measured(enter: Enter, start: Start):
    program = start("doctor", "--acoustic", "--json", room=enter("--echo"))
    assert program.end() == 0
    found = checks(program.out)["acoustic"]
    assert found["ok"], found
    measured = re.fullmatch(r"round trip (\d+) ms, echo at ([+-]\d+) dB .*", found["message"])
    assert measured
    # The room plays the loudspeaker into the microphone undiminished, 60 ms later or more.
    assert 60 <= int(measured[1]) < 900
    assert -6 <= int(measured[2]) <= 6
    # And what devices there are is known to TAB from now on.
    assert complete.devices("")


def test_a_microphone_that_does_not_hear_the_loudspeaker_is_told(enter: Enter, start: Start):
    program = start("doctor", "--acoustic", "--json", room=enter())
    assert program.end() == 0
    found = checks(program.out)
    assert not found["acoustic"]["ok"]
    assert "0 of 3" in found["acoustic"]["message"]
    assert "no sound at all" in found["audio"]["message"]
    assert not found["audio"]["needed"]


def test_without_devices_sound_is_missing_and_text_is_not(enter: Enter, start: Start):
    program = start("doctor", "--acoustic", "--json", room=enter("--no-devices"))
    assert program.end() == 0
    found = checks(program.out)
    assert not found["audio"]["ok"]
    assert found["audio"]["hint"]
    assert not found["acoustic"]["ok"]
    assert found["speech"]["ok"]


def test_a_device_that_is_not_there_is_named(enter: Enter, start: Start):
    program = start("doctor", "--device", "nosuchdevice", "--json", room=enter())
    assert program.end() == 0
    assert "nosuchdevice" in checks(program.out)["audio"]["message"]
