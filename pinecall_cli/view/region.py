"""The live region: the few lines under the transcript that are drawn again and again.

``render`` is a pure function of the session and of what the keys have chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pinecall_cli.call.session import SessionState
from pinecall_cli.call.state import CallState
from pinecall_cli.view.conversation import label
from pinecall_cli.view.ink import Ink
from pinecall_cli.view.receipts import problem_row
from pinecall_cli.view.text import head, short_id, tail

MOST_LINES = 6
TALK_LINES = 2
"""Lines for what is being said; of a longer text the end is shown."""

PHASES = {
    "ringing": ("○", "yellow"),
    "listening": ("●", "green"),
    "thinking": ("●", "yellow"),
    "speaking": ("●", "magenta"),
    "pause": ("○", "dim"),
    "ended": ("○", "dim"),
}
WRITTEN = {"listening": "waiting", "speaking": "writing"}
"""Phases that are called otherwise where nobody speaks."""
METER_STEPS = 8
HELP_CELLS = 18
"""Cells that a key and its meaning take in the help."""
QUIETEST_DBFS = -60.0

DEV_KEYS = (
    ("c", "call"),
    ("t", "type"),
    ("q", "quit"),
    ("?", "help"),
    ("h", "hang up"),
    ("m", "mute"),
    ("r", "reload"),
    ("d", "dial a number"),
    ("e", "events"),
    ("l", "latency"),
    ("↑↓", "choose a call"),
)
"""Keys of ``dev``, the most needed first: a narrow terminal shows as many as fit."""
CALL_KEYS = (("h", "hang up"), ("m", "mute"), ("t", "type"), ("l", "latency"), ("q", "quit"))


RINGING_KEYS = (("enter", "answer"), ("r", "reject"), ("h", "hang up"))
"""Keys while this terminal rings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ui:
    """What is on the screen beside the session: choices, levels, what is being typed."""

    now: float | None = None
    """Seconds since the epoch on the server's clock; None: as of the newest event."""
    focus: str | None = None
    """The call chosen with the arrows; None: the newest."""
    events: bool = False
    latency: bool = True
    help: bool = False
    prompt: str | None = None
    """What has been typed so far; None while nobody types."""
    asking: str = "you"
    """Whose line that is: ours to the agent, or the number to dial."""
    microphone: float | None = None
    """Level in dBFS; None while the microphone is closed."""
    badges: tuple[str, ...] = ()
    """Short words about this terminal's own call: ``muted``, ``half duplex``."""
    keys: tuple[tuple[str, str], ...] = DEV_KEYS


@dataclass(frozen=True, slots=True)
class Region:
    """The live region of ``session``, at most six lines and never wider than the terminal."""

    session: SessionState
    ui: Ui

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines, each one cell short of the width so that no terminal wraps it."""
        yield from self.lines(Ink.of(console), options.max_width - 1, options.max_height)

    def lines(self, ink: Ink, width: int, height: int = 24) -> list[Text]:
        """Return the lines for a terminal of ``width`` cells and ``height`` rows."""
        width = max(1, width)
        call = focused(self.session, self.ui.focus)
        upper = [*_broken(self.session, ink, width)]
        if call is not None:
            upper += _talk(call, ink, width)
        upper.append(_state(self.session, call, self.ui, ink))
        upper += _others(self.session, call, ink)
        typed = _prompt(self.ui, ink, width)
        if typed is not None:
            lower = [typed]
        elif self.ui.help:
            lower = _help(self.ui, ink, width)
        else:
            lower = [_hints(self.ui, ink, width)]
        most = max(1, min(MOST_LINES, height - 1))
        lines = [*upper, *lower[-most:]][-most:]
        for line in lines:
            line.truncate(width)
            line.no_wrap, line.end = True, "\n"
        return lines


def render(session: SessionState, ui: Ui | None = None) -> Region:
    """Draw the live region. Same session and choices, same picture."""
    return Region(session, ui or Ui())


def focused(session: SessionState, focus: str | None) -> CallState | None:
    """Return the call that the region shows: the chosen one while it lives, else the newest."""
    live = session.live
    chosen = [call for call in live if call.call_id == focus]
    return next(iter(chosen), live[-1] if live else None)


def meter(dbfs: float, ink: Ink) -> str:
    """Return a level as a bar of eight steps, −60 to 0 dBFS."""
    share = (max(QUIETEST_DBFS, min(0.0, dbfs)) - QUIETEST_DBFS) / -QUIETEST_DBFS
    full = round(share * METER_STEPS)
    return ink.own("▮" * full + "▯" * (METER_STEPS - full))


def phase_of(call: CallState) -> str:
    """Return what a call is doing, in one word."""
    return WRITTEN.get(call.phase, call.phase) if call.is_text else call.phase


def clock(seconds: float) -> str:
    """Return a running time as ``0:07`` or ``1:02:03``."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _broken(session: SessionState, ink: Ink, width: int) -> list[Text]:
    if not session.broken:
        return []
    record = session.broken[-1]
    if not record.errors:
        return []
    row = problem_row(record.file, record.errors[0], ink)
    line = Text.assemble(row.lead, row.body)
    more = sum(len(bad.errors) for bad in session.broken) - 1
    suffix = f" (+{more} more)" if more else ""
    kept = head(line.plain.replace("\n", " "), width - len(suffix))
    return [Text(ink.own(kept) + suffix, "red")]


