"""What a ``call NUMBER`` is about to do, checked before anything is sent."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinecall_cli.agent.load import Loaded, load
from pinecall_cli.agent.problems import closest, shown_path
from pinecall_cli.caller.steps import Caller, Play, Wait
from pinecall_cli.caller.yaml_file import load_caller
from pinecall_cli.commands.hosting import dev_name
from pinecall_cli.commands.options import ask_first, names_a_file
from pinecall_cli.errors import NotAuthorisedError, UsageError, Where
from pinecall_cli.protocol.commands import CallDial
from pinecall_cli.protocol.dialable import Dialable, check_number
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.settings import Surroundings, Target, project_file

HOUSE_NUMBER = "+15005550000"
"""What an agent without a number calls from, on a local exchange."""
ANSWERS = ("mic", "busy", "no-answer", "reject")


@dataclass(frozen=True, slots=True, kw_only=True)
class DialOptions:
    """What the command line of ``call NUMBER`` said."""

    number: str
    agent: str | None = None
    from_: str | None = None
    greeting: str | None = None
    metadata: tuple[str, ...] = ()
    wait_greeting: bool = False
    max_duration: float | None = None
    ring_timeout: float | None = None
    answer: str | None = None
    record: Path | None = None
    yes: bool = False
    device: str | None = None
    cancel_echo: bool = True
    json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answers here: the person at the terminal, a virtual caller, or nobody."""

    how: str
    """mic, caller, busy, no-answer or reject."""
    caller: Caller | None = None
    fallback: bool = False
    """Whether only for what nobody else answers."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A call that may be made."""

    options: DialOptions
    target: Target
    to: Dialable
    from_: Dialable | None
    """None: the agent's own number, once it is known."""
    metadata: dict[str, Any]
    answer: Answer | None
    loaded: Loaded | None
    """The agent's file, where one was named; it is then run for this call."""

    @property
    def hosted(self) -> bool:
        """Whether a real telephone rings, and money is spent."""
        return self.target.kind == "hosted"

    @property
    def name(self) -> str | None:
        """The name that the agent has at the server; None where it is to be found out."""
        if self.loaded is None:
            return None if self.options.agent is None else slugify(self.options.agent)
        return dev_name(self.loaded.config.name, self.target)


def plan_of(options: DialOptions, target: Target, *, interactive: bool) -> Plan:
    """Return what is to be done, everything checked that can be before asking a server.

    Args:
        options: The command line.
        target: The server.
        interactive: Whether somebody sits at a terminal who could answer.

    Raises:
        UsageError: If a number may not be dialled, or options do not go together.
        NotAuthorisedError: If the project's allow-list does not have the number.
    """
    hosted = target.kind == "hosted"
    agent = options.agent
    loaded = one_agent(Path(agent)) if agent is not None and names_a_file(agent) else None
    numbers = phones_of(loaded) + ((options.from_,) if options.from_ else ())
    to = check_number(options.number, near=numbers, strict=hosted)
    refuse_unlisted(to)
    if hosted and loaded is None:
        raise UsageError(
            "a hosted server lets an agent's own process dial, and nobody else",
            fix="name the agent's file: `--agent agents/NAME.yaml`",
        )
    if hosted and options.answer is not None:
        raise UsageError(
            "`--answer` is for the local exchange: on a hosted server a telephone rings",
            fix="leave it out, or pass `--local`",
        )
    return Plan(
        options,
        target,
        to,
        check_number(options.from_, strict=False) if options.from_ else None,
        metadata_of(options.metadata),
        None if hosted else answer_of(options, to, interactive=interactive),
        loaded,
    )


def one_agent(path: Path) -> Loaded:
    """Return the agent of a file.

    Raises:
        UsageError: If there are several.
    """
    loaded = load(path)
    if len(loaded) > 1:
        names = ", ".join(one.config.name for one in loaded)
        raise UsageError(
            f"`{path}` holds several agents: {names}",
            fix="run them with `pinecall dev`, and call one by its name",
        )
    return loaded[0]


def phones_of(loaded: Loaded | None) -> tuple[str, ...]:
    """Return the numbers of an agent's file."""
    return () if loaded is None else tuple(one.number for one in loaded.config.phone_numbers)


def from_number(plan: Plan, agent: str, phones: Sequence[str]) -> Dialable:
    """Return the number to call from: the one that was named, else the agent's only one.

    Raises:
        UsageError: If that does not say which.
    """
    if plan.from_ is not None:
        return plan.from_
    if len(phones) == 1:
        return check_number(phones[0], strict=False)
    if not phones and not plan.hosted:
        return check_number(HOUSE_NUMBER, strict=False)
    has = f"has {len(phones)} numbers: {', '.join(phones)}" if phones else "has no phone number"
    raise UsageError(f"`{agent}` {has}", fix="say which one it calls from with `--from N`")


