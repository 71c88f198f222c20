"""What an application may write: mypy (strict) and pyright have nothing to say about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Literal, assert_type

from pinecall_cli import (
    Agent,
    Answer,
    Call,
    CapacityError,
    ConflictError,
    DialError,
    NotAuthorisedError,
    Piece,
    Pinecall,
    PinecallError,
    RegistrationRefusedError,
    ReplyStream,
    RequestRejectedError,
    RequestTimeoutError,
    RingingCall,
    Said,
    Skill,
    SpeechAudio,
    StreamEvent,
    Token,
    Tool,
    Transcript,
    Voice,
    Word,
    events,
    tool,
)


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Address:
    street: str
    city: str = "Lima"


@tool
def price(lamp: str, size: Size = Size.SMALL, pieces: int | None = None) -> dict[str, int]:
    """Look up what a lamp costs.

    Args:
        lamp: Its colour.
        size: How large it is.
        pieces: How many.
    """
    return {"euros": 40 * (pieces or 1)}


@tool(ephemeral=True, timeout=5)
async def ship(
    to: Address,
    how: Literal["post", "courier"],
    note: Annotated[str, "For the driver."],
    call: Call,
) -> str:
    """Ship what was ordered."""
    return f"{to.street}, {how}, {note}, {call.id}"


assert_type(price, Tool)
assert_type(ship.name, str)


def greet(call: Call) -> str | None:
    return None if call.direction == "outbound" else f"Hello, {call.from_}."


async def greet_slowly(call: Call) -> str:
    await asyncio.sleep(0)
    return f"Hello, {call.metadata.get('name', 'you')}."


pc = Pinecall()
lamps = Agent(
    "lamps",
    voice={"provider": "elevenlabs", "voice_id": "sarah"},
    llm="openai/gpt-5-chat-latest",
    prompt="You sell lamps.",
    prompt_vars={"company": "Acme", "year": 1987},
    greeting=greet,
    tools=[price, ship],
    skills=[
        Skill("shipping", "Ships lamps.", instructions="Ask where to.", tools=[ship]),
        {"name": "plain", "description": "Plain.", "tools": [price]},
    ],
    memory={"remember": ["their lamps"], "contactKey": "userId"},
    knowledge_base=["kb_lamps", "kb_bulbs"],
    phone_numbers=["+14155550100", {"number": "+14155550101", "language": "es"}],
)
other = pc.agent("other", greeting=greet_slowly, local={"llm": "script"})
assert_type(other, Agent)
assert_type(pc.get_agent("lamps"), Agent | None)


@lamps.on("call.started")
def began(call: Call) -> None:
    call.say("One moment.")


@lamps.on("user.message")
async def heard(event: events.UserMessage, call: Call) -> None:
    said = await call.say(f"You said {event.text}.", add_to_history=True)
    assert_type(said, Said)
    assert_type(said.interrupted, bool)


@lamps.once("call.ringing")
def rings(event: events.CallRinging, ringing: RingingCall) -> None:
    if event.from_.startswith("+49"):
        ringing.accept()
    else:
        ringing.reject("busy")


@pc.on("error")
def failed(problem: Exception) -> None:
    if isinstance(problem, PinecallError):
        print(problem.code, problem.message, problem.fix, problem.where)


assert_type(began(Call.__new__(Call)), None)


def yes(turn: events.TurnEnd, call: Call) -> None:
    call.reply("Yes.")


lamps.on("turn.end", yes)
lamps.off("turn.end", yes)


async def model(messages: list[dict[str, object]]) -> AsyncIterator[str]:
    yield f"{len(messages)} messages"


@lamps.on("turn.end")
async def answer(turn: events.TurnEnd, call: Call) -> None:
    async with call.reply_stream(turn) as stream:
        assert_type(stream, ReplyStream)
        whole = await stream.pipe(model(call.transcript))
        assert_type(whole, bool)
        stream.write("!")
        stream.write(None)
        assert_type(stream.reason, str | None)


async def in_a_call(call: Call) -> None:
    answered: Answer[str] = call.hangup()
    assert_type(await answered, str)
    assert_type(await call.unmute(), str | None)
    assert_type(await call.hold(), None)
    await call.update(voice="elevenlabs/sarah", language="es")
    await call.set_prompt_vars(name="Ana")
    await call.add_history([{"role": "assistant", "content": "Welcome back."}])
    for message in await call.get_history():
        print(message["role"])


async def without_a_call() -> None:
    spoken = await pc.audio.speech("Hello.", voice="elevenlabs/sarah", timestamps=True)
    assert_type(spoken, SpeechAudio)
    assert_type(spoken.words, tuple[Word, ...])
    assert_type(await pc.audio.voices(language="en"), tuple[Voice, ...])
    written = await pc.audio.transcribe(b"RIFF", diarize=True)
    assert_type(written, Transcript)
    assert_type(written.segments[0].speaker, str | None)
    async with pc.audio.transcription(sample_rate=8_000, encoding="mulaw") as stream:
        await stream.send(b"")
        async for piece in stream:
            assert_type(piece, Piece)


async def around_it() -> None:
    token = await pc.create_token("stream", "lamps", scope="observe")
    assert_type(token, Token)
    async for event in pc.stream(agents=[lamps, "other"], tool_results=True):
        assert_type(event, StreamEvent)
        assert_type(event.call_id, str | None)


async def main() -> None:
    async with Pinecall("pk_1", "wss://voice.pinecall.io", auto_reconnect=False) as client:
        client.add(lamps)
        await client.ready
        try:
            await client.registered()
            call = await lamps.dial("+14155550123", greeting="Hello.", metadata={"order": 7})
            assert_type(call, Call)
            assert_type(await lamps.bridge("other"), Call)
        except DialError as problem:
            assert_type(problem.reason, str)
        except CapacityError as problem:
            assert_type(problem.limit, float | None)
        except (ConflictError, NotAuthorisedError, RegistrationRefusedError) as problem:
            assert_type(problem.exit_code, int)
        except (RequestRejectedError, RequestTimeoutError) as problem:
            assert_type(problem.code, str)
        assert_type(lamps.call("id"), Call | None)
        await lamps.add_phone_number("+14155550102", language="es")
        lamps.route_callers(["+14155550123"])
        lamps.update(prompt="Be brief.", tools=[price])
        await lamps.pause(contact="+14155550123")
        await lamps.send_message("I am looking into it.", contact="+14155550123")
        assert_type(await client.remove_agent("lamps"), bool)


if __name__ == "__main__":
    pc.run(lamps)
