from pinecall_cli.agent.define import Agent

agent = Agent("a", prompt="x"
