"""What ``chat`` wires together: an agent, a conversation, lines that come in, a view."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pinecall_cli.agent.config import payload
from pinecall_cli.agent.load import Loaded
from pinecall_cli.commands.dial_plan import one_agent
from pinecall_cli.commands.hosting import Place, dev_name, joined_server, own_server
from pinecall_cli.commands.options import inert, names_a_file, tell_warnings
from pinecall_cli.commands.signals import ended_by_signals
from pinecall_cli.engines.choose import substitutes
from pinecall_cli.errors import (
    AgentFileError,
    CallFailedError,
    InfrastructureError,
    NotFoundError,
    PinecallError,
    UsageError,
)
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.protocol.ids import slugify
from pinecall_cli.sdk import discover
from pinecall_cli.sdk.chat import Chat
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.settings import Settings, Target
from pinecall_cli.view.chatting import ChatView, open_chat_view
from pinecall_cli.view.console import can_draw
from pinecall_cli.view.line_reader import LineReader
from pinecall_cli.view.strays import kept_apart

HINT_AFTER_S = 0.4
"""Without a word of the answer, before the agent's name shows that one is awaited."""
REGISTER_WITHIN_S = 30.0
COMMANDS = {
    "/reset": "reset",
    "/new": "reset",
    "/clear": "clear",
    "/help": "help",
    "/?": "help",
    "/quit": "quit",
    "/exit": "quit",
    "/q": "quit",
}
HELP = """\
/reset   begin a new conversation: the agent forgets this one (also /new)
/clear   empty the screen
/quit    leave (also /exit, /q, Ctrl-D)
/help    show this
A message that begins with such a word: put a space in front of it."""
FAILURES: dict[str, type[PinecallError]] = {
    "AGENT_NOT_FOUND": NotFoundError,
    "SERVER_STOPPING": InfrastructureError,
    "engine": InfrastructureError,
    "llm": InfrastructureError,
}
"""By the code of an ``llm.chat.error``: what it is, where that is not a turn that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """What the command line of ``chat`` said."""

    target: str | None = None
    messages: tuple[str, ...] = ()
    json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: int = 0


def run(options: ChatOptions, settings: Settings) -> int:
    """Hold the conversation; return the exit code.

    Raises:
        PinecallError: If it cannot begin, breaks off, or a message of a script is not answered.
    """
    level = [logging.WARNING, logging.INFO, logging.DEBUG][min(options.verbose, 2)]
    logging.basicConfig(
        level=logging.ERROR if options.quiet else level, format="%(message)s", stream=sys.stderr
    )
    if not all(text.strip() for text in options.messages):
        raise UsageError("`-m` has no text", fix='write it as `-m "Hello."`')
    loaded = None
    if options.target is not None and names_a_file(options.target):
        loaded = one_agent(Path(options.target))
        refuse_unanswered(loaded)
        if not options.quiet:
            tell_warnings([loaded])
    return asyncio.run(ChatSession(options, settings.target(), loaded).run())


def refuse_unanswered(loaded: Loaded) -> None:
    """See that somebody can answer: a YAML agent has no application that might.

    Raises:
        AgentFileError: If it has no model either, on whatever server.
    """
    if "llm" in payload(loaded.config, embedded=True):
        return
    for warning in loaded.warnings:
        if warning.code == "no_llm":
            raise AgentFileError(
                f"nobody would answer: {warning.message}",
                where=warning.where,
                fix=warning.hint,
                code=warning.code,
            )


class ChatSession:
    """One run of ``chat``: conversations with one agent, one after the other."""

    def __init__(self, options: ChatOptions, target: Target, loaded: Loaded | None) -> None:
        self.options, self.target, self.loaded = options, target, loaded
        self.agent = ""
        self.view: ChatView | None = None
        self._place: Place | None = None
        """The server of a file's agent."""
        self._own = False
        """Whether that is in this process."""
        self._chat: Chat | None = None
        self._begun = False
        """Whether the server has begun the conversation."""
        self._gone: asyncio.Future[PinecallError]
        """Done when the connection was lost while nothing was being answered."""
        self._reader: LineReader | None = None
        self._held: list[Received] = []
        """What came unasked while a line was being typed."""
        self._sent = 0
        self._failed: list[events.LlmChatError] = []
        self._signal: signal.Signals | None = None
        self._unread = False
        self._main: asyncio.Task[Any] | None = None

    async def run(self) -> int:
        """Converse until there is nothing more to say; return the exit code."""
        with ended_by_signals(self._interrupt, tidy=self._tidy):
            async with AsyncExitStack() as stack:
                self._main = asyncio.current_task()
                try:
                    await self._converse(stack)
                except asyncio.CancelledError:
                    if self._signal is None and not self._unread:
                        raise
        return 0 if self._signal is None else 128 + self._signal

    async def _converse(self, stack: AsyncExitStack) -> None:
        await self._find(stack)
        self.view = open_chat_view(
            self.agent,
            json=self.options.json,
            plain=self.options.plain,
            typed=self._sits and sys.stdout.isatty(),
            on_closed=self._nobody_reads,
        )
        stack.callback(self.view.close)
        stack.enter_context(kept_apart(self.view))
        stack.push_async_callback(self._drop)
        place = await self._connect()
        where = "on a local server for this conversation" if self._own else f"on {place.url}"
        self._say(f"writing to {self.agent} {where}{'; /help for more' if self._sits else ''}")
        for text in self.options.messages:
            await self._turn(self.view, text)
        if not self.options.messages:
            reader = LineReader(edits=self._edits, words=tuple(COMMANDS))
            self._reader = stack.enter_context(reader)
            await self._read(self.view, reader)
        if self._failed and not self._sits:
            raise self._failure()

    @property
    def _sits(self) -> bool:
        """Whether somebody types, who sees what goes wrong and can write again."""
        return not self.options.messages and sys.stdin.isatty()

    @property
    def _edits(self) -> bool:
        """Whether what is typed can be edited where it is shown."""
        return self._sits and can_draw() and not (self.options.json or self.options.plain)

    # -- beginning -------------------------------------------------------------------------

    async def _find(self, stack: AsyncExitStack) -> None:
        """Find out who is written to; a file's agent runs when this returns."""
        if self.loaded is not None:
            self.agent = dev_name(self.loaded.config.name, self.target)
            self._place = await self._host(stack, self.loaded)
            return
        name = self.options.target
        if name is None:
            name = await discover.only(self.target, how="choose one: `pinecall chat NAME`")
        self.agent = slugify(name) or name

    async def _host(self, stack: AsyncExitStack, loaded: Loaded) -> Place:
        """Run a file's agent on a server of our own, or on the one that is named."""
        if self.target.url is not None:
            place = joined_server(self.target)
        else:
            spoken = substitutes(payload(loaded.config, embedded=True))

            def notice(text: str) -> None:
                if text not in spoken:  # nobody will speak
                    self._say(text)

            held = f"`pinecall chat {self.agent}` writes to the one that runs"
            server = own_server([self.agent], speech=False, held=held, notice=notice)
            place = await stack.enter_async_context(server)
            self._own = True
        client = Pinecall(place.presented, place.url)
        stack.push_async_callback(client.disconnect)
        # Others may be at work on that server: no number is taken from them.
        config = replace(loaded.config, name=self.agent, phone_numbers=(), whatsapp=None)
        client.add(loaded.agent, config)
        for handle in loaded.clients:
            client.adopt(handle)
        await client.connect()
        try:
            async with asyncio.timeout(REGISTER_WITHIN_S):
                await client.registered()
        except TimeoutError:
            raise InfrastructureError(f"{place.url} did not register the agent") from None
        client.on("error", lambda problem: self._say(str(problem)))
        return place

    # -- the conversation ------------------------------------------------------------------

    async def _connect(self) -> Place:
        """Open a connection for a conversation, to wherever the agent is now."""
        place = self._place
        if place is None:
            found = await discover.find(self.agent, self.target)
            place = Place(found.url, found.key)
        self._gone = asyncio.get_running_loop().create_future()
        self._begun = False
        self._chat = await Chat.open(
            place.url, place.key, self.agent, hear=self._hear, lost=self._lost
        )
        return place

    async def _drop(self) -> None:
        """End the conversation, if there is one: the server ends it with the connection."""
        chat, self._chat = self._chat, None
        if chat is not None:
            await chat.close()

    async def _turn(self, view: ChatView, text: str) -> None:
        """Send a message and show its answer."""
        for received in self._held:
            view.show(received)
        self._held.clear()
        view.wrote(text)
        self._sent += 1
        hint = asyncio.get_running_loop().call_later(HINT_AFTER_S, view.waiting)
        try:
            if self._chat is not None and self._gone.done() and self._sits:
                await self._drop()
            if self._chat is None:
                place = await self._connect()
                view.notice(f"a new conversation with {self.agent} on {place.url}")
            assert self._chat is not None
            answer = await self._chat.write(text)
        except PinecallError as error:
            await self._drop()
            if not self._sits:
                raise
            view.problem(error)
            return
        finally:
            hint.cancel()
        if isinstance(answer, events.LlmChatError):
            self._failed.append(answer)

    async def _reset(self, view: ChatView) -> None:
        """Begin a conversation that knows nothing of the one before."""
        await self._drop()
        try:
            await self._connect()
        except PinecallError as error:
            if not self._sits:
                raise
            view.problem(error)
        else:
            if self._sits:
                view.notice(f"a new conversation with {self.agent}")

    def _failure(self) -> PinecallError:
        """Return the error that messages which were not answered end with."""
        first = self._failed[0]
        code = first.code if isinstance(first.code, str) else "turn_failed"
        kind = FAILURES.get(code, CallFailedError)
        if self._sent == 1:
            return kind(f"`{self.agent}` did not answer: {first.error}", code=code.lower())
        count = f"{len(self._failed)} of {self._sent}"
        return kind(
            f"`{self.agent}` did not answer {count} messages: {first.error}", code=code.lower()
        )

    def _hear(self, received: Received) -> None:
        assert self.view is not None
        if isinstance(received.frame, events.LlmChatStarted):
            if self._begun:
                self.view.notice(f"{self.agent} has begun anew, and forgotten what was said before")
            self._begun = True
        if self._reader is None or not (self._reader.edits and self._reader.asking):
            self.view.show(received)
            return
        self._held.append(received)
        ends = events.LlmChatDone | events.LlmChatError | events.ChatResponse
        if isinstance(received.frame, ends) and self._reader.above(self._show_held):
            self._held.clear()

    def _show_held(self) -> None:
        assert self.view is not None
        for received in self._held:
            self.view.show(received)

    def _lost(self, problem: PinecallError) -> None:
        """Take that the connection is gone while nobody waits for an answer."""
        if not self._gone.done():
            self._gone.set_result(problem)
        if self._reader is not None and self._reader.edits:
            again = f"your next message looks for {self.agent} again"
            self._reader.above(lambda: self._say(f"{problem.message}; {again}"))

    # -- what is typed, or comes from a pipe -----------------------------------------------

    async def _read(self, view: ChatView, reader: LineReader) -> None:
        """Send line after line, and obey the commands among them."""
        while (line := await self._line(reader, view.prompt)) is not None:
            match COMMANDS.get(line.rstrip()):
                case "quit":
                    return
                case "reset":
                    await self._reset(view)
                    continue
                case "clear":
                    view.clear()
                    continue
                case "help":
                    for one in HELP.splitlines():
                        view.notice(one)
                    continue
            if not line.strip():
                continue
            if self._sits and re.fullmatch(r"/[a-z?]+", line.split()[0]) and line[0] == "/":
                known = ", ".join(("/reset", "/clear", "/quit", "/help"))
                view.notice(f"no command `{line.split()[0]}`: there are {known}")
                continue
            with reader.hushed():
                await self._turn(view, line)

    async def _line(self, reader: LineReader, prompt: str) -> str | None:
        """Return the next line; from a pipe only while there is a connection."""
        if self._sits or self._chat is None:
            return await reader.line(prompt)
        reading = asyncio.get_running_loop().create_task(reader.line(), name="read")
        waiting: set[asyncio.Future[Any]] = {reading, self._gone}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            raise self._gone.result()
        return reading.result()

    # -- the end ---------------------------------------------------------------------------

    def _interrupt(self, number: signal.Signals) -> None:
        self._signal = number
        self._leave()

    def _nobody_reads(self) -> None:
        self._unread = True
        self._leave()

    def _leave(self) -> None:
        if self._main is not None:
            self._main.cancel()

    def _tidy(self) -> None:
        """Put the terminal back, whatever else is left as it is."""
        if self._reader is not None:
            self._reader.close()
        if self.view is not None:
            self.view.close()

    def _say(self, text: str) -> None:
        if not self.options.quiet:
            print(inert(text), file=sys.stderr)  # noqa: T201 - talk, beside the view on stdout
