"""Short-lived tokens: who may open one call or chat, with which agent, and what we know of them.

256 random bits, good once, for 60 s; one for a stream can be shown again for an hour after its
first use, since whoever watches a call log comes back with it. The server keeps a digest only, and
finds it by its hash: the time of that can tell how far two digests agree, from which nothing of the
256 bits follows. Comparing all of them in constant time would hide no more, and take milliseconds
of everybody's for whatever a stranger sends.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pinecall_cli.server.agents.organisation import Organisation

Channel = Literal["webrtc", "chat", "stream"]
Scope = Literal["observe", "participate", "supervise"]
"""What the holder of a stream token may do: read, also speak up in a call, also steer it."""

LIFETIME_S = 60.0
GIVEN_S = 600.0
"""How long after minting for a key's holder a page may still show the token, if only to learn that
it is no longer good."""
RETURN_S = 3_600.0
"""How long after its first use a stream token still lets its holder come back."""
OUTSTANDING = 10_000
"""Tokens of one organisation that may wait to be used; far above what 60 s of callers need."""
PREFIXES: Mapping[Channel, str] = {"webrtc": "wrtc_", "chat": "cht_", "stream": "str_"}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token stands for."""

    channel: Channel
    org: Organisation
    agent: str
    """Slug."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Sealed: said by whoever held the key, so it wins over what a browser says."""
    origin: str | None = None
    """Of the page that got it without a key; None if a key's holder did, to give to any page."""
    agents: tuple[str, ...] = ()
    """Of a stream token: further slugs it covers."""
    scope: Scope = "observe"
    """Of a stream token."""
    call_id: str | None = None
    """Of a stream token: the one call it is for; None for all of its agents."""

    def good_from(self, origin: str | None) -> bool:
        """Tell whether a page of ``origin`` may use it, or what is no page (None)."""
        return origin is None or self.origin in (None, origin)

    def covers(self, slug: str) -> bool:
        """Tell whether an agent is among those it was minted for."""
        return slug == self.agent or slug in self.agents


class TooManyTokens(Exception):
    """More tokens wait to be used than the server keeps for an organisation."""


class Grants:
    """What tokens stand for; each organisation has room of its own, which no other can fill."""

    def __init__(self) -> None:
        self._kept: dict[Organisation, dict[bytes, tuple[float, Grant]]] = {}
        """By digest, oldest first: expiry and grant."""

    def __iter__(self) -> Iterator[Grant]:
        return (grant for kept in self._kept.values() for _, grant in kept.values())

    def full(self, org: Organisation) -> bool:
        """Tell whether an organisation has as many as are kept."""
        return len(self._kept.get(org, ())) >= OUTSTANDING

    def put(self, token: str, grant: Grant, expiry: float) -> None:
        """Keep what a token stands for; where there is no room, the oldest has to go."""
        kept = self._kept.setdefault(grant.org, {})
        while self.full(grant.org):
            del kept[next(iter(kept))]
        kept[digest(token)] = expiry, grant

    def get(self, token: str) -> Grant | None:
        """Return what a token stands for, if it is known."""
        wanted = digest(token)
        for kept in self._kept.values():
            if wanted in kept:
                return kept[wanted][1]
        return None

    def pop(self, token: str) -> Grant | None:
        """Return it, and forget it."""
        grant = self.get(token)
        if grant is not None:
            del self._kept[grant.org][digest(token)]
        return grant

    def expire(self, now: float) -> None:
        """Forget those that are no longer good."""
        for kept in self._kept.values():
            while kept:
                oldest = next(iter(kept))
                if kept[oldest][0] > now:
                    break
                del kept[oldest]


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
        self._grants = Grants()
        self._returning = Grants()
        """Of stream tokens that were used."""
        self._given: dict[Channel, float] = {}
        """When a key's holder got one last."""

    def mint(self, grant: Grant) -> str:
        """Return a new token for ``grant``; URL-safe.

        Raises:
            TooManyTokens: If too many of its organisation wait to be used.
        """
        self._expire()
        if self._grants.full(grant.org):
            raise TooManyTokens
        token = PREFIXES[grant.channel] + self._random(32)
        if grant.origin is None:
            self._given[grant.channel] = self._now()
        self._grants.put(token, grant, self._now() + self.lifetime_s)
        return token

    def anywhere(self, channel: Channel) -> bool:
        """Tell whether a page of any origin may have a token: key holders give theirs to pages."""
        given, return_s = self._given.get(channel), RETURN_S if channel == "stream" else 0.0
        return given is not None and self._now() < given + return_s + GIVEN_S

    def consume(self, token: str, channel: Channel) -> Grant | None:
        """Use a token up and return what it stood for; None if it is not good (any more).

        It is used up also when it was minted for another channel.
        """
        self._expire()
        grant = self._grants.pop(token)
        return grant if grant is not None and grant.channel == channel else None

    def attach(self, token: str) -> Grant | None:
        """Return what a stream token stands for, the first time or again; None if it is not good.

        A token for a call or chat that is shown here is used up.
        """
        grant = self.consume(token, "stream")
        if grant is None:
            return self._returning.get(token)
        self._returning.put(token, grant, self._now() + RETURN_S)
        return grant

    def _expire(self) -> None:
        now = self._now()
        self._grants.expire(now)
        self._returning.expire(now)


def digest(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
