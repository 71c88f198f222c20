"""History, prompt, variables and context of a session (commands.md §7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conformance.answered import OURS, SCRIPT, answered
from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected, embedded

USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


class Chat:
    """A chat with `desk`, whose owner is its writer too."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._requests = 0

    async def say(self, text: str) -> str:
        """Write, and return the answer."""
        await self.peer.send("llm.chat", agent_id="desk", session_id="chat-1", text=text)
        return str((await self.peer.until("llm.chat.done"))["text"])

    async def request(self, event: str, **fields: Any) -> dict[str, Any]:
        """Send a request, and return its answer."""
        self._requests += 1
        id = f"rq_{self._requests}_k3j2h1"
        await self.peer.send(event, call_id="chat-1", request_id=id, **fields)
        return await self.peer.until(
            "history.data" if event == "history.get" else "history.updated", request_id=id
        )

    async def messages(self) -> list[dict[str, Any]]:
        """Return the history."""
        found: list[dict[str, Any]] = (await self.request("history.get"))["messages"]
        return found

    async def prompt(self) -> str:
        """Return the system prompt of the next answer."""
        return await self.say("your prompt")


@asynccontextmanager
async def chatting(**agent: Any) -> AsyncIterator[Chat]:
    """Begin a chat with one exchange: `hi`, `You said hi.`"""
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", **({"llm": SCRIPT, "raw_prompt": True} | agent))
        chat = Chat(peer)
        await chat.say("hi")
        yield chat


# --- answers ------------------------------------------------------------------------------------


@holds("commands", "7")
@pytest.mark.parametrize(
    ("event", "fields", "count"),
    [
        ("history.add", {"messages": [USER, ASSISTANT]}, 4),
        ("history.set", {"messages": [USER]}, 1),
        ("history.clear", {}, 0),
        ("history.set_instructions", {"prompt": "New."}, 2),
        ("history.set_vars", {"vars": {"NAME": "Ana"}}, 2),
        ("history.add_context", {"text": "More."}, 2),
    ],
)
async def test_a_change_is_answered_with_request_call_agent_and_the_number_of_messages(
    event: str, fields: dict[str, Any], count: int
):
    async with chatting() as chat:
        answer = await chat.request(event, **fields)
        assert (answer["call_id"], answer["agent_id"]) == ("chat-1", "desk")
        assert answer["count"] == count
        assert answer.get("error") is None
        assert len(await chat.messages()) == count


@holds("commands", "7")
async def test_get_returns_the_messages_without_the_prompt():
    async with chatting(prompt="Be kind.") as chat:
        data = await chat.request("history.get")
    assert (data["event"], data["call_id"], data["agent_id"]) == ("history.data", "chat-1", "desk")
    assert data["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "You said hi."},
    ]


@holds("commands", "7")
async def test_a_client_that_sends_no_request_id_is_answered_all_the_same():
    async with chatting() as chat:
        await chat.peer.send("history.add", call_id="chat-1", messages=[USER])
        answer = await chat.peer.receive()
        assert (answer["event"], answer["count"]) == ("history.updated", 3)
        assert "request_id" not in answer
        await chat.peer.send("history.get", call_id="chat-1")
        assert (await chat.peer.receive())["event"] == "history.data"


@holds("commands", "7")
async def test_requests_at_once_are_each_answered_under_their_own_id():
    async with chatting() as chat:
        for number in range(20):
            event = "history.get" if number % 2 else "history.clear"
            await chat.peer.send(event, call_id="chat-1", request_id=f"rq_{number}_aaaaaa")
        told = await chat.peer.settled()
    assert [frame["request_id"] for frame in told] == [f"rq_{n}_aaaaaa" for n in range(20)]


@holds("commands", "7")
@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("history.add", {"messages": "none"}),
        ("history.add", {"messages": [{"role": "boss", "content": "x"}]}),
        ("history.set", {}),
        ("history.set", {"messages": [7]}),
        ("history.set_vars", {"vars": ["x"]}),
        ("history.set_instructions", {"prompt": None}),
        ("history.add_context", {}),
    ],
)
async def test_what_cannot_be_done_is_answered_with_an_error_and_changes_nothing(
    event: str, fields: dict[str, Any]
):
    async with chatting() as chat:
        answer = await chat.request(event, **fields)
        assert isinstance(answer["error"], str)
        assert answer["error"]
        assert answer["call_id"] == "chat-1"
        assert len(await chat.messages()) == 2


