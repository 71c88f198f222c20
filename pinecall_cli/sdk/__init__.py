"""The client library: what an agent's code imports, and what the commands drive.

Here live the connection, registrations, live calls, and the REST side. Nothing here draws, parses
a command line or watches files; `socket` alone imports websockets, `rest` alone httpx. What this
module exports is the SDK's promise, entered through the package's root; the rest is internal.
"""

from __future__ import annotations

from pinecall_cli.agent.define import Agent, tool
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.dials import DialError

__all__ = ["Agent", "Call", "DialError", "Pinecall", "tool"]