def _talk(call: CallState, ink: Ink, width: int) -> list[Text]:
    """Return what is being said right now, its end on at most two lines."""
    if call.draft:
        lead, said, style = label("caller", call, ink), call.draft, "dim italic"
    elif call.reply is not None:
        reply = call.reply
        said = reply.text if call.is_text else reply.heard
        lead, style = label("agent", call, ink), ""
    else:
        return []
    room = max(1, width - lead.cell_len)
    text = tail(ink.safe(said[-2000:]), TALK_LINES * room - 1)
    lines = [Text(part, style) for part in _folded(ink.own(text), room)][-TALK_LINES:]
    indent = Text(" " * lead.cell_len)
    return [Text.assemble(lead if count == 0 else indent, line) for count, line in enumerate(lines)]


def _folded(text: str, width: int) -> list[str]:
    """Return ``text`` in lines of at most ``width`` cells, broken between words where it can be."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for char in word:
            if cell_len(lines[-1] + char) > width:
                lines.append("")
            lines[-1] += char
    return lines


def _state(session: SessionState, call: CallState | None, ui: Ui, ink: Ink) -> Text:
    if not session.connected and session.reconnecting is not None:
        trying = session.reconnecting
        return ink.text(("! reconnecting", "yellow"), (f" · attempt {trying.attempt}", "dim"))
    if call is None:
        return _waiting(session, ink)
    glyph, style = PHASES[call.phase]
    line = ink.text((f"{glyph} {phase_of(call)}", style))
    elapsed = call.elapsed_s
    if ui.now is not None and call.started_at is not None:
        elapsed = max(0.0, ui.now - call.started_at)
    details = [] if elapsed is None else [clock(elapsed)]
    if len(session.live) > 1:
        details.append(f"[{short_id(call.call_id)}]")
    if ui.microphone is not None:
        details.append(f"mic {meter(ui.microphone, ink)}")
    flags = [name for name, on in (("on hold", call.held), ("caller muted", call.muted)) if on]
    for detail in (*details, *flags, *ui.badges):
        line.append(ink.own(f" · {ink.safe(detail)}"), "dim")
    return line


def _waiting(session: SessionState, ink: Ink) -> Text:
    loading = session.engines
    if loading is not None:
        return ink.text(("○ ", "yellow"), (ink.safe(loading.text), "dim"))
    if not session.ready and session.agents:
        return ink.text(("○ connecting", "yellow"))
    if session.agents and all(agent.state == "removed" for agent in session.agents):
        return ink.text(("○ no agent is registered", "yellow"), (" · r registers again", "dim"))
    return ink.text(("● ready", "green"), (" · waiting for a call", "dim"))


def _others(session: SessionState, shown: CallState | None, ink: Ink) -> list[Text]:
    others = [call for call in session.live if call is not shown]
    if not others:
        return []
    line = Text(f"+{len(others)} ", "dim")
    line.append(
        "   ".join(f"[{ink.safe(short_id(one.call_id))}] {phase_of(one)}" for one in others)
    )
    return [line]


def _prompt(ui: Ui, ink: Ink, width: int) -> Text | None:
    if ui.prompt is None:
        return None
    lead = ink.text((ui.asking, "cyan"), (" › ", "dim"))
    return lead.append(ink.own(tail(ink.safe(ui.prompt), max(1, width - lead.cell_len - 1))))


def _hints(ui: Ui, ink: Ink, width: int) -> Text:
    """Return as many of the keys as fit, in their order."""
    line = Text()
    for key, meaning in ui.keys:
        more = ink.text(("   " if line else "", ""), (key, "bold"), (f" {meaning}", "dim"))
        if line.cell_len + more.cell_len > width:
            break
        line.append_text(more)
    return line


def _help(ui: Ui, ink: Ink, width: int) -> list[Text]:
    """Return all the keys, as many to a line as there is room for."""
    lines = []
    columns = max(1, width // HELP_CELLS)
    for start in range(0, len(ui.keys), columns):
        line = Text()
        for key, meaning in ui.keys[start : start + columns]:
            line.append_text(ink.text((f"{key:>3}", "bold"), (f" {meaning:<14}", "dim")))
        lines.append(line)
    return lines
