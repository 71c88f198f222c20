"""Agents as Python defines them: `Agent(...)`, its tools and its event handlers.

An `Agent` knows nothing of sockets. A client binds it to a `Wire`, and while the CLI imports a
file, `collecting` gathers what the file defines.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar, Unpack, overload

from pinecall_cli.agent.config import AgentConfig, ToolSpec, kept_here, payload
from pinecall_cli.agent.history import HistoryStore
from pinecall_cli.agent.keys import AGENT
from pinecall_cli.agent.nodes import Node, from_python
from pinecall_cli.agent.problems import AgentFileProblems, Problem, shown_path
from pinecall_cli.agent.python_syntax import placed
from pinecall_cli.agent.reach import Reach, Wire
from pinecall_cli.agent.reader import Reader
from pinecall_cli.agent.resolve import Resolved, resolve
from pinecall_cli.agent.skill import Skill
from pinecall_cli.agent.tools import PACKAGE, Function, Tool, tool
from pinecall_cli.errors import UsageError, Where

if TYPE_CHECKING:
    from pinecall_cli.sdk.call import Call

__all__ = ["Agent", "AgentOptions", "Collected", "Tool", "Wire", "collecting", "tool"]

Handler = Callable[..., Any]
Greeting: TypeAlias = "Callable[[Call], str | Awaitable[str | None] | None]"
"""Returns what a call is greeted with, or an awaitable of it; None or nothing for silence."""
AnyHandler = TypeVar("AnyHandler", bound=Handler)


class AgentOptions(TypedDict, total=False):
    """The keywords of `Agent`, spelled as in agent files; None and absent mean "not set"."""

    voice: str | Mapping[str, Any] | None
    language: str | None
    flash: bool | None
    stt: str | Mapping[str, Any] | None
    interruption: bool | Mapping[str, Any] | None
    llm: str | Mapping[str, Any] | None
    config: Mapping[str, Any] | None
    prompt: str | Path | None
    """A path is read, and watched by ``dev``."""
    prompt_vars: Mapping[str, str | int | float] | None
    greeting: str | Mapping[str, Any] | Greeting | None
    """A text; one per language; ``{"text": …, "add_to_history": False}``; or a function of the
    call, sync or async, that returns the text."""
    greeting_in_chat: bool | None
    memory: Mapping[str, Any] | None
    timezone: str | None
    preparing: bool | Mapping[str, Any] | None
    raw_prompt: bool | None
    tools: Sequence[Tool | Function | Mapping[str, Any]] | None
    skills: Sequence[Skill | Mapping[str, Any]] | None
    session_limits: Mapping[str, float] | None
    knowledge_base: str | Sequence[str] | None
    mode: Any
    media: Mapping[str, Any] | None
    allowed_origins: Sequence[str] | None
    phone_number: str | Mapping[str, Any] | None
    phone_numbers: Sequence[str | Mapping[str, Any]] | None
    whatsapp: Mapping[str, Any] | None
    local: Mapping[str, Any] | None
    history: HistoryStore | None
    """Keeps the conversations, and brings a returning contact's back; stays in this process."""


@dataclass(frozen=True, slots=True)
class Greets:
    """A greeting that the application says, and whether the model remembers it."""

    function: Greeting
    remembered: bool = True


