from pinecall_cli.agent.define import Agent

agent = Agent(
    "a",
    vioce="elevenlabs/sarah",
    stt="deepgram/nova-2",
    flash=1,
)
