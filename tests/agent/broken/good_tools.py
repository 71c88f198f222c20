from pinecall_cli.agent.define import tool


@tool
def lookup_order(order_id: str) -> str:
    """Look up an order."""
    return order_id
