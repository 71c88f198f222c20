"""What a token is for, and a token as its server minted it (protocol: rest.md §2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Channel: TypeAlias = Literal["webrtc", "chat", "stream"]
"""What a token opens: a call from a browser, a chat, or the call log."""
Scope: TypeAlias = Literal["observe", "participate", "supervise"]
"""What a ``stream`` token lets its bearer do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A short-lived token and the server that it is for. Its ``repr`` does not show it."""

    token: str = field(repr=False)
    server: str
    expires_in: float = 60
    """Seconds."""

    def as_json(self) -> dict[str, Any]:
        """Return what a page is sent: ``token``, ``server``, ``expiresIn``."""
        return {"token": self.token, "server": self.server, "expiresIn": self.expires_in}
