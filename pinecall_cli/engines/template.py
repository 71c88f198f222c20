"""Fill the placeholders of a script: ``{name}``, ``{a.b}``, ``{a[0].b}``.

``{{`` and ``}}`` are braces. A value goes in as it is and is never expanded again. A brace that
opens no placeholder stands for itself, so that a line of JSON can be said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

NAME = r"[^\W\d][\w-]*"
PATH = re.compile(rf"{NAME}(?:\.[\w-]+|\[\d+\])*")
PLACEHOLDER = re.compile(rf"\{{\{{|\}}\}}|\{{({PATH.pattern})\}}")
STEP = re.compile(r"([\w-]+)|\[(\d+)\]")


class Missing:
    """What a placeholder comes to that names nothing."""


MISSING: Final = Missing()


def look_up(path: str, values: Mapping[str, Any]) -> Any:
    """Return what ``path`` names in ``values``, or `MISSING`."""
    found: Any = values
    for name, index in STEP.findall(path):
        if isinstance(found, Mapping):
            found = found.get(name or index, MISSING)
        elif isinstance(found, Sequence) and not isinstance(found, str) and index:
            found = found[int(index)] if int(index) < len(found) else MISSING
        else:
            return MISSING
    return found


def as_text(value: Any) -> str:
    """Return a value as it is said: a text as it is, nothing for None, anything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def fill(text: str, values: Mapping[str, Any], missing: Callable[[str], None]) -> str:
    """Return ``text`` with its placeholders filled; those without a value are empty.

    ``missing`` is told the path of each of the latter.
    """

    def one(found: re.Match[str]) -> str:
        path = found[1]
        if path is None:
            return found[0][0]
        value = look_up(path, values)
        if isinstance(value, Missing):
            missing(path)
            return ""
        return as_text(value)

    return PLACEHOLDER.sub(one, text)


def fill_value(value: Any, values: Mapping[str, Any], missing: Callable[[str], None]) -> Any:
    """Return a tool's argument with every text in it filled.

    A text that is one placeholder and nothing else becomes the value itself, with its JSON type.
    """
    match value:
        case str():
            whole = PLACEHOLDER.fullmatch(value)
            if whole is None or whole[1] is None:
                return fill(value, values, missing)
            found = look_up(whole[1], values)
            if isinstance(found, Missing):
                missing(whole[1])
                return ""
            return found
        case Mapping():
            return {key: fill_value(inner, values, missing) for key, inner in value.items()}
        case list() | tuple():
            return [fill_value(inner, values, missing) for inner in value]
        case _:
            return value
