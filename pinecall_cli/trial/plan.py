"""A voice spec as the steps of a virtual caller, with the waits that a spec leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pinecall_cli.caller.steps import Hangup, Step, Wait
from pinecall_cli.trial.spec import Spec, SpecStep

NO_WAIT_BEFORE = frozenset({"pause", "wait", "interrupt"})
"""Steps that say themselves what happens after something was said."""
ANSWERED = frozenset({"say", "play", "interrupt"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What the caller does; ``of[n]`` is the spec's step that the caller's n-th belongs to."""

    steps: tuple[Step, ...]
    of: tuple[int | None, ...]


def plan(spec: Spec) -> Plan:
    """Return what the caller of a spec does.

    It waits for the greeting first, and after each thing it said for the agent's reply, unless
    the spec goes on with a wait, a pause or an interruption of its own. Then it hangs up.
    """
    pairs = list(_pairs(spec.steps))
    return Plan(tuple(step for step, _ in pairs), tuple(index for _, index in pairs))


def _pairs(steps: tuple[SpecStep, ...]) -> Iterator[tuple[Step, int | None]]:
    if steps and steps[0].verb != "wait":
        yield Wait("greeting"), None
    for index, one in enumerate(steps):
        yield one.step, index
        following = steps[index + 1].verb if index + 1 < len(steps) else None
        if one.verb in ANSWERED and following not in NO_WAIT_BEFORE:
            yield Wait("reply", one.timeout, one.where), index
    if not steps or steps[-1].verb != "hangup":
        yield Hangup(), None
