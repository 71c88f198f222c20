"""The agents' side: organisations, their connections, and what is registered on them.

The registry is the one table of who is who. A session leaves its events at an outlet and does not
know who reads them. What an agent's commands do is told in `dispatch`, above.
"""
