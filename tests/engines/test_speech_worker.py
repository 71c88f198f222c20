"""The worker thread: order, errors, cancelling, any loop, and no waiting at the end."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading

import pytest

from pinecall_cli.engines.worker import GIVES_WAY, INTERIM, Worker, unhurried


async def test_jobs_run_in_the_order_they_came_in_one_other_thread():
    worker, done = Worker("test"), []
    results = await asyncio.gather(*(worker.run(done.append, n) for n in range(20)))
    assert done == list(range(20))
    assert results == [None] * 20
    assert await worker.run(lambda: threading.current_thread().name) == "test"
    worker.close()


async def test_a_job_that_fails_fails_its_caller_and_no_other():
    worker = Worker("test")
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 / 0)
    with pytest.raises(SystemExit):
        await worker.run(sys.exit)
    assert await worker.run(divmod, 7, 2) == (3, 1)
    worker.close()


async def test_a_calls_jobs_go_before_others_however_many_wait():
    worker, gate, begun, done = Worker("test"), threading.Event(), threading.Event(), []

    def hold() -> None:
        begun.set()
        gate.wait()

    holding = asyncio.ensure_future(worker.run(hold))
    await asyncio.to_thread(begun.wait)
    with unhurried():
        others = [asyncio.ensure_future(worker.run(done.append, f"other {n}")) for n in range(3)]
        await asyncio.sleep(0)
    with unhurried(INTERIM):
        interim = asyncio.ensure_future(worker.run(done.append, "interim"))
        await asyncio.sleep(0)
    calls = [asyncio.ensure_future(worker.run(done.append, f"call {n}")) for n in range(3)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(holding, interim, *others, *calls)
    ranked = [[f"{kind} {n}" for n in range(3)] for kind in ("call", "other")]
    assert done == [*ranked[0], "interim", *ranked[1]]
    worker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is a whole process's")
async def test_a_thread_that_computes_gives_way_to_those_that_keep_time():
    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    hurried, patient = Worker("hurried"), Worker("patient", gives_way=True)
    assert await hurried.run(nice) == nice()
    assert await patient.run(nice) == min(19, nice() + GIVES_WAY)
    hurried.close()
    patient.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is a whole process's")
async def test_where_that_is_forbidden_it_works_all_the_same(monkeypatch: pytest.MonkeyPatch):
    def forbidden(*what: int) -> int:
        raise OSError(errno.ENOSYS, "no such call")

    for name in ("getpriority", "setpriority"):
        monkeypatch.setattr(os, name, forbidden)
        worker = Worker("patient", gives_way=True)
        assert await worker.run(abs, -1) == 1
        worker.close()
        monkeypatch.undo()


async def test_a_waiting_job_that_is_cancelled_never_begins():
    worker, gate, begun, ran = Worker("test"), threading.Event(), threading.Event(), []

    def hold() -> str:
        begun.set()
        gate.wait()
        return "held"

    first = asyncio.ensure_future(worker.run(hold))
    second = asyncio.ensure_future(worker.run(ran.append, "second"))
    third = asyncio.ensure_future(worker.run(ran.append, "third"))
    await asyncio.to_thread(begun.wait)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.set()
    assert await first == "held"
    await third
    assert ran == ["third"]
    worker.close()


async def test_a_running_job_that_is_cancelled_ends_unheard():
    worker, gate, begun = Worker("test"), threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        gate.wait()

    job = asyncio.ensure_future(worker.run(hold))
    await asyncio.to_thread(begun.wait)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    gate.set()
    assert await worker.run(str, 1) == "1"
    worker.close()


def test_one_worker_serves_many_loops():
    worker = Worker("test")
    assert [asyncio.run(worker.run(abs, -n)) for n in range(3)] == [0, 1, 2]
    worker.close()


def test_a_closed_worker_finishes_what_it_has_and_takes_nothing_new():
    worker = Worker("test")
    job = worker.submit(sum, (1, 2))
    worker.close()
    worker.close()
    assert job.result() == 3
    with pytest.raises(RuntimeError):
        worker.submit(sum, (1, 2))


def test_a_program_never_waits_for_a_job_at_its_end():
    program = (
        "import asyncio, threading\n"
        "from pinecall_cli.engines.worker import Worker\n"
        "begun = threading.Event()\n"
        "def forever():\n"
        "    begun.set()\n"
        "    threading.Event().wait()\n"
        "async def main():\n"
        "    job = asyncio.ensure_future(Worker('test').run(forever))\n"
        "    while not begun.is_set(): await asyncio.sleep(0)\n"
        "    print('leaving')\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert (ended.returncode, ended.stdout) == (0, "leaving\n"), ended.stderr
