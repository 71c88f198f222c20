"""What the keys of the live view do, and this terminal's own call by microphone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from pinecall_cli.audio.devices import Choice
from pinecall_cli.call.records import ErrorRecord
from pinecall_cli.commands.dev_dial import DevDialler
from pinecall_cli.commands.talk import devices
from pinecall_cli.errors import PinecallError, UsageError
from pinecall_cli.protocol import commands
from pinecall_cli.protocol.ids import chat_id
from pinecall_cli.sdk.mic import MicCall, rate_of
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.view.keyboard import Keyboard
from pinecall_cli.view.keys import LineEditor
from pinecall_cli.view.live import LiveView
from pinecall_cli.view.region import focused

if TYPE_CHECKING:
    from pinecall_cli.commands.dev_session import DevSession

LEVEL_EVERY_S = 0.1


class DevKeys:
    """The keys of ``dev``, while its view is live. A context manager: the terminal is restored."""

    def __init__(self, session: DevSession) -> None:
        self._session = session
        view = session.view
        self._view = view if isinstance(view, LiveView) else None
        self._keyboard: Keyboard | None = None
        self._editor: LineEditor | None = None
        self._early: list[Callable[[], None]] = []
        self._call: MicCall | None = None
        self._calling: asyncio.Task[None] | None = None
        self._muted = False
        self._lasting: tuple[str, ...] = ()
        """Badges of this terminal's call that stay as long as it does."""
        self._dialler = DevDialler(session, self)
        self._dialling = False
        """Whether what is typed is a number."""
        self._refused = ""
        """A number that came to nothing; it is there again to be mended."""
        self._chats: dict[str, str] = {}
        self._level_at = 0.0

    def __enter__(self) -> DevKeys:
        if self._view is not None:
            self._keyboard = Keyboard(
                self.press, on_suspend=self._view.pause, on_resume=self._view.resume
            )
            self._keyboard.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keyboard is not None:
            self._keyboard.close()

    def put_back(self) -> None:
        """Give the terminal its modes back, and no more; from any thread."""
        if self._keyboard is not None:
            self._keyboard.put_back()

    def begin(self) -> None:
        """Obey the keys that were pressed before there was an agent, and from now on all."""
        early, self._early = self._early, []
        for work in early:
            work()

    def press(self, key: str) -> None:
        """Do what ``key`` stands for."""
        if self._editor is not None:
            self._edit(key)
            return
        if self._dialler.decides(key):
            return
        match key:
            case "q" | "ctrl-c" | "ctrl-d":
                self._session.stop("quit")
            case "c" | "h" | "m" | "r" | "up" | "down" if not self._session.registered:
                self._early.append(partial(self.press, key))
            case "c":
                self._begin_call()
            case "h":
                self._hang_up()
            case "m":
                self._mute()
            case "r":
                self._session.spawn(self._session.reload_all(), "reload")
            case "t":
                self._editor, self._dialling = LineEditor(), False
                self.show(prompt="", asking="you")
            case "d":
                self._editor, self._dialling = LineEditor(self._refused), True
                self.show(prompt=self._refused, asking="dial")
            case "e" if self._view is not None:
                self.show(events=not self._view.ui.events)
            case "l" if self._view is not None:
                self.show(latency=not self._view.ui.latency)
            case "?" if self._view is not None:
                self.show(help=not self._view.ui.help)
            case "up" | "down":
                self._choose(-1 if key == "up" else 1)

    def show(self, **choices: object) -> None:
        """Change what the live view shows beside the session."""
        if self._view is not None:
            self._view.update(**choices)

    def _choose(self, step: int) -> None:
        live = [call.call_id for call in self._session.state.live]
        if not live or self._view is None:
            return
        call = focused(self._session.state, self._view.ui.focus)
        at = live.index(call.call_id) if call is not None and call.call_id in live else 0
        self.show(focus=live[(at + step) % len(live)])

    def agent(self) -> str:
        """Return the agent that a new call or text goes to: the focused call's, else the first."""
        call = focused(self._session.state, self._view.ui.focus if self._view else None)
        if call is not None and call.agent:
            return call.agent
        names = [name for name, _ in self._session.reloader.agents]
        if not names:
            raise UsageError("no agent is left", fix="save an agent file")
        return names[0]

    # -- this terminal's own call ------------------------------------------------------------

    def _begin_call(self) -> None:
        if self._calling is None or self._calling.done():
            self._calling = self._session.spawn(self._hold_call(), "call")

    def _hang_up(self) -> None:
        state = focused(self._session.state, self._view.ui.focus if self._view else None)
        for call in self._session.client.calls():
            if state is not None and call.id == state.call_id:
                call.hangup()
                return
        if self._call is not None:
            self._session.spawn(self._call.hangup(), "hang up")

    def _mute(self) -> None:
        if self._call is not None:
            self._muted = not self._muted
            self._session.spawn(self._call.mute(self._muted), "mute")
            self._badges()

    def _badges(self) -> None:
        self.show(badges=(*self._lasting, *(("muted",) if self._muted else ())))

    async def _hold_call(self) -> None:
        """Call the agent with microphone and loudspeaker until one of both hangs up."""
        place = self._session.place
        async with AsyncExitStack() as stack:
            async with Rest(place.url, place.key) as rest:
                token = await rest.token("webrtc", self.agent())
            ends = await devices(stack, rate_of(None), Choice(), cancel_echo=True, level=self.level)
            call = await stack.enter_async_context(await MicCall.dial(token.server, token.token))
            self.holds(call, ends.badges)
            try:
                await call.hold(ends.frames, play=ends.play, hear=ends.heard, answer_within_s=30)
            except asyncio.CancelledError:
                await call.hangup()
                raise
            finally:
                self.holds(None)

    def holds(self, call: MicCall | None, badges: tuple[str, ...] = ()) -> None:
        """Take it that this terminal holds a call, or no longer does: keys are for that one."""
        self._call, self._muted, self._lasting = call, False, badges
        if call is None:
            self.show(microphone=None, badges=())
        else:
            self._badges()

    def level(self, dbfs: float) -> None:
        """Show how loud the microphone is."""
        now = time.monotonic()
        if now - self._level_at >= LEVEL_EVERY_S:
            self._level_at = now
            self.show(microphone=dbfs)

    # -- typing to the agent -----------------------------------------------------------------

    def _edit(self, key: str) -> None:
        assert self._editor is not None
        if self._dialling and key == "+":
            self._editor = LineEditor()  # only a number's first sign: another one begins
        self._editor = self._editor.press(key)
        if self._editor.done is None:
            self.show(prompt=self._editor.text)
            return
        text, sent = self._editor.text.strip(), self._editor.done == "sent"
        if self._dialling:
            self._editor = None
            self.show(prompt=None)
            if sent:
                self._session.spawn(self._dial(text), "dial")
            return
        self._editor = replace(self._editor, text="", done=None) if sent else None
        self.show(prompt="" if sent else None)
        if sent:
            self._send(text)

    async def _dial(self, text: str) -> None:
        self._refused = ""
        try:
            await self._dialler.dial(text, self.agent())
        except PinecallError:
            self._refused = text
            raise

    def _send(self, text: str) -> None:
        if not self._session.registered:
            self._early.append(partial(self._send, text))
            return
        if self._call is not None:
            self._session.spawn(self._call.say_typed(text), "type")
            return
        try:
            agent = self.agent()
            session = self._chats.setdefault(agent, chat_id())
            self._session.client.send(
                commands.LlmChat(
                    agent_id=agent, session_id=session, text=text, metadata={"console": True}
                )
            )
        except PinecallError as error:
            self._session.happened(ErrorRecord.of(error, at=time.time()))
