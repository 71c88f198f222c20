"""A virtual caller's file: read with places, everything that is wrong reported at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pinecall_cli.agent import nodes
from pinecall_cli.agent.problems import AgentFileProblems, Problems, closest, shown_path
from pinecall_cli.agent.reader import beside, decoded, read_text
from pinecall_cli.agent.yaml_nodes import documents
from pinecall_cli.caller.steps import (
    TIMEOUT_S,
    Caller,
    Hangup,
    Interrupt,
    LineQuality,
    Play,
    Press,
    Say,
    Silence,
    Step,
    Wait,
)
from pinecall_cli.errors import Where
from pinecall_cli.protocol.phone import normalise_number
from pinecall_cli.protocol.refusal import ConfigRefused

LONGEST_S = 3600.0
"""An hour; a longer step is a slip of the pen."""
UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000}
DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m)")
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")

T = TypeVar("T")


def load_caller(path: Path, *, voices: Collection[str] | None = None) -> Caller:
    """Return the caller that a file describes; files it plays are looked for beside it.

    ``voices`` are those there are; None takes any.

    Raises:
        AgentFileProblems: With everything that is wrong, each thing at its place.
    """
    problems = Problems()
    shown = shown_path(path)
    text = read_text(path, Where(shown), problems, set())
    return _caller(text, shown, path.parent, problems, voices)


def parse_caller(
    data: bytes, name: str, folder: Path, *, voices: Collection[str] | None = None
) -> Caller:
    """Return the caller that ``data`` describes: for a file read from standard input.

    Raises:
        AgentFileProblems: With everything that is wrong, each thing at its place.
    """
    problems = Problems()
    return _caller(decoded(data, name, problems), name, folder, problems, voices)


def _caller(
    text: str | None,
    shown: str,
    folder: Path,
    problems: Problems,
    voices: Collection[str] | None,
) -> Caller:
    caller = None
    if text is not None:
        roots = documents(text, shown, problems)
        reader = CallerReader(folder, problems, voices)
        if len(roots) > 1:
            problems.error("several_callers", "one file is one caller", roots[1].where)
        elif roots:
            caller = reader.caller(roots[0])
        elif not problems.failed:
            problems.error("missing_key", "`steps` is missing", Where(shown, 1, 1), EXAMPLE)
    if caller is None or problems.failed:
        raise AgentFileProblems(problems.sorted())
    return caller


EXAMPLE = "for example `steps: [{wait: greeting}, {say: Hello}]`"
_DURATION_HINT = "write it with its unit: `1.5s`, `350ms`"


@dataclass(slots=True)
class CallerReader:
    """Reads the nodes of a caller; what is wrong is noted, and None returned for it."""

    folder: Path
    problems: Problems
    voices: Collection[str] | None

    def caller(self, node: nodes.Node) -> Caller | None:
        """Return the caller that a document is."""
        keys = self.mapping(
            node, "a caller", ("from", "to", "voice", "line", "timeout", "steps"), required="steps"
        )
        if keys is None:
            return None
        timeout = self.of(keys, "timeout", self.duration)
        steps = self.of(keys, "steps", lambda found: self.steps(found, timeout or TIMEOUT_S))
        return Caller(
            steps=steps or (),
            from_number=self.of(keys, "from", self.number),
            to_number=self.of(keys, "to", self.number),
            voice=self.of(keys, "voice", self.voice),
            line=self.of(keys, "line", self.line),
        )

    def of(
        self, keys: Mapping[str, nodes.Node], key: str, read: Callable[[nodes.Node], T | None]
    ) -> T | None:
        """Return what ``read`` makes of a key's value; None if there is no such key."""
        return read(keys[key]) if key in keys else None

    def mapping(
        self, node: nodes.Node, what: str, known: tuple[str, ...], required: str | None = None
    ) -> dict[str, nodes.Node] | None:
        """Return a mapping's values by key, noting keys that are not ``known``."""
        if not isinstance(node, nodes.Mapping):
            self.wrong(node, f"{what} is a mapping", f"of {listed(known)}")
            return None
        found = {}
        for key, value in node.pairs:
            if key.text in known:
                found[key.text] = value
                continue
            near = closest(key.text, known)
            hint = f"did you mean `{near}`?" if near else f"known: {listed(known)}"
            self.problems.error("unknown_key", f"unknown key `{key.text}`", key.where, hint)
        if required is not None and required not in found:
            self.problems.error("missing_key", f"`{required}` is missing", node.where, EXAMPLE)
        return found

    def wrong(self, node: nodes.Node, message: str, hint: str | None = None) -> None:
        """Note that a value is not of the kind that is wanted."""
        said = f"{message}, not {nodes.what_is(node)}"
        self.problems.error("wrong_type", said, node.where, hint)

    def text(self, node: nodes.Node, what: str) -> str | None:
        """Return a scalar's text; numbers are text here, and nothing and tags are not."""
        if not isinstance(node, nodes.Scalar) or node.is_null or not node.text.strip():
            self.wrong(node, f"{what} is a text")
            return None
        if node.tag is not None:
            self.problems.error("unknown_tag", f"{what} takes no `{node.tag}`", node.where)
            return None
        return node.text.strip()

    def duration(self, node: nodes.Node) -> float | None:
        """Return seconds."""
        text = node.text.strip() if isinstance(node, nodes.Scalar) else ""
        match = DURATION.fullmatch(text)
        if match is None:
            self.wrong(node, "this is a duration", _DURATION_HINT)
            return None
        seconds = float(match[1]) * UNITS_MS[match[2]] / 1000
        if seconds > LONGEST_S:
            self.problems.error("out_of_range", f"`{text}` is over an hour", node.where)
            return None
        return seconds

    def number(self, node: nodes.Node) -> str | None:
        """Return a telephone number as E.164."""
        text = self.text(node, "a telephone number")
        if text is None:
            return None
        try:
            return normalise_number(text)
        except ConfigRefused as refused:
            self.problems.error(refused.code, refused.message, node.where, refused.fix)
            return None

    def voice(self, node: nodes.Node) -> str | None:
        """Return the name of a voice, if there is one of that name."""
        text = self.text(node, "`voice`")
        if text is None or self.voices is None or text in self.voices:
            return text
        near = closest(text, self.voices)
        hint = f"did you mean `{near}`?" if near else f"there is {listed(self.voices)}"
        self.problems.error("unknown_voice", f"no offline voice `{text}`", node.where, hint)
        return None

    def line(self, node: nodes.Node) -> LineQuality | None:
        """Return how the line spoils the sound."""
        keys = self.mapping(node, "`line`", ("band", "noise_db", "loss", "seed"))
        if keys is None:
            return None
        band = self.of(keys, "band", lambda found: self.text(found, "`band`"))
        if band not in {None, "wide", "phone"}:
            hint = "`phone` (300 to 3400 Hz) or `wide`"
            self.problems.error("bad_value", f"no band `{band}`", keys["band"].where, hint)
        noise = self.of(keys, "noise_db", lambda found: self.within(found, -120, 0))
        loss = self.of(keys, "loss", lambda found: self.within(found, 0, 1))
        seed = self.of(keys, "seed", lambda found: self.within(found, 0, 2**53, whole=True))
        return LineQuality(
            "phone" if band == "phone" else "wide", noise, loss or 0.0, int(seed or 0)
        )

    def within(
        self, node: nodes.Node, low: float, high: float, *, whole: bool = False
    ) -> float | None:
        """Return a number between two others."""
        text = node.text.strip() if isinstance(node, nodes.Scalar) else ""
        value = float(text) if NUMBER.fullmatch(text) else math.nan
        if not low <= value <= high or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            self.wrong(node, f"this is {kind} from {low} to {high}")
            return None
        return value

    def steps(self, node: nodes.Node, timeout: float) -> tuple[Step, ...] | None:
        """Return the steps of a list; ``timeout`` is that of those which name none."""
        if not isinstance(node, nodes.Sequence):
            self.wrong(node, "`steps` is a list", EXAMPLE)
            return None
        found = [self.step(item, timeout) for item in node.items]
        if not found:
            self.problems.error("missing_key", "`steps` is empty", node.where, EXAMPLE)
        return tuple(step for step in found if step is not None)

    def step(self, node: nodes.Node, timeout: float) -> Step | None:
        """Return one step: a mapping of its verb, or a verb alone."""
        if isinstance(node, nodes.Scalar) and node.text.strip() in VERBS:
            node = nodes.Mapping(((node, nodes.Scalar("", "null", node.where)),), node.where)
        if isinstance(node, nodes.Scalar) and not node.is_null:
            near = closest(node.text.strip(), VERBS)
            hint = f"did you mean `{near}`?" if near else f"known: {listed(VERBS)}"
            self.problems.error("unknown_step", f"no step `{node.text}`", node.where, hint)
            return None
        keys = self.mapping(node, "a step", (*VERBS, "timeout"))
        if keys is None:
            return None
        own = self.of(keys, "timeout", self.duration)
        verbs = [key for key in keys if key != "timeout"]
        if len(verbs) != 1:
            if len(verbs) > 1:
                said = f"a step does one thing, not {listed(verbs)}"
                self.problems.error(
                    "several_steps", said, node.where, "make them steps of their own"
                )
            elif "timeout" in keys:
                said = f"a step does one thing: {listed(VERBS)}"
                self.problems.error("missing_key", said, node.where)
            return None
        verb, value = verbs[0], keys[verbs[0]]
        step = VERBS[verb](self, value, node.where, own or timeout)
        if "timeout" in keys and not _waits(step) and step is not None:
            said = "`timeout` is for `wait: greeting`, `wait: reply` and `interrupt`"
            self.problems.error("unknown_key", said, keys["timeout"].where)
        return step

    def wait(self, node: nodes.Node, where: Where, timeout: float) -> Step | None:
        """Return a wait for the greeting, a reply or some time."""
        text = node.text.strip() if isinstance(node, nodes.Scalar) else ""
        if text == "greeting":
            return Wait("greeting", timeout, where)
        if text == "reply":
            return Wait("reply", timeout, where)
        if not DURATION.fullmatch(text):
            near = closest(text, ("greeting", "reply")) if text else None
            hint = f"did you mean `{near}`?" if near else _DURATION_HINT
            self.wrong(node, "`wait` is `greeting`, `reply` or a duration", hint)
            return None
        seconds = self.duration(node)
        return None if seconds is None else Wait(seconds, timeout, where)

    def say(self, node: nodes.Node, where: Where, timeout: float) -> Step | None:
        """Return a text to be spoken."""
        text = self.text(node, "`say`")
        return None if text is None else Say(text, where)

    def play(self, node: nodes.Node, where: Where, timeout: float) -> Step | None:
        """Return a file to be played, if it is there."""
        name = self.text(node, "`play`")
        file = None if name is None else self.file(node, name, "paths start at this file")
        return None if file is None else Play(file, where)

    def file(self, node: nodes.Node, name: str, hint: str) -> Path | None:
        """Return the file that ``name`` means, if it is there."""
        file = beside(self.folder, name)
        try:
            there = file.is_file()
        except (OSError, ValueError):  # a name that no file can have
            there = False
        if not there:
            said = f"there is no file `{shown_path(file)}`"
            self.problems.error("missing_file", said, node.where, hint)
        return file if there else None

    def silence(self, node: nodes.Node, where: Where, timeout: float) -> Step | None:
        """Return a silence; a pause is one too."""
        seconds = self.duration(node)
        return None if seconds is None else Silence(seconds, where)

    def press(self, node: nodes.Node, where: Where, timeout: float) -> Step | None:
        """Return keys to be pressed."""
        digits = self.text(node, "`press`")
        if digits is not None and not re.fullmatch(r"[0-9*#]+", digits):
            hint = "keys are 0 to 9, * and #"
            self.problems.error("bad_value", f"`{digits}` is not keys", node.where, hint)
            return None
        return None if digits is None else Press(digits, where)

    def interrupt(self, node: nodes.Node, where: Where, timeout: float) -> Step | None:
        """Return what is said over a reply, and from when on."""
        keys = self.mapping(node, "`interrupt`", ("after_words", "after", "say"), required="say")
        if keys is None:
            return None
        words = self.of(keys, "after_words", lambda v: self.within(v, 1, 10_000, whole=True))
        after = self.of(keys, "after", self.duration)
        text = self.of(keys, "say", lambda found: self.text(found, "`say`"))
        if ("after_words" in keys) == ("after" in keys):
            said = "`interrupt` begins after so many words or after some time: give one"
            hint = "`after_words: 5` or `after: 800ms`"
            self.problems.error("missing_key", said, node.where, hint)
            return None
        if text is None or (words is None and after is None):
            return None
        return Interrupt(text, None if words is None else int(words), after, timeout, where)

    def hangup(self, node: nodes.Node, where: Where, timeout: float) -> Step | None:
        """Return the end of the call."""
        if not (isinstance(node, nodes.Scalar) and node.is_null):
            self.wrong(node, "`hangup` stands alone", "write `- hangup`")
            return None
        return Hangup(where)


VERBS: dict[str, Callable[[CallerReader, nodes.Node, Where, float], Step | None]] = {
    "wait": CallerReader.wait,
    "say": CallerReader.say,
    "pause": CallerReader.silence,
    "interrupt": CallerReader.interrupt,
    "play": CallerReader.play,
    "press": CallerReader.press,
    "silence": CallerReader.silence,
    "hangup": CallerReader.hangup,
}


def _waits(step: Step | None) -> bool:
    return isinstance(step, Interrupt) or (isinstance(step, Wait) and isinstance(step.until, str))


def listed(words: Collection[str]) -> str:
    """Return words in backticks, with commas."""
    return ", ".join(f"`{word}`" for word in words)
