"""The call log: what happened, in order, on disk; and whoever reads it (protocol: sessions.md §6).

Appended to once, translated in one file; every later view of a call is a read of it.
"""
