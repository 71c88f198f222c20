import a_module_that_is_not_there

from pinecall_cli.agent.define import Agent

agent = Agent("a")
