"""Files that are written whole or not at all, whatever happens on the way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pinecall_cli.errors import InfrastructureError, UsageError


def make_room(path: Path) -> None:
    """Take away what an earlier run left, and see that a file can be written there.

    Raises:
        UsageError: If none can.
    """
    try:
        if is_special(path):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".room-")
        os.close(handle)
        os.unlink(name)
    except OSError as problem:
        raise UsageError(
            f"cannot write `{path}`: {reason(problem)}", fix="name another file"
        ) from None


def keep(path: Path, write: Callable[[BinaryIO], object], *, private: bool = True) -> None:
    """Write a file whole or not at all; a file that was there stays until the new one is.

    A pipe or a device is written to as it is. ``private`` lets nobody else read a file.

    Raises:
        UsageError: If there is no such folder, or it may not be written to.
        InfrastructureError: If the disk is full.
    """
    try:
        if is_special(path):
            handle, name = os.open(path, os.O_WRONLY), None
        else:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-")
    except OSError as problem:
        raise UsageError(f"cannot write `{path}`: {reason(problem)}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        if name is not None:
            if not private:
                os.chmod(name, 0o666 & ~umask())
            os.replace(name, path)
    except OSError as problem:
        raise InfrastructureError(
            f"cannot write `{path}`: {reason(problem)}", code="disk"
        ) from None
    finally:
        if name is not None:
            Path(name).unlink(missing_ok=True)


def is_special(path: Path) -> bool:
    """Tell whether there is something that is neither file nor folder: a pipe, a device."""
    return path.exists() and not path.is_file() and not path.is_dir()


def umask() -> int:
    """Return which permissions new files are not to have."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def reason(problem: OSError) -> str:
    """Return the system's word for a problem."""
    return (problem.strerror or str(problem)).lower()
