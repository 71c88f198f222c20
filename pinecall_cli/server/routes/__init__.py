"""The routes, one file per family; each has `routes(server)`, which the gateway mounts.

A route parses, asks the server behind it, and answers. What an agent, a token or a call is
lives in the modules above; nothing here is imported by them.
"""
