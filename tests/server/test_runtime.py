from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from pinecall_cli.server import runtime
from tests.server.peer import embedded


def written(run_dir: Path, name: str, **said: object) -> Path:
    """Write a runtime file of another process."""
    folder = run_dir / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    body = {"url": "http://127.0.0.1:9", "key": "pk", "pid": os.getpid(), "started": 1.0} | said
    file.write_text(json.dumps(body))
    return file


def gone_pid() -> int:
    """Return the id of a process that is over."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_runtime_file_is_private_and_says_where_the_server_is(tmp_path: Path):
    file = runtime.write(tmp_path / "run", url="http://127.0.0.1:4747", key="pk_1")
    assert file.name == f"{os.getpid()}.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.parent.parent.stat().st_mode & 0o777 == 0o700
    assert set(json.loads(file.read_text())) == {"url", "key", "pid", "started"}
    (running,) = runtime.found(tmp_path / "run")
    assert (running.url, running.key) == ("http://127.0.0.1:4747", "pk_1")
    assert "pk_1" not in repr(running)
    runtime.remove(file)
    runtime.remove(file)
    assert runtime.found(tmp_path / "run") == []


def test_what_is_no_runtime_file_is_passed_over(tmp_path: Path):
    assert runtime.found(tmp_path) == []
    written(tmp_path, "later", started=2.0)
    written(tmp_path, "earlier", started=1.0)
    for name, text in (("a", ""), ("b", "[]"), ("c", '{"url": 1}'), ("d", "\udcff")):
        path = tmp_path / "servers" / f"{name}.json"
        path.write_bytes(text.encode(errors="surrogateescape"))
    assert [server.file.stem for server in runtime.found(tmp_path)] == ["earlier", "later"]


def test_a_sweep_keeps_what_answers_with_its_key_and_removes_the_rest(tmp_path: Path):
    with embedded(run_dir=tmp_path) as server:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        stale = [
            written(tmp_path, "1", url=nobody, pid=gone_pid()),
            written(tmp_path, "2", url=server.url, key="pk_of_another"),
            written(tmp_path, "3", url="nonsense"),
        ]
        found = runtime.sweep(tmp_path, answer_s=10)
        assert [running.url for running in found] == [server.url]
        assert not any(file.exists() for file in stale)


def test_a_server_too_busy_to_answer_keeps_its_file_while_its_process_lives(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        url = f"http://127.0.0.1:{busy.getsockname()[1]}"
        alive = written(tmp_path, "1", url=url)
        dead = written(tmp_path, "2", url=url, pid=gone_pid())
        assert runtime.sweep(tmp_path, answer_s=0.05) == []
        assert alive.exists()
        assert not dead.exists()
