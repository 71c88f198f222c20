"""Coming back: what a server keeps for 45 s, and what it tells again (README §7)."""

from __future__ import annotations

from pinecall_cli.server.app import Limits
from tests.conformance.answered import OURS, SCRIPT, THEIRS, reply
from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import connected, embedded

REGISTERED = {"agent.created", "agent.resumed"}


@holds("README", "7")
@holds("open-questions", "B")
async def test_a_call_goes_on_without_its_agent_and_is_told_again_when_it_comes_back():
    async with speaking({0: "hello"}) as server:
        async with connected(server) as owner:
            await owner.agent("desk", llm=SCRIPT, preparing=False)
            calls = calling(server)
            caller = await calls.__aenter__()
            began = await owner.until("call.started")
        caller.say(0)
        await caller.until("message.confirmed", text="You said hello.")
        async with connected(server) as back:
            created = await back.agent("desk", llm=SCRIPT)
            again = await back.receive()
            assert created["event"] in REGISTERED
            same = ("event", "call_id", "from", "to", "direction", "transport", "agent_id")
            assert [again[key] for key in same] == [began[key] for key in same]
            await reply(back, again["call_id"], "m1", "Back")
            await back.until("bot.finished", message_id="m1")
            await back.send("history.get", call_id=again["call_id"], request_id="r1")
            messages = (await back.until("history.data"))["messages"]
            assert [m["content"] for m in messages] == ["hello", "You said hello."]
            await back.send("call.hangup", call_id=again["call_id"])
            ended = await back.until("call.ended")
            assert (ended["reason"], ended["direction"]) == ("hangup", "inbound")
        await calls.__aexit__(None, None, None)


@holds("README", "7")
async def test_a_chat_is_told_again_too():
    async with embedded() as server, connected(server) as sender:
        async with connected(server) as owner:
            await owner.agent("desk", llm=SCRIPT)
            await sender.send("llm.chat", agent_id="desk", session_id="chat-1", text="hi")
            await sender.until("llm.chat.done")
        async with connected(server) as back:
            assert (await back.agent("desk", llm=SCRIPT))["event"] in REGISTERED
            again = await back.receive()
            assert (again["event"], again["call_id"]) == ("llm.chat.started", "chat-1")


@holds("README", "7")
async def test_without_calls_a_slug_whose_socket_is_gone_is_created_anew():
    async with embedded() as server:
        for _ in range(2):
            async with connected(server) as owner:
                assert (await owner.agent("desk"))["event"] == "agent.created"
                assert await owner.settled() == []


@holds("README", "7")
@holds("open-questions", "B")
async def test_calls_whose_agent_stays_away_end_when_the_time_is_up():
    async with speaking(limits=Limits(grace_s=0.1)) as server:
        async with connected(server) as owner:
            await owner.agent("desk", llm=SCRIPT)
            calls = calling(server)
            caller = await calls.__aenter__()
            await owner.until("call.started")
        ended = await caller.until("call.ended")
        assert ended["reason"] == "agent_disconnected"
        await calls.__aexit__(None, None, None)


@holds("README", "7")
async def test_the_channels_of_a_socket_that_is_gone_are_free_until_they_are_added_again():
    number = {"type": "phone", "ref": OURS}
    async with speaking() as server, connected(server) as other:
        await other.agent("other")
        async with connected(server) as owner:
            await owner.agent("desk")
            await owner.send("channel.add", agent_id="desk", **number)
            await owner.until("channel.added")
            await other.send("channel.add", agent_id="other", **number)
            assert (await other.receive())["code"] == "PHONE_IN_USE"
        async with connected(server) as back:
            await back.agent("desk")
            await back.send("channel.add", agent_id="desk", **number)
            assert (await back.receive())["event"] == "channel.added"
            async with calling(server, "desk", to=OURS, from_=THEIRS):
                await back.until("call.started", to=OURS)


@holds("README", "7")
async def test_frames_for_a_call_that_died_are_no_trouble():
    async with speaking() as server:
        async with connected(server) as owner:
            await owner.agent("desk")
            async with calling(server) as caller:
                call = (await owner.until("call.started"))["call_id"]
                await caller.hang_up()
            await owner.until("call.ended")
        async with connected(server) as back:
            await back.agent("desk")
            stream = {"call_id": call, "message_id": "m1"}
            await reply(back, call, "m0", "Too late")
            await back.send("bot.reply.stream", **stream, action="start", in_reply_to="")
            for token in ("a", "b", "c"):
                await back.send("bot.reply.stream", **stream, action="chunk", token=token)
            await back.send("bot.reply.stream", **stream, action="end")
            told = await back.settled()
            assert [f.get("code") for f in told] in ([], ["CALL_NOT_FOUND"])
            await back.send("agent.configure", agent_id="desk", prompt="x")
            await back.until("agent.configured")
