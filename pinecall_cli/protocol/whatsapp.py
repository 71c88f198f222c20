"""How WhatsApp signs the notifications that it sends to a webhook (protocol: sessions.md §8)."""

from __future__ import annotations

import hashlib
import hmac


def signature_matches(body: bytes, header: str, secret: str) -> bool:
    """Return whether a notification was signed with ``secret``, in constant time.

    Meta writes ``sha256=`` and lower-case digits; nothing else is taken.
    """
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = header.encode("utf-8", "surrogateescape")
    return hmac.compare_digest(f"sha256={digest}".encode(), given)
