"""Calls from web pages over WebRTC: the peer connection, its sound, its data channel.

aiortc and av are imported here alone, by `peer.py` and `sound.py`, and those by `load.py` when the
first offer comes: both are an extra (``webrtc``). What a call is does not live here, nor the route.
"""
