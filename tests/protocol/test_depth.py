from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol import codec, mic
from pinecall_cli.protocol.chat import decode_browser
from pinecall_cli.protocol.depth import DEEPEST, too_deep
from pinecall_cli.protocol.frames import Unknown

LEAVES = st.none() | st.integers() | st.text(st.sampled_from('[]{}"\\,:x'), max_size=20)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]"\\'), inner)
)


def depth(value: Any) -> int:
    if isinstance(value, list | dict):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0)
    return 0


@given(VALUES, st.integers(0, DEEPEST + 1), st.lists(LEAVES, max_size=80))
def test_json_is_too_deep_exactly_beyond_the_limit(value: Any, wrapped: int, around: list[Any]):
    for level in range(wrapped):
        value = [value, *around] if level % 2 else {"[": value}
    assert too_deep(json.dumps(value).encode()) == (depth(value) > DEEPEST)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'["\\\\",', b'["[",'])
def test_a_frame_nested_too_deeply_is_no_frame_on_any_socket(opening: bytes):
    closing = b"}" if opening.startswith(b"{") else b"]"
    nested = opening * (DEEPEST + 1) + b"1" + closing * (DEEPEST + 1)
    frame = b'{"event":"agent.configure","agent_id":"a","config":%b}' % nested
    told = codec.decode_command(frame).frame
    assert isinstance(told, Unknown)
    assert told.problem == codec.TOO_DEEP
    for name in (b'"action":"set_context"', b'"event":"set_context"'):
        context = b'{%b,"key":"k","value":%b}' % (name, nested)
        assert isinstance(mic.decode_mic(context), Unknown)
        assert isinstance(decode_browser(context), Unknown)


@given(st.binary())
def test_no_bytes_make_it_fail(raw: bytes):
    assert too_deep(raw * 20) in (True, False)
