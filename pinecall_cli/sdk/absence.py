"""What to do about a server that is not there."""

from __future__ import annotations

from pinecall_cli.settings import is_loopback


def remedy(url: str) -> str:
    """Return the fix for a server that cannot be reached at ``url``."""
    if is_loopback(url):
        return "start one there with `pinecall server`, or check the address"
    return "check the address and your network, or run with `--local`"
