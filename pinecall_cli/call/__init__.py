"""What a call is, as a value: ``CallState`` and the folds of events into it.

Here live the state of one call, the state of a ``dev`` session with several, our own records
and the reducers. Nothing here does I/O, reads a clock, draws or knows who is listening.
"""
