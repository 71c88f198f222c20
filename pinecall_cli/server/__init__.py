"""The embedded voice server: gateway, routes, registry, tokens, call log, sessions.

A real server for one machine, wire-compatible with the hosted one: an agent process reaches it
over a socket like any other. Nothing here knows the SDK, a view or a command, reads the
environment, or prints. Starlette and uvicorn are imported here and nowhere else.
"""
