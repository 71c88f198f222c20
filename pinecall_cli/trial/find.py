"""Which spec files are meant: those named, and all those below the folders named."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pinecall_cli.errors import UsageError

ENDINGS = (".spec.yaml", ".spec.yml")
SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages"})
"""Folders that are not looked into, beside hidden ones and virtual environments."""


def spec_files(targets: Iterable[Path]) -> list[Path]:
    """Return the spec files that targets mean, each once, in the order of the targets.

    A file is taken as it is, whatever its name; of a folder, all files ``*.spec.yaml`` and
    ``*.spec.yml`` in it and below it, sorted. A pattern that no shell has expanded is expanded.

    Raises:
        UsageError: If a target is not there, or a folder cannot be read.
    """
    found: dict[Path, None] = {}
    for target in targets:
        if target.is_dir():
            found.update(dict.fromkeys(sorted(below(target))))
        elif target.exists():
            found[target] = None
        elif glob.has_magic(str(target)):
            found.update(dict.fromkeys(spec_files(Path(p) for p in sorted(glob.glob(str(target))))))
        else:
            raise UsageError(
                f"there is no file or folder `{target}`",
                fix="name spec files, or folders that hold some",
                code="missing_file",
            )
    by_place = {path.resolve(): path for path in reversed(found)}  # the first name of each counts
    return [path for path in found if by_place[path.resolve()] is path]


def below(folder: Path) -> Iterator[Path]:
    """Yield the spec files in a folder and in those below it.

    Raises:
        UsageError: If one of them cannot be read: what is in it would not be tested.
    """

    def unreadable(problem: OSError) -> None:
        raise UsageError(
            f"cannot read `{problem.filename}`: {problem.strerror}",
            fix="name the folders that hold the specs",
            code="unreadable_file",
        )

    for place, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in SKIPPED
            and not Path(place, name, "pyvenv.cfg").exists()
        )
        yield from (
            Path(place, name)
            for name in files
            if name.endswith(ENDINGS) and not name.startswith(".")
        )
