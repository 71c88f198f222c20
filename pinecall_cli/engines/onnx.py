"""Opens models on onnxruntime, one thread each: two are slower for models this small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort

from pinecall_cli.errors import EngineError

MODELS = Path(__file__).parent / "models"
"""The model files that come with the package, their licences beside them."""


def open_model(model: Path | bytes) -> Any:
    """Return an inference session for a model file or its bytes.

    Raises:
        EngineError: If the file is missing, or is no model that onnxruntime can run.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # A spinning thread burns a core between two frames of a call.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    name = model.name if isinstance(model, Path) else "the model"
    try:
        source = str(model) if isinstance(model, Path) else model
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's own exceptions share no base but this
        raise EngineError(
            f"cannot load `{name}`: {str(problem).splitlines()[0]}",
            fix="install pinecall-cli again: a model file of it is missing or damaged",
        ) from problem
