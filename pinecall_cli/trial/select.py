"""Which specs `-k EXPR` chooses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pinecall_cli.errors import UsageError
from pinecall_cli.trial.spec import Spec

WORD = re.compile(r"\s*(?:(?P<quoted>\"[^\"]*\"|'[^']*')|(?P<mark>[()])|(?P<word>[^\s()\"']+))")
LONGEST = 200
"""Words of an expression; nobody types more."""

Matches = Callable[[str], bool]


def selection(expression: str) -> Callable[[Spec], bool]:
    """Return what `-k EXPR` chooses by: words in a spec's file name, description or mode.

    Words are parts of text, upper and lower case alike; words in a row, and what stands in
    quotes, are one text. ``and``, ``or``, ``not`` and parentheses join them.

    Raises:
        UsageError: If the expression is none.
    """
    tokens = list(tokenised(expression))
    if len(tokens) > LONGEST:
        raise bad(expression[:40], "it is too long")
    matches = _Parser(expression, tokens).whole()
    return lambda spec: matches(f"{spec.shown}\n{spec.description or ''}\n{spec.mode}".lower())


def tokenised(expression: str) -> Iterator[str]:
    """Yield the words of an expression; quoted ones keep one quote in front."""
    at, end = 0, len(expression.rstrip())
    while at < end:
        match = WORD.match(expression, at)
        if match is None:
            raise bad(expression, "a quotation mark is never closed")
        quoted = match["quoted"]
        yield f'"{quoted[1:-1].lower()}' if quoted else (match["mark"] or match["word"]).lower()
        at = match.end()


def bad(expression: str, why: str) -> UsageError:
    """Return the error for an expression that is none."""
    return UsageError(
        f"`-k {expression}` is no expression: {why}",
        fix="for example `-k 'voice and not slow'`",
        code="bad_expression",
    )


class _Parser:
    """``or`` of ``and`` of ``not`` of words and parentheses, by recursive descent."""

    def __init__(self, expression: str, tokens: list[str]) -> None:
        self.expression, self.tokens = expression, tokens

    def whole(self) -> Matches:
        matches = self._either()
        if self.tokens:
            word = self.tokens[0].removeprefix('"')
            raise bad(self.expression, f"`{word}` does not fit there")
        return matches

    def _either(self) -> Matches:
        parts = [self._both()]
        while self._takes("or"):
            parts.append(self._both())
        return lambda text: any(part(text) for part in parts)

    def _both(self) -> Matches:
        parts = [self._one()]
        while self._takes("and"):
            parts.append(self._one())
        return lambda text: all(part(text) for part in parts)

    def _one(self) -> Matches:
        if self._takes("not"):
            inner = self._one()
            return lambda text: not inner(text)
        if self._takes("("):
            inner = self._either()
            if not self._takes(")"):
                raise bad(self.expression, "a parenthesis is never closed")
            return inner
        words = []
        while self.tokens and self.tokens[0] not in {"and", "or", "not", "(", ")"}:
            words.append(self.tokens.pop(0).removeprefix('"'))
        if not words:
            raise bad(self.expression, "a word is missing")
        wanted = " ".join(words)
        return lambda text: wanted in text

    def _takes(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            self.tokens.pop(0)
            return True
        return False
