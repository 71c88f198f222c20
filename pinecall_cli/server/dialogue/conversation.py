"""One session's conversation: its history, its prompt and the model's rounds.

The same for a voice call and a chat, and it knows of neither: text goes in, text comes out, and
what the session says was heard enters the history. Everything runs on the server's loop; every
method but `answer` and `aclose` returns at once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pinecall_cli.engines.llm import close, closing
from pinecall_cli.engines.script import ScriptModel
from pinecall_cli.engines.types import Model, ModelRequest, ToolCall
from pinecall_cli.errors import EngineError
from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.config import merge_payload, parse_llm
from pinecall_cli.protocol.frames import Command, Event
from pinecall_cli.protocol.ids import tool_call_id
from pinecall_cli.server.dialogue.barrier import Barrier
from pinecall_cli.server.dialogue.exchange import Exchange, Result
from pinecall_cli.server.dialogue.history import (
    HistoryRefusedError,
    Message,
    checked,
    copied,
    kept,
    too_long,
    usable,
)
from pinecall_cli.server.dialogue.prompt import PromptParts, expand, render, variables
from pinecall_cli.server.dialogue.rounds import TOOL_TIMEOUT_S, Round, Rounds
from pinecall_cli.server.dialogue.skills import LOAD, Skills, described

COUNTED = re.compile(r"call_[0-9]{1,6}")
"""Ids of tool calls that are numbers, and so are used again."""
MOST_ROUNDS = 10
"""Rounds of tool calls in one reply; a model that wants more runs in a circle."""


class Conversation:
    """One session's history, prompt and model rounds."""

    def __init__(
        self,
        *,
        config: Mapping[str, Any],
        channel: str,
        model: Model | None,
        emit: Callable[[Event], None],
        now: Callable[[], datetime],
        metadata: Mapping[str, Any],
        tool_timeout: float = TOOL_TIMEOUT_S,
        taken_over: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin a conversation without messages.

        Args:
            config: The session's merged wire payload.
            channel: ``phone``, ``webrtc``, ``chat`` or ``whatsapp``: decides style and barrier.
            model: Who answers; None leaves that to the application.
            emit: Takes every event of ours; may call `handle` before it returns.
            now: The time, aware; for ``{{date}}`` and its like.
            metadata: The session's, as the token or the dial sealed it.
            tool_timeout: Seconds a round of tool calls may take.
            taken_over: Tells whether the agent's owner lets a person answer (`session.pause`).
        """
        self.history: list[Message] = []
        """OpenAI's message shape, without the system prompt. Changed in place, never replaced."""
        self.on_mark: Callable[[str], None] = ignore
        """Told ``barrier`` when a generation is let go, ``tools`` after each round of tools that
        comes before any word, ``first_token`` at a reply's first word."""
        self.held_back = False
        """Whether somebody who watches answers in the model's place."""
        self._taken_over = taken_over
        self._config: dict[str, Any] = dict(config)
        self._llm = parse_llm(self._config.get("llm"))
        self._channel = channel
        self._emit = emit
        self._now = now
        self._metadata = metadata
        self._barrier = Barrier(channel, emit)
        self._rounds = Rounds(emit, timeout=tool_timeout)
        self._skills = Skills()
        self._instructions: str | None = None
        self._vars: dict[str, Any] = {}
        self._context: list[str] = []
        self._keyed_context: dict[str, Any] = {}
        self._exchange: Exchange | None = None
        self._tool_call_ids: set[str] = set()
        self._retired: list[Model] = []
        self.model: Model | None = None
        """Who answers from the next reply on."""
        self._adopt(model)

    @property
    def paused(self) -> bool:
        """Return whether a person answers: what is said is kept, and the model is not asked."""
        return self.held_back or self._taken_over()

    # -- configuration and prompt --------------------------------------------------------

    def configure(self, patch: Mapping[str, Any], model: Model | None) -> None:
        """Change the session's configuration; absent keys stay.

        A reply that is being generated keeps its model to its end; prompt and tools are read
        anew for every request to it. A prompt given here stands over an earlier
        ``history.set_instructions``: the newest wins. ``model`` is `self.model` to keep it.

        Raises:
            ConfigRefused: If ``llm`` is none; the patch was checked before, so it should not be.
        """
        self._config = merge_payload(self._config, patch)
        self._llm = parse_llm(self._config.get("llm"))
        if "prompt" in patch:
            self._instructions = None
        self._adopt(model)

    def system_prompt(self) -> str:
        """Return the prompt as a model would get it now, variables and context in place."""
        parts = PromptParts(
            base=self._base(),
            channel=self._channel,
            raw=bool(self._config.get("raw_prompt")),
            loadable=described(self._skills.loadable(self._config)),
            active=described(self._skills.active(self._config)),
            context=self._context,
            keyed_context=self._keyed_context,
        )
        return render(parts, self._values())

    def _base(self) -> str:
        """Return the agent's own part of the prompt, as it was written."""
        base = self._instructions
        if base is None:
            base = self._config.get("prompt")
        if base is None and self._llm is not None:
            base = self._llm.prompt
        return str(base or "")

    def expand(self, text: str) -> str:
        """Return a text of the agent's, such as a greeting, with its ``{{names}}`` filled."""
        return expand(text, self._values())

    def set_context(self, key: str, value: Any) -> None:
        """Put keyed context before the model; None takes the key out."""
        if value is None:
            self._keyed_context.pop(key, None)
            return
        changed = {**self._keyed_context, key: value}
        if too_long(changed):
            self._emit(events.LlmError(error=f"context `{key[:80]}` is too long to be kept"))
            return
        self._keyed_context = changed

    def take_context(self, before: Conversation) -> None:
        """Know by key what a conversation of the same call knew before this one."""
        self._keyed_context = dict(before._keyed_context)

    # -- commands of the application -----------------------------------------------------

    def handle(self, command: Command) -> bool:
        """Obey a command about history, prompt, tools or skills; False if it is none of these.

        Commands of the ``history.`` family are acknowledged before this returns.
        """
        match command:
            case commands.HistoryGet(request_id=request):
                messages = [copied(message) for message in self.history]
                self._emit(
                    events.HistoryData(
                        call_id=command.call_id, request_id=request, messages=messages
                    )
                )
            case (
                commands.HistoryAdd()
                | commands.HistorySet()
                | commands.HistoryClear()
                | commands.HistorySetInstructions()
                | commands.HistorySetVars()
                | commands.HistoryAddContext()
            ):
                self._acknowledge(command)
            case commands.LlmToolResult():
                self._rounds.answered(command)
            case commands.LlmReady(turn=turn):
                self._barrier.ready(None if isinstance(turn, UnsetType) else turn)
            case commands.SkillLoad(skill=skill):
                self._switch(skill, on=True)
            case commands.SkillUnload(skill=skill):
                self._switch(skill, on=False)
            case commands.SetContext(key=key, value=value):
                self.set_context(key, value)
            case _:
                return False
        return True

    def _acknowledge(self, command: HistoryChange) -> None:
        error: str | UnsetType = UNSET
        try:
            self._change(command)
        except HistoryRefusedError as refused:
            error = str(refused)
        self._emit(
            events.HistoryUpdated(
                call_id=command.call_id,
                request_id=command.request_id,
                count=len(self.history),
                error=error,
            )
        )

    def _change(self, command: HistoryChange) -> None:
        match command:
            case commands.HistoryAdd(messages=messages):
                self.history += checked(messages, self.history)
            case commands.HistorySet(messages=messages):
                self.history[:] = checked(messages)
            case commands.HistoryClear():
                self.history.clear()
            case commands.HistorySetInstructions(prompt=prompt):
                self._instructions = kept(prompt, "prompt")
            case commands.HistorySetVars(vars=values):
                self._vars = kept({**self._vars, **values}, "variables")
            case commands.HistoryAddContext(text=text):
                self._context = kept([*self._context, text], "context")

    def _switch(self, skill: str, *, on: bool) -> None:
        switch = self._skills.load if on else self._skills.unload
        changed = switch(self._config, skill, by_model=False)
        if changed is None:
            self._emit(events.LlmError(error=f"this agent has no skill `{skill[:80]}`"))
        elif changed:
            loaded = events.SkillLoaded if on else events.SkillUnloaded
            self._emit(loaded(skill=skill, by="manual"))

    # -- the history -----------------------------------------------------------------------

    def add(self, role: str, content: str) -> None:
        """Append a message: a greeting, a human's words, a user's turn that the client answers.

        A user's message begins an exchange, as `answer` does, so that `retract` takes it back.
        """
        if role == "user":
            self._exchange = Exchange(self.history, content)
        else:
            self.history.append({"role": role, "content": content})

    def confirm(self, text: str) -> None:
        """Append what the caller really heard of the last reply; nothing for no words."""
        if not text.strip():
            return
        if self._exchange is None:
            self.add("assistant", text)
        else:
            self._exchange.confirm(text)

    def retract(self) -> None:
        """Take the last exchange out of the history: the caller goes on with the same turn.

        The user's text, finished rounds of tools and words already confirmed all go; what a
        generation still brings (it may be in the middle of being cancelled) leaves no trace.
        A second call does nothing until the next exchange.
        """
        if self._exchange is not None:
            self._exchange.retract()
            self._exchange = None

    # -- the model ---------------------------------------------------------------------------

    async def answer(self, text: str, *, turn: int) -> AsyncGenerator[str, None]:
        """Yield the reply to what a user said, as it comes; empty when the application answers.

        The user's message is in the history at once. The reply's words never enter it by
        themselves: `confirm` says which were heard. A finished round of tools enters it whole or
        not at all. Closing the iterator, or cancelling the task, cancels the model's request and
        leaves the history as it stands; a round of tools that was out then still enters it when
        its results come. A provider's failure is told by ``llm.error`` and ends the reply.
        """
        exchange = self._exchange = Exchange(self.history, text)
        model = self.model
        if model is None or self.paused:
            return
        await self._close_retired()
        await self._barrier.hold(self._config.get("preparing"), turn)
        self.on_mark("barrier")
        spoken = False
        for _ in range(MOST_ROUNDS):
            said: list[str] = []
            calls: list[ToolCall] = []
            try:
                async with closing(model.stream(self._request(exchange, turn))) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, ToolCall):
                            calls.append(piece)
                        elif piece:
                            if not spoken:
                                self.on_mark("first_token")
                            spoken = True
                            said.append(piece)
                            yield piece
                if calls and said and not said[-1].endswith("\n"):
                    yield "\n"  # said before the tools are asked, and apart from what comes after
            except EngineError as error:
                self._failed(error, turn)
                return
            if not calls:
                return
            round = self._round(exchange, "".join(said), calls)
            if not await self._rounds.run(round):
                names = ", ".join(f"`{call.name}`" for call in round.calls)
                self._emit(events.LlmError(error=f"no answer from {names} in time", turn=turn))
            if not spoken:
                self.on_mark("tools")
            if not round.followed_up:
                return
        circle = f"the model called tools {MOST_ROUNDS} times in one reply and was stopped"
        self._emit(events.LlmError(error=circle, turn=turn))

    async def aclose(self) -> None:
        """Close the models' connections; the session is over."""
        self._adopt(None)
        await self._close_retired()

    def _request(self, exchange: Exchange, turn: int) -> ModelRequest:
        prompt = self.system_prompt()
        system = [{"role": "system", "content": prompt}] if prompt.strip() else []
        return ModelRequest(
            messages=[*system, *usable(exchange.messages())],
            tools=self._skills.tools(self._config),
            temperature=None if self._llm is None else self._llm.temperature,
            max_tokens=None if self._llm is None else self._llm.max_tokens,
            session={
                "turn": turn,
                "tool_calls": len(self._tool_call_ids),
                "channel": self._channel,
                "metadata": self._metadata,
                "instructions": self.expand(self._base()),
            },
        )

    def _round(self, exchange: Exchange, said: str, calls: list[ToolCall]) -> Round:
        """Return a round of calls whose ids no other call has, our own tools answered."""
        numbered = []
        for call in calls:
            id = call.id
            # Scripts count in every session, some model servers in every answer, and some send no
            # id at all; a page knows the calls of several sessions by their ids alone.
            if not id or COUNTED.fullmatch(id) or id in self._tool_call_ids:
                id = tool_call_id()
            self._tool_call_ids.add(id)
            numbered.append(ToolCall(id, call.name, call.arguments))
        answered = {
            call.id: self._switch_for_model(call)
            for call in numbered
            if self._skills.answers(self._config, call.name)
        }
        return Round(exchange, said, numbered, answered)

    def _switch_for_model(self, call: ToolCall) -> Result:
        try:
            arguments = msgspec.json.decode(call.arguments, type=dict[str, Any])
        except msgspec.DecodeError:
            arguments = {}
        name = str(arguments.get("name", ""))
        on = call.name == LOAD
        switch = self._skills.load if on else self._skills.unload
        changed = switch(self._config, name, by_model=True)
        if changed is None:
            return Result({"error": f"there is no skill `{name[:80]}`"})
        if changed:
            loaded = events.SkillLoaded if on else events.SkillUnloaded
            self._emit(loaded(skill=name, by="model"))
        return Result({"loaded" if on else "unloaded": name})

    def _failed(self, error: EngineError, turn: int) -> None:
        text = error.message if error.fix is None else f"{error.message}; {error.fix}"
        self._emit(events.LlmError(error=text, code=error.code, turn=turn))

    def _values(self) -> dict[str, str]:
        timezone = self._config.get("timezone")
        return variables(
            self._now(),
            timezone if isinstance(timezone, str) else None,
            self._config.get("vars"),
            self._vars,
        )

    def _adopt(self, model: Model | None) -> None:
        if self.model is not None and self.model is not model:
            self._retired.append(self.model)
        self.model = model
        if isinstance(model, ScriptModel):
            model.report = lambda text: self._emit(events.LlmError(error=text))

    async def _close_retired(self) -> None:
        while self._retired:
            await close(self._retired.pop())


HistoryChange = (
    commands.HistoryAdd
    | commands.HistorySet
    | commands.HistoryClear
    | commands.HistorySetInstructions
    | commands.HistorySetVars
    | commands.HistoryAddContext
)


def ignore(_: str) -> None:
    """Take a mark that nobody asked for."""
