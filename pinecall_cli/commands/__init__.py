"""The commands, one file each: they parse, wire what lies below together, and leave.

No logic that a test would want to reach without a command line lives here. Imports beyond
typing, typer and `errors` stand inside the command's body: starting the program must be cheap.
"""
