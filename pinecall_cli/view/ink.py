"""What a terminal can draw: text made harmless, our glyphs, and their ASCII fallback."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from pinecall_cli.view.text import LIMIT, encodable, printable

ASCII = str.maketrans(
    {
        "☎": "#",
        "›": ">",
        "⏏": "^",
        "⚡": "*",
        "✓": "ok",
        "✗": "x",
        "↳": "`-",
        "→": "->",
        "↻": "~",
        "●": "*",
        "○": "o",
        "·": "-",
        "—": "-",
        "…": "...",
        "⏎": "\\n",
        "▮": "#",
        "▯": ".",
        "↑": "up",
        "↓": "down",
        "█": "_",
        "−": "-",
    }
)
"""Our own glyphs where the terminal's encoding is not UTF-8."""


@dataclass(frozen=True, slots=True)
class Ink:
    """Spells text for one terminal."""

    encoding: str = "utf-8"

    @classmethod
    def of(cls, console: Console) -> Ink:
        """Return the ink for ``console``."""
        return cls(console.encoding)

    @property
    def ascii_only(self) -> bool:
        """Whether our glyphs are spelled in ASCII."""
        return not self.encoding.lower().replace("-", "").startswith("utf")

    def own(self, text: str) -> str:
        """Return ``text`` of ours with its glyphs as the terminal can draw them."""
        return text.translate(ASCII) if self.ascii_only else text

    def safe(self, text: str, *, lines: bool = False, limit: int = LIMIT) -> str:
        """Return text from outside, shown and not obeyed, spelled in the terminal's encoding."""
        shown = self.own(printable(text, lines=lines, limit=limit))
        return encodable(shown, self.encoding) if self.ascii_only else shown

    def text(self, *parts: tuple[str, str]) -> Text:
        """Return parts of ours, each with its style, as one text."""
        whole = Text()
        for part, style in parts:
            whole.append(self.own(part), style)
        return whole
