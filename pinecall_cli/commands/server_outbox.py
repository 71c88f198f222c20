"""What ``server`` shows of its WhatsApp outbox: the messages that would have gone to Meta."""

from __future__ import annotations

import json as jsonlib
import queue
import sys
import threading

from pinecall_cli.commands.options import inert
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.text.messages import Outgoing
from pinecall_cli.view.ndjson import iso

WAITING = 1_000
"""Messages that may wait for a reader who does not read; `/whatsapp/outbox` has them all."""


def show_outbox(server: VoiceServer, *, json: bool) -> None:
    """Print every message that goes out from now on: to people on stderr, to programs on stdout.

    From a thread of its own: a full pipe must not stop the server.
    """
    waiting: queue.Queue[Outgoing] = queue.Queue(WAITING)

    def tell(sent: Outgoing) -> None:
        if not waiting.full():
            waiting.put_nowait(sent)

    def show() -> None:
        while True:
            sent = waiting.get()
            out, line = (sys.stdout, record(sent)) if json else (sys.stderr, told(sent))
            try:
                out.write(line + "\n")
                out.flush()
            except OSError:
                return  # nobody reads any more, which is no error

    threading.Thread(target=show, name="whatsapp outbox", daemon=True).start()
    server.whatsapp.watchers.append(tell)


def record(sent: Outgoing) -> str:
    """Return a message as one line of ``--json``."""
    return jsonlib.dumps(
        {
            "type": "whatsapp.outbox",
            "ts": iso(sent.at),
            "agent": sent.agent,
            "session_id": sent.session_id,
            "to": sent.to,
            "text": sent.text,
            "message_id": sent.id,
        }
    )


def told(sent: Outgoing) -> str:
    """Return a message as one line for people."""
    return inert(f"whatsapp  {sent.agent} → {sent.to}: {sent.text}")
