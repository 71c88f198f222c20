from pinecall_cli.agent.define import Agent

agent = Agent("a")


def explode():
    raise RuntimeError("the database is away")


explode()
