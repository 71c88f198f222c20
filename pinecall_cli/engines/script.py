"""The deterministic stand-in for a language model: rules from a script, or the built-in script.

A rule that calls tools takes two rounds, as a model does: the tool calls, then, when the messages
hold their results, the words. Nothing here knows of calls, sockets or files; a rule's place in
its file comes with the rule.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pinecall_cli.engines.pattern import Pattern
from pinecall_cli.engines.template import as_text, fill, fill_value
from pinecall_cli.engines.types import ModelRequest, ToolCall
from pinecall_cli.errors import EngineError

Sleep = Callable[[float], Awaitable[object]]
Report = Callable[[str], None]

WORD = re.compile(r"\s*\S+\s*|\s+")
BUILT_IN_TOOL = re.compile(r"tool\s+(\S+)\s*(\{.*\})?", re.DOTALL | re.IGNORECASE)
KEYS = frozenset({"on", "call", "say", "first_token_ms", "tokens_per_s", "at"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a script, as checked."""

    where: str
    """``file:line`` where that is known, else ``rule N``."""
    pattern: Pattern | None
    """None matches every turn."""
    call: Mapping[str, Any]
    """Arguments by the name of the tool, in order."""
    say: tuple[str, ...]
    """Answers to take in turn; none says the result as JSON."""
    first_token_ms: float = 0.0
    tokens_per_s: float | None = None


def read_rules(rules: Sequence[Any]) -> tuple[Rule, ...]:
    """Return the rules that a script's list means.

    ``at`` in a rule (ours, put there by whoever read the file) is its place for reports.

    Raises:
        EngineError: If a rule has the wrong shape or its ``on`` is no regular expression.
    """
    if not isinstance(rules, list | tuple):
        raise bad_rule("script", "a script is a list of rules")
    return tuple(read_rule(rule, number) for number, rule in enumerate(rules, 1))


def read_rule(rule: Any, number: int) -> Rule:
    """Return the rule that ``rule``, the ``number``-th of its script, means."""
    where = f"rule {number}"
    if not isinstance(rule, Mapping):
        raise bad_rule(where, "a rule is a mapping with `on`, `call`, `say`")
    where = str(rule.get("at") or where)
    if unknown := sorted(str(key) for key in rule if key not in KEYS):
        raise bad_rule(where, f"a rule has no key `{unknown[0]}`")
    call = rule.get("call") or {}
    if isinstance(call, str):
        call = {call: {}}
    if not isinstance(call, Mapping) or not all(
        isinstance(arguments, Mapping | None) for arguments in call.values()
    ):
        raise bad_rule(where, "`call` maps the names of tools to their arguments")
    say = rule.get("say")
    answers = (say,) if isinstance(say, str) else () if say is None else say
    if not isinstance(answers, list | tuple) or not all(isinstance(one, str) for one in answers):
        raise bad_rule(where, "`say` is a text or a list of texts")
    speeds = {name: rule.get(name) for name in ("first_token_ms", "tokens_per_s")}
    for name, speed in speeds.items():
        if speed is not None and (isinstance(speed, bool) or not isinstance(speed, int | float)):
            raise bad_rule(where, f"`{name}` is a number")
    rate = speeds["tokens_per_s"]
    return Rule(
        where=where,
        pattern=read_pattern(rule.get("on"), where),
        call=call,
        say=tuple(answers),
        first_token_ms=max(0.0, float(speeds["first_token_ms"] or 0)),
        tokens_per_s=float(rate) if rate and rate > 0 else None,
    )


def read_pattern(on: Any, where: str) -> Pattern | None:
    """Return the compiled ``on`` of a rule; None for a rule without one."""
    if on is None:
        return None
    if not isinstance(on, str):
        raise bad_rule(where, "`on` is a regular expression")
    try:
        return Pattern(on)
    except (re.error, OverflowError, RecursionError) as error:
        raise bad_rule(where, f"`on` is not a regular expression: {error}") from error


def bad_rule(where: str, problem: str) -> EngineError:
    """Return the error for a rule that means nothing."""
    fix = "a script is a list of rules: `on`, `call`, `say`, `first_token_ms`, `tokens_per_s`"
    return EngineError(f"{where}: {problem}", fix=fix, code="invalid_script")