@holds("commands", "7")
async def test_a_lines_call_is_answered_as_the_lines():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk")
        await owner.send("line.create", number=OURS, config={"extension_window_ms": 0})
        await owner.until("line.created")
        async with calling(server, to=OURS):
            call = (await owner.until("call.started"))["call_id"]
            for event, fields in (("history.get", {}), ("history.add", {"messages": [USER]})):
                await owner.send(event, call_id=call, request_id="r1", **fields)
                answer = await owner.until(
                    "history.data" if event == "history.get" else "history.updated"
                )
                assert answer["agent_id"] == f"line:{OURS}"


@holds("commands", "7")
async def test_the_history_of_a_voice_call_can_be_read_and_changed():
    async with answered(llm=SCRIPT) as (owner, caller):
        messages = [USER, ASSISTANT]
        await owner.send("history.set", call_id=caller.call_id, request_id="r1", messages=messages)
        assert (await owner.until("history.updated"))["count"] == 2
        await owner.send("history.get", call_id=caller.call_id, request_id="r2")
        data = await owner.until("history.data")
    assert (data["messages"], data["agent_id"]) == (messages, "desk")


# --- effects ------------------------------------------------------------------------------------


@holds("commands", "7")
async def test_variables_merge_last_until_overwritten_and_go_before_the_agents_and_the_built_in():
    template = "{{who}} {{what}} {{day}}."
    async with chatting(prompt=template, vars={"who": "Ana", "what": "tea"}) as chat:
        await chat.request("history.set_vars", vars={"who": "Bo"})
        assert (await chat.prompt()).startswith("Bo tea ")
        await chat.request("history.set_vars", vars={"day": "today"})
        assert await chat.prompt() == "Bo tea today."
        await chat.request("history.set_vars", vars={"who": "Cy"})
        assert await chat.prompt() == "Cy tea today."
        await chat.peer.send("agent.configure", agent_id="desk", vars={"who": "Di"})
        await chat.peer.until("agent.configured")
        assert await chat.prompt() == "Cy tea today."


@holds("commands", "7", "8.3")
async def test_variables_that_come_while_a_generation_is_held_are_for_that_very_one():
    payload = {"prompt": "For {{name}}.", "preparing": {"timeout_ms": 5000}}
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, raw_prompt=True, **payload)
        await peer.send("llm.chat", agent_id="desk", session_id="chat-1", text="your prompt")
        held = await peer.until("llm.before", call_id="chat-1")
        vars = {"name": "Ana"}
        await peer.send("history.set_vars", call_id="chat-1", request_id="r1", vars=vars)
        turn = {"turn": held["turn"]} if "turn" in held else {}
        await peer.send("llm.ready", call_id="chat-1", agent_id="desk", **turn)
        assert (await peer.until("llm.chat.done"))["text"] == "For Ana."


@holds("commands", "7")
async def test_instructions_are_a_template_in_place_of_the_prompts():
    async with chatting(prompt="Old {{who}}.", vars={"who": "Ana"}) as chat:
        await chat.request("history.set_instructions", prompt="New {{who}}.")
        assert await chat.prompt() == "New Ana."


@holds("commands", "7")
async def test_context_is_added_after_the_prompt_and_adds_up():
    async with chatting(prompt="Base.") as chat:
        await chat.request("history.add_context", text="The caller is a member.")
        await chat.request("history.add_context", text="It rains.")
        prompt = await chat.prompt()
    assert prompt.startswith("Base.")
    assert prompt.index("Base.") < prompt.index("The caller is a member.")
    assert prompt.index("The caller is a member.") < prompt.index("It rains.")


@holds("commands", "7")
async def test_the_history_that_is_set_is_what_the_session_goes_on_with():
    async with chatting() as chat:
        await chat.request("history.set", messages=[USER, ASSISTANT])
        await chat.say("more")
        roles = [(m["role"], m["content"]) for m in await chat.messages()]
    assert roles == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "more"),
        ("assistant", "You said more."),
    ]


@holds("commands", "7")
@holds("open-questions", "C")
async def test_restored_messages_with_orphaned_tool_calls_are_tolerated():
    call = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
    restored = [
        USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c9", "content": "{}"},
        {"role": "assistant", "content": "b", "name": "desk", "extra": True},
    ]
    async with chatting() as chat:
        answer = await chat.request("history.set", messages=restored)
        assert answer.get("error") is None
        assert answer["count"] == len(await chat.messages())
        assert await chat.say("more") == "You said more."
