"""Sessions in writing: chats of pages and of agent sockets, and WhatsApp.

One side writes, the agent's owner or its model answers; the conversation itself is `dialogue`'s.
"""
