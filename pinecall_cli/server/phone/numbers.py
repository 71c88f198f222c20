"""What a number of the local exchange does when it is dialled: the test numbers, and a file's.

Test numbers need no setting up, as test cards do. A file (``pinecall server --numbers FILE``)
maps more:

    ring_ms: 500                          # before an answer, unless a number says otherwise
    "+14155550100": busy                  # busy | no-answer | reject | fail
    "+14155550101": persona.yaml          # a virtual caller picks up
    "+14155550102": agent:front-desk
    "+14155550103": {answer: persona.yaml, ring_ms: 0}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from pinecall_cli.agent import nodes
from pinecall_cli.agent.problems import AgentFileProblems, Problems, closest, shown_path
from pinecall_cli.agent.reader import read_text
from pinecall_cli.agent.yaml_nodes import documents
from pinecall_cli.caller.steps import Caller
from pinecall_cli.caller.yaml_file import load_caller
from pinecall_cli.errors import Where
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.protocol.refusal import ConfigRefused

LONGEST_RING_MS = 60_000


@dataclass(frozen=True, slots=True)
class Refuses:
    """Nobody picks up."""

    reason: str
    """As ``call.ended`` says it: busy, no-answer, rejected, failed."""


@dataclass(frozen=True, slots=True)
class Listens:
    """Picks up and says nothing."""


@dataclass(frozen=True, slots=True)
class Voicemail:
    """Picks up, says that nobody is there, and beeps."""

    greeting: str = (
        "Hello, you have reached the voicemail of this number. "
        "Please leave a message after the tone."
    )


@dataclass(frozen=True, slots=True)
class Echoes:
    """Picks up, and repeats what it hears once the other side has gone quiet."""


@dataclass(frozen=True, slots=True)
class Plays:
    """A virtual caller picks up."""

    caller: Caller


@dataclass(frozen=True, slots=True)
class ReachesAgent:
    """An agent of that name picks up."""

    slug: str


Answer: TypeAlias = Refuses | Listens | Voicemail | Echoes | Plays | ReachesAgent


@dataclass(frozen=True, slots=True)
class Number:
    """What happens at one number."""

    answer: Answer
    ring_ms: int | None = None
    """How long it rings before that; None: as long as is usual."""


TEST_NUMBERS: Mapping[str, Number] = MappingProxyType(
    {
        "+15005550001": Number(Refuses("busy")),
        "+15005550002": Number(Refuses("no-answer")),
        "+15005550003": Number(Refuses("rejected")),
        "+15005550004": Number(Refuses("failed")),
        "+15005550006": Number(Listens()),
        "+15005550007": Number(Voicemail()),
        "+15005550008": Number(Echoes()),
    }
)
WORDS: Mapping[str, Refuses] = MappingProxyType(
    {
        "busy": Refuses("busy"),
        "no-answer": Refuses("no-answer"),
        "reject": Refuses("rejected"),
        "fail": Refuses("failed"),
    }
)
KNOWN = f"{', '.join(f'`{word}`' for word in WORDS)}, a caller's file, or `agent:NAME`"
AGENT = "agent:"


def load_numbers(path: Path) -> dict[str, Number]:
    """Return the numbers of a file, by number in E.164; files it names are looked for beside it.

    Raises:
        AgentFileProblems: With everything that is wrong, each thing at its place.
    """
    problems = Problems()
    shown = shown_path(path)
    text = read_text(path, Where(shown), problems, set())
    found: dict[str, Number] = {}
    if text is not None:
        for root in documents(text, shown, problems):
            found |= _Reader(path.parent, problems).numbers(root)
    if problems.failed:
        raise AgentFileProblems(problems.sorted())
    return found


@dataclass(slots=True)
class _Reader:
    """Reads nodes; what is wrong is noted, and None returned for it."""

    folder: Path
    problems: Problems
    ring_ms: int | None = None
    seen: set[str] = field(default_factory=set)

    def numbers(self, node: nodes.Node) -> dict[str, Number]:
        if not isinstance(node, nodes.Mapping):
            said = f"numbers are a mapping, not {nodes.what_is(node)}"
            self.problems.error(
                "wrong_type", said, node.where, 'for example `"+14155550100": busy`'
            )
            return {}
        for key, value in node.pairs:
            if key.text == "ring_ms":
                self.ring_ms = self.milliseconds(value)
        found = {}
        for key, value in node.pairs:
            if key.text != "ring_ms":
                number, what = self.number(key), self.entry(value)
                if number is not None and what is not None:
                    found[number] = what
        return found

    def number(self, key: nodes.Scalar) -> str | None:
        try:
            number = normalise_number(key.text)
        except ConfigRefused as refused:
            self.problems.error(refused.code, refused.message, key.where, refused.fix)
            return None
        if number in self.seen:
            self.problems.error("duplicate_key", f"{number} stands here twice", key.where)
        self.seen.add(number)
        return number

    def entry(self, node: nodes.Node) -> Number | None:
        if not isinstance(node, nodes.Mapping):
            answer = self.answer(node)
            return None if answer is None else Number(answer, self.ring_ms)
        ring_ms, found = self.ring_ms, None
        for key, value in node.pairs:
            if key.text == "ring_ms":
                ring_ms = self.milliseconds(value)
            elif key.text == "answer":
                found = self.answer(value)
            else:
                near = closest(key.text, ("answer", "ring_ms"))
                hint = f"did you mean `{near}`?" if near else "known: `answer`, `ring_ms`"
                self.problems.error("unknown_key", f"unknown key `{key.text}`", key.where, hint)
        if found is None and "answer" not in {key.text for key, _ in node.pairs}:
            self.problems.error("missing_key", "`answer` is missing", node.where, KNOWN)
        return None if found is None else Number(found, ring_ms)

    def answer(self, node: nodes.Node) -> Answer | None:
        text = node.text.strip() if isinstance(node, nodes.Scalar) and node.tag is None else ""
        if text in WORDS:
            return WORDS[text]
        if text.startswith(AGENT) and slugify(text.removeprefix(AGENT)):
            return ReachesAgent(slugify(text.removeprefix(AGENT)))
        if text.endswith((".yaml", ".yml")):
            try:
                return Plays(load_caller(self.folder / text))
            except AgentFileProblems as wrong:
                self.problems.extend(wrong.problems)
                return None
        near = closest(text, WORDS)
        said = f"nothing answers as {nodes.what_is(node)}"
        self.problems.error(
            "unknown_answer", said, node.where, f"did you mean `{near}`?" if near else KNOWN
        )
        return None

    def milliseconds(self, node: nodes.Node) -> int | None:
        text = node.text.strip() if isinstance(node, nodes.Scalar) else ""
        if re.fullmatch(r"\d{1,6}", text) and int(text) <= LONGEST_RING_MS:
            return int(text)
        said = f"`ring_ms` is a whole number to {LONGEST_RING_MS}, not {nodes.what_is(node)}"
        self.problems.error("wrong_type", said, node.where)
        return None