def frame_of(plan: Plan, agent: str, from_: Dialable) -> CallDial:
    """Return the frame that has ``agent`` make the call."""
    options = plan.options
    limits = {"session_limits": {"max_duration_seconds": options.max_duration}}
    wishes: dict[str, Any] = {
        "greeting": options.greeting or None,
        "metadata": plan.metadata or None,
        "config": limits if options.max_duration else None,
        "detect_turn_end": True if options.wait_greeting else None,
        "ring_timeout": options.ring_timeout,
        "follow": True if plan.loaded is None else None,
    }
    return CallDial(
        agent_id=agent,
        to=plan.to.number,
        from_=from_.number,
        **{key: value for key, value in wishes.items() if value is not None},
    )


def metadata_of(pairs: Iterable[str]) -> dict[str, Any]:
    """Return what ``--metadata k=v`` says.

    Raises:
        UsageError: If one has no ``=``.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"`--metadata {pair}` is no pair", fix="write it as `key=value`")
        found[key.strip()] = value
    return found


def answer_of(options: DialOptions, to: Dialable, *, interactive: bool) -> Answer | None:
    """Return who answers here; None where nobody does.

    Raises:
        UsageError: If ``--answer`` says nothing we know.
        AgentFileProblems: If its file describes no caller.
    """
    said = options.answer
    if said is None:
        # The test numbers answer themselves, and so may an agent or the server's numbers file.
        return Answer("mic", fallback=True) if interactive and not to.test else None
    if said in ANSWERS:
        return Answer(said)
    suffix = Path(said).suffix.lower()
    if suffix in (".yaml", ".yml"):
        return Answer("caller", load_caller(Path(said)))
    if suffix == ".wav":
        # Somebody who picks up speaks first where the agent waits for that.
        first = () if options.wait_greeting else (Wait("greeting"),)
        return Answer("caller", Caller((*first, Play(Path(said)))))
    near = closest(said, ANSWERS)
    known = "`mic`, `busy`, `no-answer`, `reject`, a WAV file or a caller's YAML file"
    raise UsageError(
        f"nobody answers as `{said}`", fix=f"did you mean `{near}`?" if near else f"known: {known}"
    )


# --- the allow-list ---------------------------------------------------------------------------


def refuse_unlisted(to: Dialable) -> None:
    """Let a number pass that the project's ``[call] allow`` has, and the test numbers.

    Raises:
        NotAuthorisedError: If the list is there and does not have it.
        UsageError: If the project's file is none.
    """
    project, _ = project_file(Surroundings.here())
    if project is None or project.allow is None or to.test:
        return
    if not any(matches(pattern, to.number) for pattern in project.allow):
        raise NotAuthorisedError(
            f"{to.shown} is not among the numbers that this project allows",
            where=Where(shown_path(project.path)),
            fix=f'add `"{to.number}"` to `allow` under `[call]`',
            code="number_not_allowed",
        )


def matches(pattern: str, number: str) -> bool:
    """Return whether an entry of the allow-list means a number."""
    plain = re.sub(r"[\s().\-]+", "", pattern)
    return number.startswith(plain[:-1]) if plain.endswith("*") else number == plain


# --- what people are told, and asked ----------------------------------------------------------


def preview(plan: Plan, from_: Dialable, agent: str, where: str) -> str:
    """Return who calls whom, from which number, with which agent."""
    about = ", ".join(part for part in (plan.to.region, plan.to.kind) if part)
    if plan.to.test:
        about = "a test number"
    file = f" ({shown_path(plan.loaded.file)})" if plan.loaded is not None else ""
    lines = [
        f"call   {plan.to.shown}" + (f" ({about})" if about else ""),
        f"from   {from_.shown}",
        f"agent  {agent}{file}",
        f"on     {where}",
    ]
    if not plan.to.given_out:
        lines.append("note   no country gives out that number; the local exchange may have it")
    return "\n".join(lines)


def confirm(plan: Plan) -> None:
    """Ask before a real telephone rings; nothing is asked on the local exchange.

    Raises:
        UsageError: If there is nobody to ask.
        DeclinedError: If the answer is no.
    """
    if plan.hosted and not plan.options.yes:
        nobody = "an outbound call on a hosted server costs money and has to be confirmed"
        ask_first("Call?", nobody=nobody)


def sits_here() -> bool:
    """Return whether somebody sits at this terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
