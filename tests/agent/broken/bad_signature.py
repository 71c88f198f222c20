from pinecall_cli.agent.define import tool


class Weird:
    pass


@tool
def lookup(thing: Weird) -> None:
    """Look something up."""
