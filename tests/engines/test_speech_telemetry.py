"""Speech stays on this machine: the runtime under the engines reports to nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

PROGRAM = "from pinecall_cli.engines import engine; engine('silero')().warm_up()"


def test_loading_an_engine_leaves_no_store_of_reports_behind(tmp_path: Path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    environ = kept | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environ, check=True, timeout=120)
    assert list(tmp_path.rglob("*onnxruntime*")) == []
