"""What people and programs see: the live view, its plain and NDJSON twins, tables and keys.

The only folder that imports rich, and with ``app`` the only one that prints. A view is a
function of the state in ``call/``; it never sees a socket, an engine or an agent file.
"""
