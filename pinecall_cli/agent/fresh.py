"""Modules beside a user's file, imported afresh at every load.

They are found as ``python file.py`` would find them, the file's folder first, but without byte
code: ``.pyc`` files are told apart by whole seconds, and two saves in one second are two versions.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import itertools
import sys
import sysconfig
import threading
import types
from collections.abc import Collection, Iterator, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path

OURS = Path(__file__).parents[1]
BEFORE = frozenset(sys.modules)
"""Modules that were there before any user's file; never imported again."""

MAIN = "pinecall_agent_"
"""What the names of loaded files begin with, in ``sys.modules``."""

_lock = threading.RLock()
_counter = itertools.count(1)


class FreshLoader(importlib.machinery.SourceFileLoader):
    """Compiles a module's source each time."""

    def get_code(self, fullname: str) -> types.CodeType:
        """Return the code of the source as it is now."""
        path = self.get_filename(fullname)
        code: types.CodeType = self.source_to_code(self.get_data(path), path)
        return code


class FolderFinder(MetaPathFinder):
    """Finds modules in one folder; for one thread only, or for all."""

    def __init__(self, folder: Path, thread: int | None = None) -> None:
        self.folder, self.thread = folder, thread

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's place in the folder, or None."""
        if self.thread is None:
            if not _asked_by(self.folder):
                return None
        elif threading.get_ident() != self.thread:
            return None
        for place in [str(self.folder)] if path is None else path:
            if not Path(place).is_relative_to(self.folder) or not is_theirs(Path(place)):
                continue
            finder = importlib.machinery.FileFinder(place, (FreshLoader, [".py"]))
            spec = finder.find_spec(fullname, target)
            # A folder without `__init__` counts last of all, as it does for Python.
            if spec is not None and (spec.loader is not None or self.thread is None):
                return spec
        return None


class FreshModules:
    """The modules of one folder that loads of its files have imported."""

    _by_folder: dict[Path, FreshModules] = {}  # noqa: RUF012 - one per folder, for the process

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: frozenset[Path] = frozenset()
        """The modules' files, as of the last load."""
        self._main: dict[Path, str] = {}

    @classmethod
    def of(cls, folder: Path) -> FreshModules:
        """Return the folder's one and only."""
        with _lock:
            if folder not in cls._by_folder:
                cls._by_folder[folder] = cls(folder)
                # Last, for imports inside functions that run later: there the user's modules
                # must not hide the standard library's from our own code.
                sys.meta_path.append(FolderFinder(folder))
            return cls._by_folder[folder]

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """Forget what was imported, and find this thread's imports in the folder first.

        Other folders' modules are forgotten too: one of the same name must not stand in.
        """
        with _lock:
            for name, _ in _loaded(self._by_folder):
                sys.modules.pop(name, None)
        finder = FolderFinder(self.folder, threading.get_ident())
        with _lock:
            sys.meta_path.insert(_before_paths(), finder)
        try:
            yield
        finally:
            with _lock:
                sys.meta_path.remove(finder)
            self.files = frozenset(path for _, path in _loaded((self.folder,)))

    def abandon(self) -> None:
        """Give up the modules that a hanging import stands in.

        Its thread holds their import locks, and the next load, of the mended file, would wait
        for them. Python has no public way to take a lock out.
        """
        locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
        for name, _ in _loaded((self.folder,)):
            if getattr(sys.modules[name].__spec__, "_initializing", False):
                locks.pop(name, None)

    def new_module(self, path: Path) -> types.ModuleType:
        """Return an empty module for a file, in place of the one of its last load.

        It stands in ``sys.modules``, where dataclasses and type hints look for their module.
        """
        if path in self._main:
            sys.modules.pop(self._main[path], None)
        name = f"{MAIN}{next(_counter)}_{path.stem}"
        module = types.ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module
        self._main[path] = name
        return module


def _asked_by(folder: Path) -> bool:
    """Tell whether code of the folder runs in this thread, and so may have asked for a module.

    Packages of ours look for optional ones (httpcore for ``h2``) and must not find the user's.
    """
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(folder) and is_theirs(path):
            return True
        frame = frame.f_back
    return False


def _loaded(folders: Collection[Path]) -> list[tuple[str, Path]]:
    """Return the modules of these folders that are loaded now, the files of loads left out."""
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name in BEFORE or name.startswith(MAIN) or not isinstance(file, str):
            continue
        path = Path(file)
        if any(parent in folders for parent in path.parents) and is_theirs(path):
            found.append((name, path))
    return found


INSTALLED = frozenset(
    Path(folder)
    for folder in (
        *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        *((sys.prefix,) if sys.prefix != sys.base_prefix else ()),  # a virtual environment, whole
    )
)


def is_theirs(path: Path) -> bool:
    """Tell whether a file is the user's own: no installed package, not the standard library."""
    if {"site-packages", "dist-packages"} & set(path.parts) or path.is_relative_to(OURS):
        return False
    return not any(path.is_relative_to(folder) for folder in INSTALLED)


def _before_paths() -> int:
    """Return where in ``sys.meta_path`` the search of ``sys.path`` begins."""
    for n, finder in enumerate(sys.meta_path):
        if finder is importlib.machinery.PathFinder:
            return n
    return len(sys.meta_path)
