from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pinecall_cli.server.app import Limits
from tests.server.peer import Peer, connected, embedded

SCRIPT: dict[str, Any] = {
    "provider": "script",
    "rules": [
        {"on": "order (?P<id>\\d+)", "call": {"lookup": {"id": "{id}"}}, "say": "{result.status}."},
        {"on": "prompt", "say": "{prompt}"},
        {"on": "slow", "say": "one two three", "first_token_ms": 50},
        {"say": "You said: {text}"},
    ],
}
LOOKUP = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}


async def ask(peer: Peer, text: str, session: str = "chat-1", **fields: Any) -> None:
    await peer.send("llm.chat", agent_id="desk", session_id=session, text=text, **fields)


def names(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["event"] for frame in frames]


async def test_tools_run_with_the_owner_and_the_sender_watches():
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk", llm=SCRIPT, tools=[LOOKUP])
        await ask(sender, "where is order 42?")
        call = await owner.until("llm.tool_call")
        assert call["call_id"] == "chat-1"
        (wish,) = call["tool_calls"]
        assert (wish["name"], json.loads(wish["arguments"])) == ("lookup", {"id": "42"})
        await owner.send(
            "llm.tool_result",
            call_id="chat-1",
            msg_id=call["msg_id"],
            results=[{"tool_call_id": wish["id"], "result": {"status": "shipped"}}],
        )
        watched = await sender.until("llm.chat.tool_call")
        assert watched["tool_calls"] == [wish]
        result = await sender.until("llm.chat.tool_result")
        assert (result["result"], result["name"]) == ('{"status": "shipped"}', "lookup")
        assert (await sender.until("llm.chat.done"))["text"] == "shipped."
        types = [entry.type for entry in server.server.journal.entries(call="chat-1")]
        assert types[2:6] == ["user.message", "tool.call", "tool.result", "bot.speaking"]


async def test_messages_of_a_session_are_answered_one_after_the_other():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await ask(peer, "slow")
        await ask(peer, "second")
        await ask(peer, "hi", session="chat-2")
        other = await peer.until("llm.chat.done")
        assert other["session_id"] == "chat-2"
        assert (await peer.until("llm.chat.done"))["text"] == "one two three"
        second = await peer.until("llm.chat.done")
        assert second["text"] == "You said: second"
        mine = [f for f in peer.seen if f.get("call_id") == "chat-1"]
        order = [f["event"] for f in mine if f["event"] in ("chat.message", "chat.response")]
        assert order == ["chat.message", "chat.response"] * 2


async def test_a_prompt_changed_in_the_session_is_used_by_the_next_answer():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Be {{mood}}.", raw_prompt=True)
        await ask(peer, "hello")
        await peer.until("llm.chat.done")
        await peer.send(
            "history.set_vars", call_id="chat-1", request_id="r1", vars={"mood": "kind"}
        )
        assert (await peer.until("history.updated"))["request_id"] == "r1"
        await ask(peer, "your prompt")
        assert (await peer.until("llm.chat.done"))["text"] == "Be kind."
        await peer.send("session.configure", session_id="chat-1", prompt="Be brief.")
        assert (await peer.until("session.configured"))["session_id"] == "chat-1"
        await ask(peer, "your prompt")
        assert (await peer.until("llm.chat.done"))["text"] == "Be brief."
        await peer.send("history.get", call_id="chat-1", request_id="r2")
        messages = (await peer.until("history.data"))["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"] * 3


async def test_an_agents_new_default_leaves_running_sessions_alone():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Old.", raw_prompt=True)
        await ask(peer, "hello")
        await peer.until("llm.chat.done")
        await peer.send("agent.configure", agent_id="desk", prompt="New.")
        await peer.until("agent.configured")
        await ask(peer, "prompt")
        assert (await peer.until("llm.chat.done"))["text"] == "Old."
        await ask(peer, "prompt", session="chat-2")
        assert (await peer.until("llm.chat.done"))["text"] == "New."


@pytest.mark.parametrize("both", [True, False])
async def test_the_greeting_comes_first_where_it_is_wanted(both: bool):
    async with embedded() as server, connected(server) as owner, connected(server) as other:
        sender = owner if both else other
        greeting = {"en": "Hi {{who}}!", "es": "Hola"}
        wanted = {"greetingInChat": True, "greeting": greeting, "vars": {"who": "Ana"}}
        await owner.agent("desk", llm=SCRIPT, language="en-GB", **wanted)
        await ask(sender, "hello")
        done = await sender.until("llm.chat.done")
        assert done["text"] == "You said: hello"
        for peer in {owner, sender}:
            greeted = [f for f in peer.seen if f["event"] == "chat.response"]
            if not greeted:
                greeted = [await peer.until("chat.response")]
            assert greeted[0]["text"] == "Hi Ana!"
        await owner.send("history.get", call_id="chat-1")
        messages = (await owner.until("history.data"))["messages"]
        assert messages[0] == {"role": "assistant", "content": "Hi Ana!"}


