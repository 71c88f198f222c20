"""Checks of the machine: versions, folders, terminal, and who else is called `pinecall`."""

from __future__ import annotations

import os
import platform
import re
import shlex
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from pinecall_cli import __version__, settings
from pinecall_cli.settings import Surroundings
from pinecall_cli.view.checkup import Check
from pinecall_cli.view.console import colour_forced, console_for

DISTRIBUTION = "pinecall-cli"
OTHER_PROJECT = "pinecall"
"""A distribution on PyPI that is another project, with a command of our name."""
OLDEST_PYTHON = (3, 11)
NARROWEST = 40
LARGEST_SCRIPT = 1 << 20


# --- versions -------------------------------------------------------------------------------


def python() -> Iterator[Check]:
    """Yield the Python that runs this."""
    version = f"{platform.python_version()} ({sys.executable})"
    good = sys.version_info >= OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    yield Check("python", good, version, None if good else f"install Python {oldest}", needed=True)


def ourselves() -> Iterator[Check]:
    """Yield our version and where it is installed; another one than its metadata is stale."""
    where = Path(__file__).parents[1]
    try:
        installed = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        installed = None
    if installed == __version__:
        yield Check("pinecall", True, f"{__version__} ({where})", needed=True)
    else:
        said = "not installed as a package" if installed is None else f"installed as {installed}"
        yield Check("pinecall", False, f"{__version__} ({where}), {said}", "pip install .")


def packages() -> Iterator[Check]:
    """Yield whether the packages that every command may need are there, in versions that fit."""
    try:
        wanted = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return
    present, wrong = fitting(requirement for requirement in wanted if ";" not in requirement)
    if wrong:
        fix = "pip install " + " ".join(shlex.quote(text) for text in wrong.values())
        yield Check("packages", False, "; ".join(wrong), fix, needed=True)
    else:
        yield Check("packages", True, ", ".join(present), needed=True)


