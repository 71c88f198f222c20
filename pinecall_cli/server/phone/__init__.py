"""The local exchange: who is called at a number, who waits there, and calls between agents.

A number is a place on this machine: a terminal, a caller that is played, another agent, a line.
"""
