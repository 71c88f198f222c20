"""The ring between the sound card's thread and the loop: bounded, in order, and it counts."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.audio.ring import Ring

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.binary(max_size=40)),
        st.tuples(st.just("read"), st.integers(-1, 40)),
        st.tuples(st.just("skip"), st.integers(-1, 40)),
        st.tuples(st.just("clear"), st.none()),
    ),
    max_size=40,
)


@given(capacity=st.integers(1, 33), operations=OPERATIONS)
def test_a_ring_holds_the_newest_bytes_in_order_and_counts_what_it_lost(capacity, operations):
    ring, model, lost = Ring(capacity), b"", 0
    for operation, value in operations:
        if operation == "write":
            ring.write(value)
            model += value
            lost += max(0, len(model) - capacity)
            model = model[-capacity:]
        elif operation == "read":
            size = max(0, value)
            assert ring.read(value) == model[:size]
            model = model[size:]
        elif operation == "skip":
            ring.skip(value)
            model = model[max(0, value) :]
        else:
            ring.clear()
            model = b""
        assert (len(ring), ring.dropped) == (len(model), lost)
    assert ring.read(capacity) == model


def test_two_threads_lose_nothing_that_is_not_counted():
    ring, heard = Ring(97), bytearray()
    sent = bytes(number % 251 for number in range(40_000))
    done = threading.Event()

    def produce() -> None:
        for start in range(0, len(sent), 53):
            ring.write(sent[start : start + 53])
        done.set()

    thread = threading.Thread(target=produce)
    thread.start()
    while not done.is_set():
        heard += ring.read(31)
    thread.join()
    heard += ring.read(97)
    assert len(heard) + ring.dropped == len(sent)
    assert sent.endswith(bytes(heard[-97:]))


def test_a_ring_takes_memoryviews_without_keeping_them():
    ring, source = Ring(8), bytearray(b"abcd")
    ring.write(memoryview(source))
    source[:] = b"xxxx"
    assert ring.read(8) == b"abcd"


def test_a_ring_without_room_is_refused():
    with pytest.raises(ValueError, match="holds nothing"):
        Ring(0)
