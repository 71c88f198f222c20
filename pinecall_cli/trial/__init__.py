"""Specs: what a test of an agent says, and whether what happened is what it expects.

Files in, verdicts out, and the verdicts as people, CI systems and programs want them. Nothing here
runs a call: a command plays a spec and hands over what happened. What may not live here: sockets,
servers, clocks, printing.
"""
