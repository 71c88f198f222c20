"""What the shape of a configuration cannot tell: grammars, names, and likely mistakes."""

from __future__ import annotations

import re
import zoneinfo
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pinecall_cli.agent.config import ToolSpec
from pinecall_cli.agent.problems import closest
from pinecall_cli.agent.reader import Reader, WrittenText
from pinecall_cli.agent.tools import TOOL_NAME, Tool
from pinecall_cli.errors import Where
from pinecall_cli.protocol.config import (
    FLUX_LANGUAGES,
    ConfigRefused,
    base_code,
    parse_llm,
    parse_pattern,
    parse_stt,
    refusals,
)
from pinecall_cli.protocol.phone import normalise_number

LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*|multi")
VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}")
BUILT_IN_VARIABLES = frozenset(
    ("date", "time", "day", "datetime", "date_block", "RAG_CONTEXT", "MEMORY")
)
"""Variables every prompt has without anybody setting them (config.md §8)."""

GRAMMARS = ("language", "stt", "voice", "llm", "interruption", "preparing", "config")

Values = Mapping[str, Any]

SCRIPT = "script"
"""The model that is none: rules answer."""


class Checks:
    """Checks the values of one agent, or of one of its phone numbers."""

    def __init__(self, values: Values, reader: Reader, path: str, default: Where) -> None:
        self.values, self.reader, self.path, self.default = values, reader, path, default

    def at(self, key: str) -> Where:
        """Return where a key's value stands."""
        return self.reader.place(f"{self.path}{key}", self.default)

    def grammars(self) -> None:
        """Check everything the protocol has a grammar or a rule for."""
        language = self.values.get("language")
        if isinstance(language, str) and not LANGUAGE.fullmatch(language):
            self._error("bad_language", f"`{language}` is no language tag", "language", "like `en`")
        simple = {key: self.values.get(key) for key in GRAMMARS}
        for key, refused in refusals(simple):
            self.reader.problems.error(refused.code, refused.message, self.at(key), refused.fix)
        stt = self.values.get("stt")
        if stt is not None and isinstance(language, str) and _is_nova_3(stt, language):
            self.reader.problems.warning(
                "nova_where_flux",
                f"`deepgram/nova-3` for `{language}`, which Flux covers",
                self.at("stt"),
                "write `stt: deepgram/flux`: it knows by itself when a turn ends",
            )
        local = self.values.get("local") or {}
        try:
            parse_llm(local.get("llm"))
        except ConfigRefused as refused:
            self.reader.problems.error(
                refused.code, refused.message, self.at("local.llm"), refused.fix
            )
        for key, model in (("llm", self.values.get("llm")), ("local.llm", local.get("llm"))):
            if isinstance(model, str) and model != SCRIPT and closest(model, [SCRIPT]):
                self.reader.problems.warning(
                    "unknown_model",
                    f"`{model}` is taken for a model of OpenAI's",
                    self.at(key),
                    f"did you mean `{SCRIPT}`?",
                )

    def _error(self, code: str, message: str, key: str, hint: str | None = None) -> None:
        self.reader.problems.error(code, message, self.at(key), hint)

    def places(self) -> None:
        """Check ``timezone`` and ``allowed_origins``."""
        zone = self.values.get("timezone")
        if isinstance(zone, str) and zone not in (known := zoneinfo.available_timezones()):
            near = closest(zone, {name.lower(): name for name in known})
            names = {name.lower(): name for name in known}
            hint = f"did you mean `{names[near]}`?" if near else "like `Europe/Madrid`"
            self._error("bad_timezone", f"there is no time zone `{zone}`", "timezone", hint)
        for n, origin in enumerate(self.values.get("allowed_origins") or ()):
            try:
                parse_pattern(origin)
            except ConfigRefused as refused:
                self._error(refused.code, refused.message, f"allowed_origins[{n}]", refused.fix)

    def tools(self, *, where: str = "tools") -> None:
        """Check that tools can be told apart and called."""
        found: list[Tool | ToolSpec] = self.values.get(where) or []
        for name, times in Counter(item.name for item in found).items():
            place = f"{where}.{name}"
            if not TOOL_NAME.fullmatch(name):
                self._error("bad_tool_name", f"`{name}` is no name for a tool", place)
            if times > 1:
                self._error("duplicate_tool", f"there are {times} tools named `{name}`", place)
        for item in found:
            if not item.description:
                self.reader.problems.warning(
                    "no_description",
                    f"the model is not told what `{item.name}` is for",
                    self.at(f"{where}.{item.name}"),
                    "give the function a docstring",
                )

    def script(self, tool_names: frozenset[str]) -> None:
        """Check that the script calls tools the agent has."""
        local = self.values.get("local") or {}
        for n, rule in enumerate(local.get("script") or ()):
            for name in rule.get("call", {}):
                if name in tool_names:
                    continue
                near = closest(name, tool_names)
                file, _, line = rule["at"].rpartition(":")
                where = self.reader.place(f"local.script[{n}].call.{name}", Where(file, int(line)))
                self.reader.problems.error(
                    "unknown_tool",
                    f"the agent has no tool `{name}`",
                    where,
                    f"did you mean `{near}`?" if near else "list it under `tools`",
                )

    def variables(self) -> None:
        """Warn of ``{{vars}}`` that nobody sets."""
        known = BUILT_IN_VARIABLES | frozenset(self.values.get("prompt_vars") or {})
        for path, written in self.reader.texts.items():
            if not re.fullmatch(r"prompt|greeting(\..+)?|skills\[\d+\]\.instructions", path):
                continue
            for name, where in _variables(written):
                if name in known:
                    continue
                near = closest(name, known)
                self.reader.problems.warning(
                    "unset_variable",
                    f"nothing sets `{{{{{name}}}}}`, so it stays empty",
                    where,
                    f"did you mean `{{{{{near}}}}}`?" if near else f"add `{name}` to `prompt_vars`",
                )


def normalised(number: str, where: Where, reader: Reader) -> str | None:
    """Return a phone number as E.164, or note why it is none."""
    try:
        return normalise_number(number)
    except ConfigRefused as refused:
        reader.problems.error(refused.code, refused.message, where, refused.fix)
        return None


def _variables(written: WrittenText) -> Iterator[tuple[str, Where]]:
    seen: set[str] = set()
    for match in VARIABLE.finditer(written.text):
        if match[1] not in seen:
            seen.add(match[1])
            yield match[1], written.locate(match[0])


def _is_nova_3(stt: Any, language: str) -> bool:
    """Tell whether Nova-3 is asked for, for a language that Flux covers."""
    try:
        asked = parse_stt(stt, language)
    except ConfigRefused:
        return False
    return asked.model == "nova-3" and base_code(asked.language) in FLUX_LANGUAGES
