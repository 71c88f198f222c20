import sys

from pinecall_cli.agent.define import Agent

agent = Agent("a")
sys.exit(3)
