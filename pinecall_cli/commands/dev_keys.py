"""What the keys of the live view do, and this terminal's own call by microphone."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from pinecall_cli.audio.devices import Choice
from pinecall_cli.call.records import ErrorRecord
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
        self._early: list[str] = []
        self._call: MicCall | None = None
        self._calling: asyncio.Task[None] | None = None
        self._muted = False
        self._lasting: tuple[str, ...] = ()
        """Badges of this terminal's call that stay as long as it does."""
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
        for key in early:
            self.press(key)

    def press(self, key: str) -> None:
        """Do what ``key`` stands for."""
        if self._editor is not None:
            self._edit(key)
            return
        match key:
            case "q" | "ctrl-c" | "ctrl-d":
                self._session.stop("quit")
            case _ if not self._session.registered:
                self._early.append(key)
            case "c":
                self._begin_call()
            case "h":
                self._hang_up()
            case "m":
                self._mute()
            case "r":
                self._session.spawn(self._session.reloader.reload_all(), "reload")
            case "t":
                self._editor = LineEditor()
                self._show(prompt="")
            case "e" if self._view is not None:
                self._show(events=not self._view.ui.events)
            case "l" if self._view is not None:
                self._show(latency=not self._view.ui.latency)
            case "?" if self._view is not None:
                self._show(help=not self._view.ui.help)
            case "up" | "down":
                self._choose(-1 if key == "up" else 1)

    def _show(self, **choices: object) -> None:
        if self._view is not None:
            self._view.update(**choices)

    def _choose(self, step: int) -> None:
        live = [call.call_id for call in self._session.state.live]
        if not live or self._view is None:
            return
        call = focused(self._session.state, self._view.ui.focus)
        at = live.index(call.call_id) if call is not None and call.call_id in live else 0
        self._show(focus=live[(at + step) % len(live)])

    def _agent(self) -> str:
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
        self._show(badges=(*self._lasting, *(("muted",) if self._muted else ())))

    async def _hold_call(self) -> None:
        """Call the agent with microphone and loudspeaker until one of both hangs up."""
        place = self._session.place
        async with AsyncExitStack() as stack:
            async with Rest(place.url, place.key) as rest:
                token = await rest.token("webrtc", self._agent())
            ends = await devices(
                stack, rate_of(None), Choice(), cancel_echo=True, level=self._level
            )
            call = await stack.enter_async_context(await MicCall.dial(token.server, token.token))
            self._call, self._muted = call, False
            self._lasting = ends.badges
            self._badges()
            try:
                await call.hold(ends.frames, play=ends.play, hear=ends.heard, answer_within_s=30)
            except asyncio.CancelledError:
                await call.hangup()
                raise
            finally:
                self._call = None
                self._show(microphone=None, badges=())

    def _level(self, dbfs: float) -> None:
        now = time.monotonic()
        if now - self._level_at >= LEVEL_EVERY_S:
            self._level_at = now
            self._show(microphone=dbfs)

    # -- typing to the agent -----------------------------------------------------------------

    def _edit(self, key: str) -> None:
        assert self._editor is not None
        self._editor = self._editor.press(key)
        if self._editor.done is None:
            self._show(prompt=self._editor.text)
            return
        text, sent = self._editor.text.strip(), self._editor.done == "sent"
        self._editor = replace(self._editor, text="", done=None) if sent else None
        self._show(prompt="" if sent else None)
        if sent:
            self._send(text)

    def _send(self, text: str) -> None:
        if self._call is not None:
            self._session.spawn(self._call.say_typed(text), "type")
            return
        try:
            agent = self._agent()
            session = self._chats.setdefault(agent, chat_id())
            self._session.client.send(
                commands.LlmChat(
                    agent_id=agent, session_id=session, text=text, metadata={"console": True}
                )
            )
        except PinecallError as error:
            self._session.happened(ErrorRecord.of(error, at=time.time()))