class Agent(Reach):
    """A voice agent: what it is, what it can do, and what happens on its events.

    Raises:
        AgentFileProblems: If a keyword is unknown or has a value it cannot have.

    Example:
        Greetings, web pages and a WhatsApp number::

            from pinecall_cli import Agent, Call, Pinecall

            def hello(call: Call) -> str | None:  # or an async one; None for silence
                return f"Good day, {call.metadata.get('name', 'whoever you are')}."

            desk = Agent(
                "front-desk",
                llm="openai/gpt-5-mini",
                greeting=hello,
                allowed_origins=[
                    "https://acme.example",  # pages of this origin
                    "https://*.acme.example",  # of its sub-domains
                    "http://localhost:*",  # of this machine, at any port
                ],
                whatsapp={
                    "phone_number_id": "123456789012345",
                    "access_token": "EAA",
                    "app_secret": "shh",  # what Meta signs messages with
                },
            )
            queue = Agent(
                "queue",
                llm="openai/gpt-5-mini",
                greeting={"text": "Please hold the line.", "add_to_history": False},
            )

            if __name__ == "__main__":
                Pinecall().run(desk, queue)
    """

    def __init__(self, name: str, **options: Unpack[AgentOptions]) -> None:
        self.where = user_place()
        """Where the agent is defined."""
        self.wire: Wire | None = None
        self._handlers: dict[str, list[tuple[Handler, bool]]] = {}
        self.tools: Mapping[str, Tool] = {}
        """The functions behind its tools, by name, those of skills among them."""
        self.greet: Greets | None = None
        """What greets a call, where the server cannot."""
        self.history = checked_history(options.pop("history", None))
        options = self._with_greeting(options)
        resolved, self.watched, self.warnings = self._resolved(name, options)
        self.config: AgentConfig = resolved.config
        """The agent as a frozen value."""
        self.tools = resolved.tools
        if (collected := _collected.get()) is not None:
            collected.agents.append(self)

    history: HistoryStore | None = None
    """Who keeps its conversations."""

    @classmethod
    def from_resolved(cls, resolved: Resolved, where: Where) -> Agent:
        """Return an agent that a file other than a Python file defines."""
        agent = cls.__new__(cls)
        agent.where, agent.wire = where, None
        agent._handlers, agent.greet = {}, unremembered(resolved.config.greeting)
        agent.watched, agent.warnings = frozenset(), ()
        agent.config, agent.tools = resolved.config, resolved.tools
        return agent

    @property
    def name(self) -> str:
        """The slug it registers under."""
        return self.config.name

    def __repr__(self) -> str:
        return f"Agent({self.name!r})"

    # --- configuration ------------------------------------------------------------------

    def update(self, **options: Unpack[AgentOptions]) -> None:
        """Change the agent for the sessions that start from now on; only what is given changes.

        Raises:
            AgentFileProblems: If a keyword is unknown or has a value it cannot have.
            UsageError: If the key is fixed once an agent is registered, or its value is None.
        """
        for key, value in options.items():
            if AGENT.known(key) in FIXED:
                raise UsageError(
                    f"`{key}` cannot be changed by `update`",
                    where=user_place(),
                    fix="give it to `Agent(...)` and register the agent again",
                )
            if value is None:
                raise UsageError(
                    f"`update` cannot take `{key}` out",
                    where=user_place(),
                    fix="give the value that is to hold from now on",
                )
        self.history = checked_history(options.pop("history", self.history))
        options = self._with_greeting(options)
        given, _, _ = self._resolved(self.name, options)
        keys = [known for key in options if (known := AGENT.known(key))]
        changes = {key: getattr(given.config, key) for key in keys}
        before, functions = self.config, {**self.tools, **given.tools}
        self.config = replace(before, **changes)
        named = {tool.name for tool in self.config.all_tools()}
        self.tools = {name: function for name, function in functions.items() if name in named}
        if self.wire is not None:
            patch = changed_payload(before, self.config, embedded=self.wire.embedded)
            if self.greet is not None and "greeting" in options:
                patch["greeting"] = ""  # the server greeted before; now the application does
            self.wire.configure(self, patch)

    def adopt(self, newer: Agent) -> None:
        """Take over what ``newer`` is: configuration, tools and handlers, in one step.

        Tool calls in flight finish on the functions they began with.
        """
        self.config, self.tools, self._handlers = newer.config, newer.tools, newer._handlers
        self.greet, self.history = newer.greet, newer.history
        self.where, self.watched, self.warnings = newer.where, newer.watched, newer.warnings

    def refresh(self) -> None:
        """Take fingerprints of the tools again, once everything they use is defined."""
        specs = {name: item.spec for name, item in self.tools.items()}

        def fresh(tools: tuple[ToolSpec, ...] | None) -> tuple[ToolSpec, ...] | None:
            return None if tools is None else tuple(specs.get(t.name, t) for t in tools)

        skills = self.config.skills
        if skills is not None:
            skills = tuple(replace(skill, tools=fresh(skill.tools) or ()) for skill in skills)
        self.config = replace(self.config, tools=fresh(self.config.tools), skills=skills)

    def _with_greeting(self, options: AgentOptions) -> AgentOptions:
        """Return the options as files may have them: a greeting that is code stays here."""
        if "greeting" not in options:
            return options
        greeting = options["greeting"]
        if callable(greeting):
            self.greet = Greets(greeting)
            return {**options, "greeting": None}
        self.greet = unremembered(greeting)
        return options

    def _resolved(
        self, name: str, options: Mapping[str, Any]
    ) -> tuple[Resolved, frozenset[Path], tuple[Problem, ...]]:
        frame = user_frame()
        file = Path(frame.f_code.co_filename)
        shown = Where(shown_path(file), frame.f_lineno)
        given = {key: value for key, value in options.items() if value is not None}
        if isinstance(skills := given.get("skills"), list | tuple):
            given["skills"] = [one.options() if isinstance(one, Skill) else one for one in skills]
        node = from_python({"name": name, **given}, shown)

        def attempt(node: Node) -> tuple[Resolved | None, Reader]:
            reader = Reader(file.absolute().parent, os.environ, interpolates=False)
            return resolve(node, AGENT, reader, "", frozenset(self.tools)), reader

        resolved, reader = attempt(node)
        if reader.problems.items:  # once more, slowly, to say where exactly
            resolved, reader = attempt(placed(node, frame, shown.file))
        watched = frozenset(reader.watched)
        if resolved is None:
            raise AgentFileProblems(reader.problems.sorted(), watched)
        warnings = tuple(p for p in reader.problems.sorted() if p.code not in NOT_IN_PYTHON)
        return resolved, watched, warnings

    # --- events -------------------------------------------------------------------------

    @overload
    def on(self, event: str) -> Callable[[AnyHandler], AnyHandler]: ...

    @overload
    def on(self, event: str, handler: AnyHandler) -> AnyHandler: ...

    def on(self, event: str, handler: Handler | None = None) -> Any:
        """Run a handler on every event of this name; usable as a decorator.

        Args:
            event: The wire's name, like ``call.started``; ``*`` for all of them.
            handler: A function or coroutine function.
        """
        return self._listen(event, handler, once=False)

    @overload
    def once(self, event: str) -> Callable[[AnyHandler], AnyHandler]: ...

    @overload
    def once(self, event: str, handler: AnyHandler) -> AnyHandler: ...

    def once(self, event: str, handler: Handler | None = None) -> Any:
        """Run a handler on the next event of this name only; usable as a decorator."""
        return self._listen(event, handler, once=True)

    def off(self, event: str, handler: Handler | None = None) -> None:
        """Forget a handler, or all handlers of an event."""
        kept = [
            entry
            for entry in self._handlers.get(event, [])
            if handler is not None and entry[0] is not handler
        ]
        self._handlers[event] = kept

    def take_handlers(self, event: str) -> tuple[Handler, ...]:
        """Return what to run for an event that happened; those of `once` are then forgotten."""
        listening = self._handlers.get(event)
        if not listening:
            return ()
        self._handlers[event] = [entry for entry in listening if not entry[1]]
        return tuple(handler for handler, _ in listening)

    def _listen(self, event: str, handler: Handler | None, *, once: bool) -> Any:
        def listen(handler: Handler) -> Handler:
            self._handlers.setdefault(event, []).append((handler, once))
            return handler

        return listen if handler is None else listen(handler)


