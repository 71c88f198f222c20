"""Short-lived tokens: who may open one call or chat, with which agent, and what we know of them.

256 random bits, good once, for 60 s. The server keeps a digest only; looking one up tells an
attacker nothing by its time, because what is compared is the digest of what they sent.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pinecall_cli.server.organisation import Organisation

Channel = Literal["webrtc", "chat"]

LIFETIME_S = 60.0
OUTSTANDING = 10_000
"""Tokens that may wait to be used; far above what 60 s of real callers need."""
PREFIXES: Mapping[Channel, str] = {"webrtc": "wrtc_", "chat": "cht_"}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token stands for."""

    channel: Channel
    org: Organisation
    agent: str
    """Slug."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Sealed: said by whoever held the key, so it wins over what a browser says."""


class TooManyTokens(Exception):
    """More tokens wait to be used than the server keeps."""


class Tokens:
    """The tokens that were minted and not yet used."""

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        lifetime_s: float = LIFETIME_S,
        random: Callable[[int], str] = secrets.token_urlsafe,
    ) -> None:
        self.lifetime_s = lifetime_s
        self._now, self._random = now, random
        self._grants: dict[bytes, tuple[float, Grant]] = {}
        """By digest, oldest first: expiry and grant."""

    def mint(self, grant: Grant) -> str:
        """Return a new token for ``grant``; URL-safe.

        Raises:
            TooManyTokens: If too many wait to be used.
        """
        self._expire()
        if len(self._grants) >= OUTSTANDING:
            raise TooManyTokens
        token = PREFIXES[grant.channel] + self._random(32)
        self._grants[digest(token)] = self._now() + self.lifetime_s, grant
        return token

    def consume(self, token: str, channel: Channel) -> Grant | None:
        """Use a token up and return what it stood for; None if it is not good (any more).

        It is used up also when it was minted for another channel.
        """
        self._expire()
        wanted = digest(token)
        found = None
        for known in self._grants:
            if hmac.compare_digest(known, wanted):
                found = known
        if found is None:
            return None
        _, grant = self._grants.pop(found)
        return grant if grant.channel == channel else None

    def _expire(self) -> None:
        now = self._now()
        while self._grants:
            oldest = next(iter(self._grants))
            if self._grants[oldest][0] > now:
                break
            del self._grants[oldest]


def digest(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
