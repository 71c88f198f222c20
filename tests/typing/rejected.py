"""What an application must not write: a type checker finds every line that ends in ``# wrong``."""

from __future__ import annotations

from pinecall_cli import Agent, Call, DialError, Pinecall, ReplyStream, Skill, events, tool
from pinecall_cli import Agnet  # wrong

pc = Pinecall(api_kee="pk_1")  # wrong
lamps = Agent("lamps", vioce="elevenlabs/sarah")  # wrong
lamps = Agent("lamps", prompt=7)  # wrong
lamps = Agent("lamps", greeting=lambda: "Hello.")  # wrong
lamps.update(flash="yes")  # wrong
lamps.update(skills=[Skill("shipping")])  # wrong
Skill("shipping", "Ships.", activation="never")  # wrong
lamps.on(7)  # wrong
pc.run("lamps")  # wrong


@tool(timeout="5")  # wrong
def price(lamp: str) -> int:
    """Look up what a lamp costs."""
    return 40


async def in_a_call(call: Call, turn: events.TurnEnd) -> None:
    call.say(7)  # wrong
    said = await call.say("Hello.")
    said.interupted  # wrong
    said.interrupted = False  # wrong
    reason: int = await call.hangup()  # wrong
    turn.txet  # wrong
    call.hang_up()  # wrong
    call.set_prompt(prompt=None)  # wrong
    await lamps.pause(7)  # wrong
    pc.stream(agents=7)  # wrong
    (await pc.audio.voices())[0].sex  # wrong


async def answer(stream: ReplyStream) -> None:
    stream.write(b"bytes")  # wrong
    await stream.pipe(["not", "async"])  # wrong


async def dialling() -> None:
    call = await lamps.dial(14155550123)  # wrong
    call.from_nowhere  # wrong
    other: str = await lamps.bridge("other")  # wrong
    try:
        await pc.create_token("fax", "lamps")  # wrong
    except DialError as problem:
        problem.number  # wrong
