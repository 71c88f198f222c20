"""The wire, without I/O: every frame, the codec, ids, configuration rules, timers.

Both roles, client and server, use these same modules. What may not live here: sockets, files,
clocks, randomness (both are handed in), printing, and anything that knows what a terminal is.
"""
