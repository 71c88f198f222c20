"""Whether what happened is what was expected, and what there was instead. Pure."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pinecall_cli.trial.record import Window
from pinecall_cli.trial.spec import CallsTool, Expectation, Happens, Says, Within

FREQUENT = frozenset(
    {"bot.word", "llm.token", "llm.chat.token", "llm.chat.chunk", "user.speaking", "audio.metrics"}
)
"""Events that tell nobody anything in a list of what happened."""
MOST = 20
"""Lines of what there was; of many events the first of them tell enough."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one expectation."""

    expectation: Expectation
    passed: bool
    found: tuple[str, ...]
    """What there was, a line each, for people."""


def judge(expectation: Expectation, window: Window) -> Verdict:
    """Return whether ``window`` is as expected."""
    match expectation:
        case Says(pattern=pattern, wanted=wanted):
            said = window.said
            hit = any(compiled(pattern).search(text) for text in (*said, " ".join(said)))
            return Verdict(expectation, hit is wanted, (*_said(said), *_understood(window)))
        case CallsTool(tool=name, args=args, wanted=wanted):
            hit = any(
                use.name == name and (args is None or fits(args, use.args)) for use in window.tools
            )
            called = [f"called: {use.name} {shown(use.args)}" for use in window.tools]
            found = called or ["called: no tool"]
            return Verdict(expectation, hit is wanted, (*found, *_understood(window)))
        case Happens():
            return _happened(expectation, window)
        case Within(limits=limits):
            return _timed(expectation, limits, window)


def not_reached(expectation: Expectation, why: str) -> Verdict:
    """Return the verdict on what was expected of a step that was never done."""
    return Verdict(expectation, False, (why,))


def expected(expectation: Expectation) -> str:
    """Return what was expected, as one line."""
    match expectation:
        case Says(pattern=pattern, wanted=wanted):
            return f"{'says' if wanted else 'never says'} `{pattern}`"
        case CallsTool(tool=name, args=args, wanted=wanted):
            given = "" if args is None else f" with {shown(args)}"
            return f"{'a call' if wanted else 'no call'} of `{name}`{given}"
        case Happens(event=name, fields=fields, wanted=wanted):
            given = f" with {shown(fields)}" if fields else ""
            return f"{'the event' if wanted else 'no event'} `{name}`{given}"
        case Within(limits=limits):
            return ", ".join(f"{name} within {limit:g} ms" for name, limit in limits.items())


def kind(expectation: Expectation) -> str:
    """Return the key that the expectation has in its file."""
    match expectation:
        case Says(wanted=wanted):
            name = "says"
        case CallsTool(wanted=wanted):
            name = "tool"
        case Happens(wanted=wanted):
            name = "event"
        case Within():
            return "within_ms"
    return name if wanted else f"not_{name}"


def fits(wanted: Any, there: Any) -> bool:
    """Tell whether ``there`` is as wanted: a mapping may have more keys, a list no more items.

    A text between slashes is a regular expression: ``/seven|7/``.
    """
    match wanted:
        case Mapping():
            return isinstance(there, Mapping) and all(
                key in there and fits(value, there[key]) for key, value in wanted.items()
            )
        case list():
            return (
                isinstance(there, list)
                and len(wanted) == len(there)
                and all(map(fits, wanted, there))
            )
        case str() if (pattern := between_slashes(wanted)) is not None:
            text = there if isinstance(there, str) else shown(there)
            return compiled(pattern).search(text) is not None
        case bool():
            return there is wanted
        case int() | float():
            return not isinstance(there, bool) and there == wanted
    return bool(there == wanted)


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a regular expression; what Python may one day read differently it reads as today.

    Raises:
        re.error: If it is none; also OverflowError, RecursionError and ValueError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(pattern)


def between_slashes(text: str) -> str | None:
    """Return the regular expression in ``/…/``; None for any other text."""
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == "/" else None


def shown(value: Any) -> str:
    """Return a value as JSON, for a message."""
    return json.dumps(value, ensure_ascii=False, default=dict)


def _said(said: list[str]) -> list[str]:
    return [f'said: "{text}"' for text in said] or ["said: nothing"]


def _understood(window: Window) -> list[str]:
    """Return what the agent took the caller to say: there speech goes wrong first."""
    heard = " ".join(text for text in window.understood.values() if text)
    return [f'heard: "{heard}"'] if heard else []


def _happened(expectation: Happens, window: Window) -> Verdict:
    same = [fields for fields in window.events if fields.get("event") == expectation.event]
    hit = any(fits(expectation.fields, fields) for fields in same)
    if same:
        keys = list(expectation.fields)
        found = [f"came: {shown({k: f[k] for k in keys if k in f})}" for f in same[:MOST]]
        found += [f"and {len(same) - MOST} more"] if len(same) > MOST else []
    else:
        names = dict.fromkeys(str(fields.get("event", "")) for fields in window.events)
        listed = ", ".join(name for name in names if name not in FREQUENT)
        found = [f"came: {listed or 'nothing'}"]
    return Verdict(expectation, hit is expectation.wanted, tuple(found))


def _timed(expectation: Within, limits: Mapping[str, float], window: Window) -> Verdict:
    found, passed = [], True
    for name, limit in limits.items():
        taken = [times[name] for times in window.times if name in times]
        passed = passed and bool(taken) and max(taken) <= limit
        ms = ", ".join(f"{one:.0f} ms" for one in taken)
        found.append(f"{name}: {ms or 'nothing was timed'}")
    return Verdict(expectation, passed, tuple(found))
