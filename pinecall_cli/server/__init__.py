"""The embedded voice server: a real one, for one machine, wire-compatible with the hosted one.

`embedded` runs it in a thread, `gateway` is its front door, `app` what all routes and sessions
share, `dispatch` what an agent's commands do, `answers` how they are refused. Below, each knowing
only those under it:

    routes                            a family of routes each: parse, ask, answer
    phone · text · speech · webrtc    the local exchange; chats, WhatsApp; audio API; pages' calls
    agents · voice                    registry and outlets; one voice call and its turn-taking
    dialogue · log                    what goes between a session and its model; the call log

An agent process reaches it over a socket like any other. Nothing here knows the SDK, a view or a
command, reads the environment, or prints. Starlette and uvicorn are imported here and nowhere else.
"""
