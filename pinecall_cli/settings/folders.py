"""Our folders on this system: configuration, data, state, and what runs now."""

from __future__ import annotations

import os
from pathlib import Path

from pinecall_cli.settings.values import Surroundings


def config_dir(around: Surroundings | None = None) -> Path:
    """Return the folder of the profile."""
    return _folder(around or Surroundings.here(), "XDG_CONFIG_HOME", ".config", "APPDATA", "")


def data_dir(around: Surroundings | None = None) -> Path:
    """Return the folder of what is kept: the call log, recordings, models."""
    at = around or Surroundings.here()
    return _folder(at, "XDG_DATA_HOME", ".local/share", "LOCALAPPDATA", "data")


def state_dir(around: Surroundings | None = None) -> Path:
    """Return the folder of what may be lost: histories, caches of choices."""
    at = around or Surroundings.here()
    return _folder(at, "XDG_STATE_HOME", ".local/state", "LOCALAPPDATA", "state")


def run_dir(around: Surroundings | None = None) -> Path:
    """Return the folder of what runs now; never one that several users share."""
    at = around or Surroundings.here()
    runtime = at.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        return Path(runtime) / "pinecall"
    return state_dir(at) / "run"


def _folder(at: Surroundings, xdg: str, unix: str, windows: str, part: str) -> Path:
    """Return one of our folders; XDG wins everywhere when set (to an absolute path, its rule)."""
    named = at.environ.get(xdg, "")
    if os.path.isabs(named):
        return Path(named) / "pinecall"
    if at.platform == "darwin":
        return at.home / "Library" / "Application Support" / "pinecall" / part
    if at.platform == "win32":
        base = at.environ.get(windows)
        return (Path(base) if base else at.home / "AppData" / "Local") / "pinecall" / part
    return at.home / unix / "pinecall"
