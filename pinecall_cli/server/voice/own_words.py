"""What the application says on a call: whole texts and streams of them (commands.md §6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from pinecall_cli.protocol import commands, events
from pinecall_cli.protocol.frames import Event
from pinecall_cli.server.voice.replies import TokenStream, one
from pinecall_cli.server.voice.speaking import Utterance


class OwnWords:
    """The application's utterances on one call, each said in the order it came."""

    def __init__(
        self,
        say: Callable[[Utterance, AsyncIterator[str]], object],
        *,
        turn: Callable[[], int],
        emit: Callable[[Event], None],
        answers: Callable[[], None],
    ) -> None:
        """Take the ways out.

        Args:
            say: Says an utterance, piece by piece, after what is being said.
            turn: The turn that is open or was last.
            emit: Takes refusals.
            answers: Told when the first word of a turn's answer is there.
        """
        self.asked = ""
        """The id of the message that a reply may answer; of any other it comes too late."""
        self._say, self._turn, self._emit, self._answers = say, turn, emit, answers
        self._streams: dict[str, TokenStream] = {}

    def reply(self, command: commands.BotReply) -> None:
        """Say a whole text."""
        if self._stale(command.message_id, command.in_reply_to):
            return
        utterance = self._utterance(
            command.message_id,
            command.in_reply_to,
            text=command.text,
            remembered=command.in_reply_to != "" or command.add_to_history is True,
        )
        self._say(utterance, one(command.text))

    def stream(self, command: commands.BotReplyStream) -> None:
        """Begin, continue or end a text that is said while it is written."""
        if command.action == "start":
            answers = command.in_reply_to if isinstance(command.in_reply_to, str) else ""
            if not self._stale(command.message_id, answers):
                stream = self._streams[command.message_id] = TokenStream()
                self._say(self._utterance(command.message_id, answers), stream.read())
            return
        found = self._streams.get(command.message_id)
        if found is None:
            return  # given up by barge-in, or never started: late chunks are not spoken
        if command.action == "end":
            self._streams.pop(command.message_id).end()
        elif isinstance(command.token, str):
            found.write(command.token)

    def forget(self, message: str | None = None) -> None:
        """Take no more of one stream, or of any."""
        for name in [name for name in self._streams if message in (None, name)]:
            self._streams.pop(name).end()

    def _utterance(
        self, message: str, in_reply_to: str, *, text: str = "", remembered: bool = True
    ) -> Utterance:
        turn = self._turn() if in_reply_to else None
        if turn is not None:
            self._answers()
        return Utterance(message, turn_id=turn, text=text, remembered=remembered, owned=True)

    def _stale(self, message: str, in_reply_to: str) -> bool:
        """Refuse a reply to anything but the caller's last message."""
        if not in_reply_to or in_reply_to == self.asked:
            return False
        self._emit(
            events.ReplyRejected(
                message_id=message,
                in_reply_to=in_reply_to,
                expected_reply_to=self.asked,
                reason="message_obsolete",
            )
        )
        return True
