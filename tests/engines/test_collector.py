"""What is loaded for good is nothing that the garbage collector goes through again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from pinecall_cli.engines.collector import passed_over


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


class Loaded:
    """A thing that is found again."""


def followed(thing: object) -> bool:
    return any(one is thing for one in gc.get_objects())


def test_what_is_there_when_all_is_loaded_is_passed_over_until_the_end():
    loaded: Future[None] = Future()
    model = Loaded()
    with passed_over(loaded):
        assert followed(model)
        loaded.set_result(None)
        call = Loaded()
        assert not followed(model)
        assert followed(call)
    assert followed(model)


def test_what_could_not_be_loaded_changes_nothing_about_the_rest():
    loaded: Future[None] = Future()
    rest = Loaded()
    with passed_over(loaded):
        loaded.set_exception(RuntimeError("no models here"))
        assert not followed(rest)


def test_what_is_loaded_when_nobody_asks_any_more_is_left_alone():
    loaded: Future[None] = Future()
    with passed_over(loaded):
        pass
    loaded.set_result(None)
    assert gc.get_freeze_count() == 0
