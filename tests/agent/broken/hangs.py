import threading

from pinecall_cli.agent.define import Agent

agent = Agent("a")
threading.Event().wait()
