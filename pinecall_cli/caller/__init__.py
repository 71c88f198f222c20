"""The virtual caller: a list of steps in, frames of sound and key presses out.

Pure, with time as an argument, on the call's audio clock; `call`, `test` and the local exchange
play it. What may not live here: sockets, devices, terminals, and anything that waits.
"""
