"""One voice call: hearing, turn-taking, speaking, and the two ends of its sound.

The turn machine is pure and takes the time as an argument; a call's clock is its audio. How a call
comes to be, and over which line, is not known here.
"""