FIXED = frozenset(("allowed_origins", "phone_number", "phone_numbers", "whatsapp"))
"""Keys that no ``agent.configure`` changes (config.md §14)."""
NOT_IN_PYTHON = frozenset(("unset_variable",))
"""Warnings that mean little in Python, where handlers set variables call by call."""


def checked_history(history: HistoryStore | None) -> HistoryStore | None:
    """Return a history store, if it is one.

    Raises:
        UsageError: If it is something else.
    """
    if history is None or isinstance(history, HistoryStore):
        return history
    raise UsageError(
        "`history` is no history store",
        where=user_place(),
        fix="give a `SqliteHistory(path)`, or an object with the methods of `HistoryStore`",
    )


def unremembered(greeting: Any) -> Greets | None:
    """Return what says a greeting that stays out of the history."""
    if not kept_here(greeting):
        return None
    text: str = greeting["text"]
    return Greets(lambda call: text, remembered=False)


def changed_payload(old: AgentConfig, new: AgentConfig, *, embedded: bool) -> dict[str, Any]:
    """Return the payload keys whose value in ``new`` is another than in ``old``."""
    before, after = payload(old, embedded=embedded), payload(new, embedded=embedded)
    return {key: value for key, value in after.items() if before.get(key) != value}


def user_frame() -> FrameType:
    """Return the innermost frame of the user's code that is running."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return frame


def user_place() -> Where:
    """Return the line of the user's code that is running."""
    frame = user_frame()
    return Where(frame.f_code.co_filename, frame.f_lineno)


# --- while the CLI imports a file -------------------------------------------------------------


@dataclass(slots=True)
class Collected:
    """What a file defined while it was imported."""

    agents: list[Agent] = field(default_factory=list)
    clients: list[Any] = field(default_factory=list)
    """Each `Pinecall()` the file made; the SDK puts them here, the CLI connects them."""


_collected: ContextVar[Collected | None] = ContextVar("collected", default=None)


def collector() -> Collected | None:
    """Return what gathers this import's agents, or None when nobody imports this file for us.

    `Pinecall()` asks it: under a collector it becomes a handle on the CLI's connection.
    """
    return _collected.get()


@contextlib.contextmanager
def collecting() -> Iterator[Collected]:
    """Gather the agents and clients that are made in this block."""
    collected = Collected()
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)
