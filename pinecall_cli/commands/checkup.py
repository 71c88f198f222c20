"""What `doctor` looks at, in order; and that no check can break the others."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pinecall_cli.commands import checkup_machine as machine
from pinecall_cli.errors import PinecallError
from pinecall_cli.settings import Flags
from pinecall_cli.view.checkup import Check


@dataclass(frozen=True, slots=True)
class Look:
    """What was asked for on the command line."""

    flags: Flags
    device: str | None = None
    acoustic: bool = False
    verbose: int = 0


def checkup(look: Look) -> Iterator[Check]:
    """Yield every check as soon as it is done."""
    if not look.verbose:  # else what breaks in a thread is drawn between the rows, with traceback
        logging.getLogger().addHandler(logging.NullHandler())
    plan: list[tuple[str, Callable[[], Iterable[Check]]]] = [
        ("python", machine.python),
        ("pinecall", machine.ourselves),
        ("packages", machine.packages),
        ("path", machine.path),
        ("folders", machine.folders),
        ("terminal", machine.terminal),
        ("server", lambda: server(look)),
        ("speech", lambda: speech(look)),
    ]
    for name, look_at in plan:
        yield from guarded(name, look_at, loud=look.verbose > 0)


def server(look: Look) -> Iterator[Check]:
    """Yield the checks of key, server and clock."""
    # Here and not above: where a package is missing, that is to be a row and not the end.
    from pinecall_cli.commands.checkup_server import key_and_server

    yield from key_and_server(look.flags)


def speech(look: Look) -> Iterator[Check]:
    """Yield the checks of engines and devices; one that breaks leaves the others."""
    from pinecall_cli.commands.checkup_speech import Speech

    found = Speech(look.device)
    plan: list[tuple[str, Callable[[], Iterable[Check]]]] = [
        ("engines", found.engines),
        ("speech", found.round_trip),
        ("echo", found.echo),
        ("audio", found.devices),
    ]
    if look.acoustic:
        plan.append(("acoustic", found.acoustic))
    for name, look_at in plan:
        yield from guarded(name, look_at, loud=look.verbose > 0)


def guarded(
    name: str, look_at: Callable[[], Iterable[Check]], *, loud: bool = False
) -> Iterator[Check]:
    """Yield what a check finds; where it breaks, that is what was found."""
    try:
        yield from look_at()
    except PinecallError as problem:
        yield Check(name, False, problem.message, problem.fix, needed=True)
    except Exception as problem:  # a broken machine breaks in ways that nobody thought of
        if loud:
            traceback.print_exc()
        first = (str(problem).splitlines() or [""])[0][:200]
        yield Check(
            name,
            False,
            f"this check broke: {type(problem).__name__}: {first}",
            "run it with `-v` and report what it prints",
            needed=True,
        )