async def test_without_a_model_the_application_answers():
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk")
        await ask(sender, "hello")
        turn = await owner.until("turn.end")
        assert turn["text"] == "hello"
        await owner.send(
            "bot.reply",
            call_id="chat-1",
            message_id="m1",
            text="Hi.",
            in_reply_to=turn["message_id"],
        )
        assert (await sender.until("llm.chat.done"))["text"] == "Hi."
        await owner.until("bot.finished", message_id="m1")
        said = [f["event"] for f in owner.seen if f.get("message_id") == "m1"]
        assert said == ["bot.speaking", "message.confirmed", "bot.finished"]
        await owner.send("history.get", call_id="chat-1")
        messages = (await owner.until("history.data"))["messages"]
        assert messages == [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "Hi."},
        ]


async def test_an_application_may_stream_its_answer_and_a_stale_one_is_refused():
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk")
        await ask(sender, "hello")
        turn = await owner.until("turn.end")

        async def stream(id: str, action: str, **fields: str) -> None:
            await owner.send(
                "bot.reply.stream", call_id="chat-1", message_id=id, action=action, **fields
            )

        await stream("m0", "start", in_reply_to="something older")
        rejected = await owner.until("reply.rejected")
        assert rejected["expected_reply_to"] == turn["message_id"]
        await stream("m0", "chunk", token="never said")
        await stream("m1", "start", in_reply_to=turn["message_id"])
        await stream("m1", "chunk", token="Hi ")
        await stream("m1", "chunk", token="there.")
        await stream("m2", "start")
        await owner.send("bot.cancel", call_id="chat-1", message_id="m2")
        assert (await owner.until("bot.interrupted"))["message_id"] == "m2"
        await stream("m2", "chunk", token="never said either")
        await stream("m1", "end")
        assert (await sender.until("llm.chat.done"))["text"] == "Hi there."
        tokens = [f["text"] for f in sender.seen if f["event"] == "llm.chat.token"]
        assert tokens == ["Hi ", "Hi there."]


async def test_an_application_that_does_not_answer_is_an_error_and_not_the_end():
    limits = Limits(reply_s=0.05)
    async with (
        embedded(limits=limits) as server,
        connected(server) as owner,
        connected(server) as sender,
    ):
        await owner.agent("desk")
        await ask(sender, "hello")
        failed = await sender.until("llm.chat.error")
        assert "did not answer" in failed["error"]
        await owner.until("llm.chat.error")
        await ask(sender, "again")
        again = await owner.until("llm.chat.started")
        assert again["call_id"] == "chat-1"
        await owner.send("bot.reply", call_id="chat-1", message_id="m", text="Here.")
        assert (await sender.until("llm.chat.done"))["text"] == "Here."


