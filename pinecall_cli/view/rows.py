"""A row of the transcript: a lead that says who or what, and a body that hangs behind it."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text


@dataclass(frozen=True)
class Row:
    """One entry as it is read: ``lead`` then ``body``; wrapped lines are indented behind the lead.

    So no text from outside ever begins in the first column, where only we write.
    """

    lead: Text
    body: Text = field(default_factory=Text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the row's lines, none wider than the console and none padded."""
        width = max(4, options.max_width)
        indent = self.lead.cell_len
        if indent <= width // 3:
            lines = self.body.wrap(console, width - indent, overflow="fold")
            leads = [self.lead]
        else:
            indent = 2
            whole = Text.assemble(self.lead, self.body)
            lines = whole.wrap(console, width - indent, overflow="fold")
            leads = [Text()]
        for count, line in enumerate(lines or [Text()]):
            line.rstrip()
            lead = leads[0] if count == 0 else Text(" " * indent)
            whole = Text.assemble(lead, line)
            whole.rstrip()
            whole.no_wrap, whole.overflow = True, "crop"
            yield whole