def fitting(requirements: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Return the packages that fit with their versions, and what is wrong with which others."""
    present, wrong = [], {}
    for requirement in requirements:
        name, specifier = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(.*)", requirement.strip()).groups()  # type: ignore[union-attr]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong[f"{name} is missing"] = requirement
            continue
        if fits(version, specifier):
            present.append(f"{name} {version}")
        else:
            wrong[f"{name} is {version}, not {specifier}"] = requirement
    return present, wrong


def fits(version: str, specifier: str) -> bool:
    """Tell whether a version is as a specifier of ours wants it (``>=``, ``<``, ``==``)."""
    for sign, bound in re.findall(r"(>=|<|==)\s*([0-9.]+)", specifier):
        have, want = numbers(version), numbers(bound)
        size = max(len(have), len(want))
        have, want = (side + (0,) * (size - len(side)) for side in (have, want))
        if not {">=": have >= want, "<": have < want, "==": have == want}[sign]:
            return False
    return True


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


# --- other programs of our name -------------------------------------------------------------


def path() -> Iterator[Check]:
    """Yield whether `pinecall` on PATH is this program."""
    yield of_path(list(called("pinecall", os.environ.get("PATH", ""))), this_program())


def of_path(found: Sequence[Path], ours: Path) -> Check:
    """Return what it means that these are called `pinecall`, the first one first."""
    others = [one for one in found if not same(one, ours)]
    strangers = [f"{one} ({whose(one)})" for one in others]
    folder = shlex.quote(str(ours.parent))
    if others:
        first = found[0] in others
        said = "`pinecall` is another program here" if first else "others are called `pinecall` too"
        fix = f'put ours first: export PATH={folder}:"$PATH"' if first else "ours comes first here"
        if any(whose(one) != SAME for one in others) or installed_beside():
            fix += "; PyPI's `pinecall` is another project: `pip uninstall pinecall` removes it"
        return Check("path", False, f"{said}: {', '.join(strangers)}; this is {ours}", fix)
    if installed_beside():
        return Check(
            "path",
            False,
            "PyPI's `pinecall`, another project, is installed in this environment and has a "
            "command of the same name",
            f"pip uninstall {OTHER_PROJECT}, then install {DISTRIBUTION} again",
        )
    if not found:
        return Check("path", True, f"not on PATH; this is {ours}")
    return Check("path", True, str(found[0]))


def called(name: str, folders: str) -> Iterator[Path]:
    """Yield the programs of a name on PATH, each once."""
    endings = os.environ.get("PATHEXT", ".EXE;.CMD;.BAT").split(";") if os.name == "nt" else [""]
    seen: set[Path] = set()
    for folder in filter(None, folders.split(os.pathsep)):
        for ending in endings:
            file = Path(folder) / f"{name}{ending}"
            if file.is_file() and os.access(file, os.X_OK) and file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def this_program() -> Path:
    """Return the command by which this was started, or by which it could be."""
    started = Path(sys.argv[0])
    if started.stem == "pinecall" and started.exists():
        return started.absolute()
    return Path(sysconfig.get_path("scripts")) / "pinecall"


def same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one file."""
    return one.resolve() == other.resolve()


SAME = "another installation of this one"


def whose(program: Path) -> str:
    """Return what a program of our name is, as far as its first lines tell. It is never run."""
    try:
        with program.open("rb") as file:
            text = file.read(LARGEST_SCRIPT)
    except OSError:
        return "cannot be read"
    if b"pinecall_cli" in text:
        return SAME
    return "a Node program" if re.match(rb"#!.*node", text) else "another program"


def installed_beside() -> bool:
    """Tell whether the other project is installed in this environment."""
    try:
        metadata.distribution(OTHER_PROJECT)
    except metadata.PackageNotFoundError:
        return False
    return True


# --- folders --------------------------------------------------------------------------------


def folders() -> Iterator[Check]:
    """Yield whether our folders can be written to, and by us alone."""
    around = Surroundings.here()
    for name, folder, files in (
        ("config", settings.config_dir(around), "config.toml"),
        ("data", settings.data_dir(around), "calls.db*"),
        ("state", settings.state_dir(around), "*.json"),
        ("run", settings.run_dir(around), "servers/*.json"),
    ):
        yield of_folder(name, folder, sorted(folder.glob(files)), around.uid)


def of_folder(name: str, folder: Path, files: Sequence[Path], uid: int | None) -> Check:
    """Return whether a folder, and what is private in it, is as it should be."""
    if not folder.exists():
        parent = next(one for one in folder.parents if one.exists())
        problem = refused(parent)
        if problem:
            return Check(name, False, f"{folder} cannot be made: {problem}", MOVE, needed=True)
        return Check(name, True, f"{folder}, made when it is wanted", needed=True)
    if not folder.is_dir():
        return Check(name, False, f"{folder} is no folder", f"move {folder} away", needed=True)
    if uid is not None:
        if folder.stat().st_uid != uid:
            fix = f"sudo chown -R $USER {shlex.quote(str(folder))}"
            return Check(name, False, f"{folder} belongs to another user", fix, needed=True)
        open_to_others = [one for one in (folder, *files) if others_may(one)]
        if open_to_others:
            shown = ", ".join(map(str, open_to_others))
            fix = "chmod go= " + " ".join(shlex.quote(str(one)) for one in open_to_others)
            return Check(name, False, f"others may open {shown}", fix, needed=True)
    problem = refused(folder)
    if problem:
        return Check(name, False, f"{folder} cannot be written to: {problem}", MOVE, needed=True)
    return Check(name, True, str(folder), needed=True)


MOVE = "make it writable, or name another: XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME"


def others_may(path: Path) -> bool:
    """Tell whether anybody but the owner may do anything with a file or folder."""
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except FileNotFoundError:  # a server has ended meanwhile
        return False


def refused(folder: Path) -> str | None:
    """Return why nothing can be written in a folder; None if it can, which is tried."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as problem:
        return problem.strerror or str(problem)


# --- the terminal ---------------------------------------------------------------------------


def terminal() -> Iterator[Check]:
    """Yield what the terminal can show."""
    console = console_for()
    yield of_terminal(
        os.environ,
        is_terminal=sys.stdout.isatty(),
        encoding=console.encoding,
        width=console.width,
        colours=bool(console.color_system) or colour_forced(),
    )


def of_terminal(
    environ: Mapping[str, str], *, is_terminal: bool, encoding: str, width: int, colours: bool
) -> Check:
    """Return what a terminal's name, encoding and width come to."""
    said = [encoding, "colours" if colours else "no colours"]
    if not is_terminal:
        said = ["not a terminal: views are plain lines", *said]
    else:
        said = [environ.get("TERM", "") or "TERM is not set", f"{width} columns", *said]
    message = ", ".join(said)
    if not encoding.lower().replace("-", "").startswith("utf"):
        fix = "set a UTF-8 locale, such as LANG=C.UTF-8; until then signs are drawn in ASCII"
        return Check("terminal", False, message, fix)
    if is_terminal and environ.get("TERM", "dumb") in ("dumb", "") and os.name != "nt":
        return Check("terminal", False, message, "set TERM; until then views are plain lines")
    if is_terminal and width < NARROWEST:
        return Check("terminal", False, message, f"make it {NARROWEST} columns wide or more")
    return Check("terminal", True, message)
