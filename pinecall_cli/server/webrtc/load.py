"""Imports aiortc when it is needed, beside the loop: it takes 0.15 to 0.3 s, 15 frames of audio."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from pinecall_cli.audio.off_loop import off_loop
from pinecall_cli.errors import InfrastructureError

if TYPE_CHECKING:
    from pinecall_cli.server.webrtc.peer import Peer


class NoWebRtcError(InfrastructureError):
    """What calls from web pages need is not installed."""

    code = "no_webrtc"


async def peer_class() -> type[Peer]:
    """Return `Peer`, which only a server with the extra has.

    Raises:
        NoWebRtcError: If the extra is missing.
    """
    try:
        module = await off_loop(lambda: importlib.import_module("pinecall_cli.server.webrtc.peer"))
    except ImportError as problem:
        raise NoWebRtcError(
            f"this server has no WebRTC: {problem}", fix="pip install 'pinecall-cli[webrtc]'"
        ) from None
    return cast("type[Peer]", module.Peer)
