"""The garbage collector, kept from what a process has loaded for good."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any


@contextmanager
def passed_over(loaded: Future[Any]) -> Iterator[None]:
    """Once ``loaded`` is done, let the collector pass over whatever is there, until this is left.

    Modules and models are never garbage, and to go through them takes 30 to 70 ms, again and
    again: so long no frame of a call leaves. What is made later it goes through as before. For a
    process that is all ours, since it is a whole process's.
    """
    left = False

    def set_aside(future: Future[Any]) -> None:
        if not left:
            gc.collect()
            gc.freeze()
            if left:  # meanwhile: a collection takes its time
                gc.unfreeze()

    loaded.add_done_callback(set_aside)
    try:
        yield
    finally:
        left = True
        gc.unfreeze()
