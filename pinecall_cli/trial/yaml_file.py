"""A spec's file: read with places, everything that is wrong reported at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pinecall_cli.agent import nodes
from pinecall_cli.agent.problems import AgentFileProblems, Problems, closest, shown_path
from pinecall_cli.agent.reader import read_text
from pinecall_cli.agent.yaml_nodes import documents
from pinecall_cli.caller.steps import TIMEOUT_S, Interrupt, Press, Wait
from pinecall_cli.caller.yaml_file import VERBS, CallerReader
from pinecall_cli.errors import Where
from pinecall_cli.trial.spec import AgentRef, Mode, Spec, SpecStep
from pinecall_cli.trial.yaml_parts import expectations, mocks, variables

KEYS = (
    "agent",
    "description",
    "mode",
    "steps",
    "expect",
    "mocks",
    "vars",
    "timeout",
    "from",
    "to",
    "voice",
    "line",
)
IN_A_CALL = ("from", "to", "voice", "line")
"""Keys that say something about a voice call alone."""
MODES: Mapping[str, Mode] = {"text": "text", "chat": "text", "voice": "voice"}
EXAMPLE = "for example `steps: [{say: Hello, expect: [{says: Welcome}]}]`"


def load_specs(files: Iterable[Path], *, voices: Collection[str] | None = None) -> list[Spec]:
    """Return the specs in these files, one each; ``voices`` are those there are, None takes any.

    Raises:
        AgentFileProblems: With everything that is wrong in all of the files.
    """
    problems = Problems()
    specs = [_spec(file, problems, voices) for file in files]
    if problems.failed:
        raise AgentFileProblems(problems.sorted())
    return [spec for spec in specs if spec is not None]


def _spec(file: Path, problems: Problems, voices: Collection[str] | None) -> Spec | None:
    shown = shown_path(file)
    text = read_text(file, Where(shown), problems, set())
    if text is None:
        return None
    before = len(problems.items)
    roots = documents(text, shown, problems)
    if len(roots) > 1:
        hint = "put the others into files of their own"
        problems.error("several_specs", "one file is one spec", roots[1].where, hint)
    elif roots:
        return SpecReader(file.parent, problems, voices).spec(roots[0], file, shown)
    elif len(problems.items) == before:
        problems.error("empty_file", "this file is empty", Where(shown, 1, 1), EXAMPLE)
    return None


@dataclass(slots=True)
class SpecReader(CallerReader):
    """Reads a spec: a caller's steps, and what is expected."""

    mode: Mode = "text"

    def spec(self, node: nodes.Node, file: Path, shown: str) -> Spec | None:
        """Return the spec that a document is; what is wrong is noted, and None returned."""
        if isinstance(node, nodes.Mapping):
            judged = next((key for key, _ in node.pairs if key.text == "workflow"), None)
            if judged is not None:
                self.problems.error(
                    "judged_spec",
                    "specs that a model judges (`workflow`) are not available yet",
                    judged.where,
                    "say what is done under `steps` and what is expected under `expect`",
                )
                return None
        keys = self.mapping(node, "a spec", KEYS)
        if keys is None:
            return None
        for required in ("agent", "steps"):
            if required not in keys:
                hint = EXAMPLE if required == "steps" else "for example `agent: ../agent.yaml`"
                self.problems.error("missing_key", f"`{required}` is missing", node.where, hint)
        self.mode = self.of(keys, "mode", self.mode_of) or "text"
        if self.mode == "text":
            for key in IN_A_CALL:
                if key in keys:
                    self._only_in_a_call(f"`{key}`", keys[key].where)
        timeout = self.of(keys, "timeout", self.duration) or TIMEOUT_S
        agent = self.of(keys, "agent", self.agent)
        steps = self.of(keys, "steps", lambda found: self.spec_steps(found, timeout)) or ()
        spec = Spec(
            file=file,
            shown=shown,
            agent=agent or AgentRef(file, None, node.where),
            mode=self.mode,
            description=self.of(keys, "description", lambda found: self.text(found, "this")),
            steps=steps,
            expect=self.of(keys, "expect", lambda found: expectations(self, found, self.mode))
            or (),
            mocks=self.of(keys, "mocks", lambda found: mocks(self, found)) or (),
            vars=self.of(keys, "vars", lambda found: variables(self, found)),
            from_number=self.of(keys, "from", self.number),
            to_number=self.of(keys, "to", self.number),
            voice=self.of(keys, "voice", self.voice),
            line=self.of(keys, "line", self.line),
        )
        if "to" not in keys and self.mode == "voice":
            self._refuse_keys(steps)
        return None if agent is None else spec

    def mode_of(self, node: nodes.Node) -> Mode | None:
        """Return how the agent is talked to."""
        text = node.text.strip() if isinstance(node, nodes.Scalar) else ""
        if text not in MODES:
            near = closest(text, MODES) if text else None
            hint = f"did you mean `{near}`?" if near else None
            self.wrong(node, "`mode` is `text` (or `chat`) or `voice`", hint)
        return MODES.get(text)

    def agent(self, node: nodes.Node) -> AgentRef | None:
        """Return the agent that ``../agents.yaml`` or ``../agents.yaml:NAME`` means."""
        text = self.text(node, "`agent`")
        if text is None:
            return None
        name, _, chosen = text.rpartition(":")
        if not name or not name.endswith((".yaml", ".yml", ".py")):
            name, chosen = text, ""
        file = self.file(node, name, "paths start at this file: `agent: ../front_desk.yaml`")
        return None if file is None else AgentRef(file, chosen.strip() or None, node.where)

    # -- steps -----------------------------------------------------------------------------

    def spec_steps(self, node: nodes.Node, timeout: float) -> tuple[SpecStep, ...]:
        """Return the steps of a list."""
        if not isinstance(node, nodes.Sequence):
            self.wrong(node, "`steps` is a list", EXAMPLE)
            return ()
        if not node.items:
            self.problems.error("missing_key", "`steps` is empty", node.where, EXAMPLE)
        found = [self.spec_step(item, timeout) for item in node.items]
        return tuple(step for step in found if step is not None)

    def spec_step(self, node: nodes.Node, timeout: float) -> SpecStep | None:
        """Return a caller's step together with what is expected."""
        expect: nodes.Node | None = None
        own: float | None = None
        step_node = node
        if isinstance(node, nodes.Mapping):
            given = {key.text: value for key, value in node.pairs}
            expect = given.get("expect")
            left_out = {"expect", *self._misspelt(node)}
            if "timeout" in given and {"say", "play"} & given.keys():
                own = self.duration(given["timeout"])  # of the answer that the runner waits for
                left_out.add("timeout")
            kept = tuple(pair for pair in node.pairs if pair[0].text not in left_out)
            if not kept and expect is not None:
                said = "`expect` needs a step to expect something of"
                hint = "put it under `say` or `wait: greeting`, or under the spec itself"
                self.problems.error("missing_key", said, node.where, hint)
                return None
            step_node = replace(node, pairs=kept)
        step = self.step(step_node, timeout)
        found = () if expect is None else expectations(self, expect, self.mode)
        if step is None:
            return None
        verb, shown = described(step_node)
        where = node.where
        if self.mode == "text" and not (verb == "say" or self._is_time(step)):
            self._only_in_a_call(f"`{verb}`", where)
        waited = step.timeout if isinstance(step, Interrupt | Wait) else None
        return SpecStep(verb, step, shown, own or waited or timeout, found, where)

    def _misspelt(self, node: nodes.Mapping) -> list[str]:
        """Note keys that were to be ``expect``, and return them; of that a caller knows nothing."""
        known = {*VERBS, "timeout", "expect"}
        found = [
            key
            for key, _ in node.pairs
            if key.text not in known and closest(key.text, known) == "expect"
        ]
        for key in found:
            said = f"unknown key `{key.text}`"
            self.problems.error("unknown_key", said, key.where, "did you mean `expect`?")
        return [key.text for key in found]

    def _is_time(self, step: object) -> bool:
        """Tell whether a step waits for so many seconds, which text sessions can do too."""
        return isinstance(step, Wait) and not isinstance(step.until, str)

    def _only_in_a_call(self, what: str, where: Where) -> None:
        hint = "add `mode: voice`; in a text session `say` waits for its answer"
        self.problems.error("voice_only", f"{what} needs a voice call", where, hint)

    def _refuse_keys(self, steps: Iterable[SpecStep]) -> None:
        pressing = next((one for one in steps if isinstance(one.step, Press)), None)
        if pressing is not None:
            said = "keys can be pressed on a phone call only"
            hint = "say which number is called: `to:` in the spec"
            self.problems.error("not_phone", said, pressing.where, hint)


def described(node: nodes.Node) -> tuple[str, str]:
    """Return a step's verb, and the step as one line."""
    if isinstance(node, nodes.Mapping):
        for key, value in node.pairs:
            if key.text in VERBS:
                return key.text, f"{key.text}: {plain(value)}".removesuffix(": ")
    text = plain(node)
    return text, text


def plain(node: nodes.Node) -> str:
    """Return a value as one line."""
    match node:
        case nodes.Scalar():
            return " ".join(node.text.split())
        case nodes.Mapping(pairs):
            return ", ".join(f"{key.text}: {plain(value)}" for key, value in pairs)
        case nodes.Sequence(items):
            return ", ".join(plain(item) for item in items)
    return ""