class ScriptModel:
    """A `Model` that plays rules: the first whose ``on`` is found in the user's turn answers.

    ``report`` is told once of every placeholder that has no value, and of turns that no rule
    answers; whoever runs the session sets it. ``sleep`` plays the simulated speed.

    Raises:
        EngineError: If a rule has the wrong shape.
    """

    name = "script"

    def __init__(
        self,
        rules: Sequence[Any],
        *,
        report: Report | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.rules = read_rules(rules)
        self.report = report
        self._sleep = sleep
        self._said: dict[int, int] = {}  # per rule: how often it has answered
        self._reported: set[tuple[str, str]] = set()

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ToolCall]:
        """Yield the tool calls or the words of the rule that answers."""
        exchange = Exchange.of(request)
        index, groups = await self._choose(exchange.text)
        if index is None:
            self._tell("script", f"no rule answers `{exchange.text[:80]}`")
            return
        rule = self.rules[index]
        values = {
            "text": exchange.text,
            "prompt": exchange.prompt,
            "instructions": exchange.instructions,
            "results": exchange.results,
            **({"result": exchange.result} if exchange.results else {}),
            **groups,
        }

        def missing(path: str) -> None:
            self._tell(rule.where, f"`{{{path}}}` has no value, so it is left empty", once=path)

        if rule.call and not exchange.answered:
            for number, (tool, arguments) in enumerate(rule.call.items(), exchange.calls + 1):
                filled = fill_value(arguments or {}, values, missing)
                yield ToolCall(f"call_{number}", tool, json.dumps(filled, ensure_ascii=False))
            return
        if rule.say:
            turn = self._said.get(index, 0)
            self._said[index] = turn + 1
            words = fill(rule.say[turn % len(rule.say)], values, missing)
        else:
            words = json.dumps(exchange.result, ensure_ascii=False) if rule.call else ""
        if rule.first_token_ms:
            await self._sleep(rule.first_token_ms / 1000)
        for number, word in enumerate(WORD.findall(words)):
            if number and rule.tokens_per_s:
                await self._sleep(1 / rule.tokens_per_s)
            yield word

    async def _choose(self, text: str) -> tuple[int | None, dict[str, str | None]]:
        for index, rule in enumerate(self.rules):
            if rule.pattern is None:
                return index, {}
            try:
                groups = await rule.pattern.search(text)
            except (TimeoutError, OSError):
                self._tell(rule.where, f"`{rule.pattern.source}` takes too long to search for")
                continue
            if groups is not None:
                return index, groups
        return None, {}

    def _tell(self, where: str, problem: str, *, once: str | None = None) -> None:
        if once is not None:
            if (where, once) in self._reported:
                return
            self._reported.add((where, once))
        if self.report is not None:
            self.report(f"{where}: {problem}")


class BuiltInScript:
    """The `Model` for whoever has none: says what it was told, the prompt, or a tool's result."""

    name = "built-in script"

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ToolCall]:
        """Yield the answer to ``tool NAME {json}``, to ``prompt``, or to anything else."""
        exchange = Exchange.of(request)
        if exchange.answered:
            words = json.dumps(exchange.result, ensure_ascii=False)
        elif (call := built_in_call(exchange)) is not None:
            yield call
            return
        elif exchange.text.strip(" \t\r\n.!?").lower() == "prompt":
            words = exchange.prompt
        else:
            words = f"You said: {exchange.text}"
        for word in WORD.findall(words):
            yield word


def built_in_call(exchange: Exchange) -> ToolCall | None:
    """Return the call that ``tool NAME {json}`` asks for; None if the turn asks for none."""
    found = BUILT_IN_TOOL.fullmatch(exchange.text.strip())
    if found is None:
        return None
    try:
        arguments = json.loads(found[2] or "{}")
    except ValueError:
        return None
    return ToolCall(
        f"call_{exchange.calls + 1}", found[1], json.dumps(arguments, ensure_ascii=False)
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a script reads off a request: the turn, the prompt, the results so far."""

    text: str
    """The last user message, whole."""
    prompt: str
    """All of the system prompt."""
    instructions: str
    """The agent's own part of it, without the style and the skills that the server adds."""
    answered: bool
    """Tools were already called in this turn, and their results are here."""
    result: Any
    """That of the first tool of the last round; rounds of earlier turns count."""
    results: Mapping[str, Any]
    """The last result of each tool, by name."""
    calls: int
    """Tool calls made in the session so far; numbers the next one."""

    @classmethod
    def of(cls, request: ModelRequest) -> Exchange:
        """Return what ``request`` holds."""
        text, prompt, rounds, answered, calls = "", "", [], False, 0
        contents = {
            message.get("tool_call_id"): message.get("content")
            for message in request.messages
            if message.get("role") == "tool"
        }
        for message in request.messages:
            match message.get("role"):
                case "system" if not prompt:
                    prompt = plain_text(message.get("content"))
                case "user":
                    text, answered = plain_text(message.get("content")), False
                case "assistant" if message.get("tool_calls"):
                    named = list(named_results(message["tool_calls"], contents))
                    calls += len(named)
                    rounds.append(named)
                    answered = True
        results = {name: value for named in rounds for name, value in named}
        return cls(
            text=text,
            prompt=prompt,
            instructions=str(request.session.get("instructions", prompt)),
            answered=answered,
            result=rounds[-1][0][1] if rounds and rounds[-1] else None,
            results=results,
            calls=max(calls, int(request.session.get("tool_calls", 0))),
        )


def named_results(
    tool_calls: Sequence[Mapping[str, Any]], contents: Mapping[Any, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield the name and result of each tool call of one round."""
    for call in tool_calls:
        function = call.get("function") or {}
        yield str(function.get("name", "")), as_result(contents.get(call.get("id")))


def as_result(content: Any) -> Any:
    """Return a tool message's content as the value it was made from."""
    if not isinstance(content, str):
        return content
    try:
        return json.loads(content)
    except ValueError:
        return content


def plain_text(content: Any) -> str:
    """Return a message's words; those of its text parts when it comes in parts."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping)]
        return "".join(as_text(part.get("text")) for part in parts)
    return as_text(content)
