"""Connected agents as a server lists them (protocol: rest.md §3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Holder:
    """The program that holds an agent, as it described itself; None where it did not."""

    name: str | None = None
    version: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedAgent:
    """An agent as the server lists it; None where the server does not say."""

    slug: str
    phones: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    live_calls: int | None = None
    since: float | None = None
    """Epoch seconds of the registration."""
    holder: Holder | None = None


def connected_agent(item: Mapping[str, Any]) -> ConnectedAgent:
    """Return one entry of the listing; whatever has another type than it should is not said."""
    phones, channels = item.get("phones"), item.get("channels")
    live, since = item.get("live_calls"), item.get("since")
    return ConnectedAgent(
        slug=str(item.get("slug", "")),
        phones=tuple(map(str, phones)) if isinstance(phones, list) else None,
        channels=channel_types(channels) if isinstance(channels, dict) else None,
        live_calls=live if isinstance(live, int) else None,
        since=float(since) if isinstance(since, int | float) else None,
        holder=holder(item.get("client")),
    )


def holder(said: Any) -> Holder | None:
    """Return who holds an agent, if the server says so."""
    if not isinstance(said, dict):
        return None
    name, version, pid = (said.get(key) for key in ("name", "version", "pid"))
    return Holder(
        name=name if isinstance(name, str) else None,
        version=version if isinstance(version, str) else None,
        pid=pid if isinstance(pid, int) else None,
    )


def channel_types(channels: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds of channel an agent has; webrtc needs no adding (config.md §12.3)."""
    return tuple(
        str(kind)
        for kind, said in channels.items()
        if kind == "webrtc" or not isinstance(said, dict) or said.get("count")
    )
