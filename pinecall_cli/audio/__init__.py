"""Sound as bytes: levels, framing, µ-law, WAV files, resampling, and the sound devices.

PCM here is int16 little-endian mono in ``bytes``, in 20 ms frames where time matters.
``pcm``, ``mulaw`` and ``wav`` work without numpy, so that a base install can read, write and play.
What may not live here: anything that knows of calls, agents or the wire, and any model (those
are in ``engines``).
"""
