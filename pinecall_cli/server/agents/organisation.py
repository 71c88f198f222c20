"""Who a key belongs to: each key the server was given is an organisation of its own."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

LOCAL = "org_local"
"""Whoever runs a server without naming a key for it."""


@dataclass(frozen=True, slots=True)
class Organisation:
    """An owner of agents, calls and tokens; nothing of one is visible to another."""

    id: str
    key: str = field(repr=False)


class Organisations:
    """The organisations of one server, found by key."""

    def __init__(self, keys: Iterable[str], *, minted: str | None = None) -> None:
        """Give each key its organisation.

        Args:
            keys: The keys.
            minted: The one that the server made for itself. Another run makes another, and is
                the same developer's: the calls of the run before are still theirs.
        """
        self._all = tuple(
            Organisation(LOCAL if key == minted else org_id(key), key)
            for key in dict.fromkeys(keys)
        )

    def __iter__(self) -> Iterator[Organisation]:
        return iter(self._all)

    def of_key(self, key: str) -> Organisation | None:
        """Return the organisation of a key. Every key is compared, and in constant time."""
        found = None
        given = key.encode(errors="surrogatepass")
        for organisation in self._all:
            if hmac.compare_digest(organisation.key.encode(), given):
                found = organisation
        return found

    def of_header(self, authorization: str | None) -> Organisation | None:
        """Return the organisation of an ``Authorization: Bearer <key>`` header."""
        scheme, _, key = (authorization or "").partition(" ")
        return self.of_key(key.strip()) if scheme.lower() == "bearer" else None


def org_id(key: str) -> str:
    """Return the id of a key's organisation: the same on every run, and no way back to the key."""
    return "org_" + hashlib.sha256(b"pinecall organisation\0" + key.encode()).hexdigest()[:12]


def random_key() -> str:
    """Return a new 256-bit API key."""
    return "pk_local_" + secrets.token_urlsafe(32)