async def test_a_model_that_fails_is_told_to_both():
    llm = {"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk", llm=llm)
        await ask(sender, "hello")
        told = await sender.until("llm.chat.error")
        assert (bool(told["error"]), told["code"]) == (True, "llm")
        assert (await owner.until("llm.chat.error"))["error"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"agent_id": "nobody"}, "AGENT_NOT_FOUND"),
        ({"text": "  "}, "EMPTY_MESSAGE"),
        ({"session_id": ""}, "INVALID_SESSION"),
        ({"session_id": "wa-123"}, "INVALID_SESSION"),
        ({"session_id": "x" * 300}, "INVALID_SESSION"),
        ({"session_id": "a\nb"}, "INVALID_SESSION"),
    ],
)
async def test_what_cannot_be_a_session_is_said(fields: dict[str, str], code: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        base = {"agent_id": "desk", "session_id": "chat-1", "text": "hi"}
        await peer.send("llm.chat", **(base | fields))
        error = await peer.receive()
        assert (error["event"], error["code"]) == ("llm.chat.error", code)
        assert server.server.registry.sessions() == ()


async def test_sessions_of_two_organisations_never_meet():
    async with embedded() as server, connected(server) as one, connected(server, "pk_two") as two:
        for peer, mood in ((one, "One."), (two, "Two.")):
            await peer.agent("desk", llm=SCRIPT, prompt=mood, raw_prompt=True)
            await ask(peer, "prompt")
            assert (await peer.until("llm.chat.done"))["text"] == mood
        await two.send("history.get", call_id="chat-1")
        assert (await two.until("history.data"))["messages"][1]["content"] == "Two."


async def test_a_session_belongs_to_one_agent():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await peer.agent("other", llm=SCRIPT)
        await ask(peer, "hi")
        await peer.until("llm.chat.done")
        await peer.send("llm.chat", agent_id="other", session_id="chat-1", text="hi")
        assert (await peer.until("llm.chat.error"))["code"] == "SESSION_IN_USE"


async def test_a_connection_has_only_so_many_sessions_and_messages():
    limits = Limits(chats_per_connection=2, reply_s=60)
    async with embedded(limits=limits) as server, connected(server) as peer:
        await peer.agent("desk")
        for number in range(3):
            await ask(peer, "hi", session=f"chat-{number}")
        assert (await peer.until("llm.chat.error"))["code"] == "TOO_MANY_SESSIONS"
        for number in range(40):
            await ask(peer, f"message {number}", session="chat-0")
        assert (await peer.until("llm.chat.error"))["code"] == "TOO_MANY_MESSAGES"


async def test_a_session_ends_when_nobody_writes():
    async with embedded(limits=Limits(chat_idle_s=0.05)) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await ask(peer, "hi")
        ended = await peer.until("llm.chat.ended")
        assert ended["reason"] == "idle_timeout"
        assert ended["messages"][0]["content"] == "hi"
        assert server.server.registry.sessions() == ()
        await ask(peer, "hi again")
        assert (await peer.until("llm.chat.started"))["call_id"] == "chat-1"


async def test_a_session_ends_with_the_connection_that_opened_it_or_when_it_is_hung_up():
    async with embedded() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with connected(server) as sender:
            await ask(sender, "hi")
            await sender.until("llm.chat.done")
        ended = await owner.until("llm.chat.ended")
        assert ended["reason"] == "chat_completed"
        await ask(owner, "slow", session="chat-2")
        await owner.until("chat.message", call_id="chat-2")
        await owner.send("call.hangup", call_id="chat-2")
        assert (await owner.until("llm.chat.ended"))["reason"] == "hangup"


async def test_whoever_waits_for_an_answer_is_told_when_the_session_ends():
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk", llm=SCRIPT, tools=[LOOKUP])
        async with connected(server) as other:
            await ask(sender, "where is order 42?")
            await owner.until("llm.tool_call")
            await ask(other, "and mine?")
            await other.settled()
            await owner.send("call.hangup", call_id="chat-1")
            for peer in (sender, other):
                failed = await peer.until("llm.chat.error")
                assert failed["error"] == "the conversation has ended: hangup"
                assert failed["session_id"] == "chat-1"
        assert (await owner.until("llm.chat.ended"))["reason"] == "hangup"
        assert "llm.chat.error" not in names(owner.seen)


async def test_what_means_nothing_in_a_chat_is_said():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await ask(peer, "hi")
        await peer.until("llm.chat.done")
        await peer.send("call.hold", call_id="chat-1")
        assert (await peer.until("error"))["code"] == "NOT_SUPPORTED"


async def test_what_the_application_says_while_the_model_answers_does_not_end_the_answer():
    async with embedded() as server, connected(server) as owner, connected(server) as sender:
        await owner.agent("desk", llm=SCRIPT)
        await ask(sender, "slow")
        await owner.until("chat.message")
        await owner.send("bot.reply", call_id="chat-1", message_id="m", text="One moment.")
        aside = await sender.until("chat.response")
        assert aside["text"] == "One moment."
        assert (await sender.until("llm.chat.done"))["text"] == "one two three"


async def test_many_chats_at_once_are_all_answered():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        for number in range(50):
            await ask(peer, f"message {number}", session=f"chat-{number}")
        answered = set()
        async with asyncio.timeout(30):
            while len(answered) < 50:
                done = await peer.until("llm.chat.done")
                number = done["session_id"].removeprefix("chat-")
                assert done["text"] == f"You said: message {number}"
                answered.add(number)


async def test_a_script_knows_the_agents_own_prompt_from_all_that_a_model_is_told():
    rules = [{"on": "who", "say": "{instructions}"}, {"say": "{prompt}"}]
    async with embedded() as server, connected(server) as peer:
        await peer.agent(
            "desk",
            llm={"provider": "script", "rules": rules},
            prompt="You sell {{what}}.",
            vars={"what": "lamps"},
        )
        await ask(peer, "who are you?")
        assert (await peer.until("llm.chat.done"))["text"] == "You sell lamps."
        await ask(peer, "all of it")
        whole = (await peer.until("llm.chat.done"))["text"]
        assert whole.startswith("You sell lamps.\n\n## Style")
