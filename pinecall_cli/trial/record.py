"""What happened in one conversation, cut into the windows that a spec expects things of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Received


@dataclass(slots=True)
class Reply:
    """Something that the agent said."""

    id: str
    text: str = ""
    """All of it, as far as that was known when it began."""
    words: list[str] = field(default_factory=list)
    heard: str | None = None
    """What the caller heard of it, once that is settled."""
    cut: bool = False
    """Whether it was interrupted."""

    @property
    def said(self) -> str:
        """What was heard of it, to the best of what is known."""
        if self.heard is not None:
            return self.heard
        return " ".join(self.words) if self.words or self.cut else self.text


@dataclass(slots=True)
class ToolUse:
    """One call of a tool."""

    name: str
    args: Any
    """The arguments; the text as it came, where it is no JSON."""
    result: Any = None
    answered: bool = False


@dataclass(slots=True)
class Window:
    """What happened from one step of a spec to the next one that acts."""

    replies: list[Reply] = field(default_factory=list)
    tools: list[ToolUse] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    """Every frame's fields, ``event`` among them."""
    times: list[Mapping[str, float]] = field(default_factory=list)
    """What `within_ms` looks at, in ms, for each answer."""
    understood: dict[object, str] = field(default_factory=dict)
    """What the agent heard the caller say, by turn."""

    @property
    def said(self) -> list[str]:
        """What the agent said, without what nobody heard."""
        return [reply.said for reply in self.replies if reply.said]


class Record:
    """Folds the frames of one conversation; what belongs together stays together.

    A reply belongs to the window in which it begins, though its end comes later: the next step may
    be the one that cuts it off.
    """

    def __init__(self) -> None:
        self.opening = Window()
        """What happened before the first step that acts."""
        self.windows: dict[int, Window] = {}
        """By the index of the step that opened it."""
        self.problems: list[str] = []
        """What the model or the session complained of."""
        self._now = self.opening
        self._replies: dict[str, Reply] = {}
        self._tools: dict[str, ToolUse] = {}

    def begin(self, step: int) -> None:
        """Open the window of a step."""
        if step not in self.windows:
            self._now = self.windows[step] = Window()

    def all(self) -> Iterator[Window]:
        """Yield the windows in order, the opening first."""
        yield self.opening
        yield from self.windows.values()

    def whole(self) -> Window:
        """Return the conversation as one window."""
        return merged(self.all())

    def timed(self, times: Mapping[str, float]) -> None:
        """Note how long an answer took, in ms."""
        self._now.times.append(times)

    def hear(self, received: Received) -> None:
        """Take in one frame of the conversation."""
        frame = received.frame
        self._now.events.append(received.fields())
        match frame:
            case events.BotSpeaking(message_id=id, text=text):
                self._reply(id).text = text
            case events.BotWord(message_id=id, word=word):
                self._reply(id).words.append(word)
            case events.MessageConfirmed(message_id=id, text=text):
                self._reply(id).heard = text
            case events.BotInterrupted(message_id=str() as id):
                self._reply(id).cut = True
            case events.LlmChatDone(text=text) | events.ChatResponse(text=text):
                id = frame.message_id if isinstance(frame.message_id, str) else ""
                if text:
                    self._reply(id).heard = text
            case events.LlmToolCall(tool_calls=calls):
                for call in calls:
                    self._called(call)
            case events.LlmToolResult():
                self._returned(frame)
            case events.UserMessage(text=text, turn_id=turn):
                self._now.understood[turn] = text
            case events.TurnLatency():
                self._now.times.append(times_of(frame))
            case events.LlmError(error=error) | events.LlmChatError(error=error):
                if error not in self.problems:
                    self.problems.append(error)

    def _reply(self, id: str) -> Reply:
        if id not in self._replies:
            self._replies[id] = Reply(id)
            self._now.replies.append(self._replies[id])
        return self._replies[id]

    def _called(self, call: events.ToolCall) -> None:
        try:
            args = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):
            args = call.arguments
        use = ToolUse(call.name, args)
        self._tools[call.id] = use
        self._now.tools.append(use)

    def _returned(self, frame: events.LlmToolResult) -> None:
        results = frame.results if isinstance(frame.results, list) else []
        found = [(one.get("tool_call_id"), one.get("result")) for one in results]
        if isinstance(frame.tool_call_id, str):
            found.append((frame.tool_call_id, frame.result))
        for id, result in found:
            if (use := self._tools.get(str(id))) is not None:
                use.result, use.answered = result, True


def times_of(frame: events.TurnLatency) -> dict[str, float]:
    """Return a turn's latency and its parts; ``e2e`` is what people call the first audio."""
    names = ("vad", "asr", "eou", "tools", "llm_ttft", "tts_ttfb", "playout")
    times = {name: getattr(frame, name) for name in names} | {"first_audio": frame.e2e}
    return {name: value for name, value in times.items() if isinstance(value, int)}


def merged(windows: Iterable[Window]) -> Window:
    """Return several windows as one."""
    whole = Window()
    for window in windows:
        whole.replies += window.replies
        whole.tools += window.tools
        whole.events += window.events
        whole.times += window.times
        whole.understood |= window.understood
    return whole
