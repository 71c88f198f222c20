"""flows.md §14: a phone line picks up, asks, and hands the call over."""

from __future__ import annotations

from tests.conformance.desk import OURS, SCRIPT, THEIRS, hears_always, names, of_call, registered
from tests.conformance.desk import told as told_to
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.server.peer import connected, embedded

LINE = f"line:{OURS}"
CONFIG = {
    "stt": "soniox/stt-rt-v5",
    "voice": "elevenlabs/sarah",
    "language": "en",
    "extension_window_ms": 2_500,
}


@holds("flows", "14")
async def test_a_line_answers_asks_and_hands_over():
    async with (
        embedded(engines=hears_always("hello")) as server,
        connected(server) as line,
        connected(server) as ventas,
    ):
        await registered(ventas, "ventas", llm=SCRIPT, preparing=False, greeting="Ventas.")
        await line.send("line.create", number=OURS, config=CONFIG)
        assert (await line.receive())["event"] == "line.created"
        async with calling(server, "ventas", to=OURS, from_=THEIRS) as caller:
            await caller.act("dtmf", digits="33#")
            started = await line.until("call.started")
            id = started["call_id"]
            words = {"message_id": "m1", "text": "Press one", "in_reply_to": ""}
            await line.send("bot.reply", call_id=id, **words)
            await line.until("bot.finished", message_id="m1")
            await caller.act("dtmf", digits="1")
            pressed = await line.until("call.dtmf_received")
            wish = {"agent": "ventas", "language": "es", "history": True}
            await line.send("call.route", call_id=id, **wish)
            await line.until("call.routed", agent="ventas")
            await line.until("call.ended", reason="routed")
            hello = await ventas.until("call.started")
            await ventas.until("message.confirmed", text="Ventas.")
            await caller.act("inject_text", text="a table")
            await ventas.until("message.confirmed", text="You said a table.")
            await caller.hang_up()
            of_ventas = await told_to(ventas, id)
            of_line = of_call(line.seen, id)
            late = of_call(await line.settled(), id)
    about = {"agent_id": LINE, "extension": "33", "owner": "line", "transport": "phone"}
    assert about.items() <= started.items()
    assert (pressed["digit"], pressed["digits"]) == ("1", "1")
    assert names(of_line, "bot.word") == [
        *("call.started", "bot.speaking", "message.confirmed", "bot.finished"),
        *("call.dtmf_received", "call.routed", "call.ended"),
    ]
    assert {frame["agent_id"] for frame in of_line} == {LINE}
    over = {"agent_id": "ventas", "call_id": id, "routed_from": LINE, "owner": "agent"}
    assert (over | {"extension": "33", "language": "es"}).items() <= hello.items()
    assert [entry["text"] for entry in hello["line_transcript"]] == ["Press one"]
    assert (of_ventas[-1]["event"], of_ventas[-1]["reason"]) == ("call.ended", "hangup")
    assert not late, "the end of the call is the agent's"


@holds("flows", "14")
async def test_a_hand_over_with_a_greeting_of_its_own_context_and_no_history():
    tells = {"provider": "script", "rules": [{"say": "{prompt}"}]}
    async with (
        embedded(engines=hears_always("hello")) as server,
        connected(server) as line,
        connected(server) as ventas,
    ):
        config = {"llm": tells, "preparing": False, "greeting": "Ventas.", "raw_prompt": True}
        await registered(ventas, "ventas", prompt="Plan {{plan}}.", **config)
        await line.send("line.create", number=OURS, config={"extension_window_ms": 0})
        await line.until("line.created")
        async with calling(server, "ventas", to=OURS, from_=THEIRS) as caller:
            id = (await line.until("call.started"))["call_id"]
            await line.send("set_context", call_id=id, key="menu", value="sales")
            await line.send("bot.reply", call_id=id, message_id="m1", text="Hi.", in_reply_to="")
            await line.until("bot.finished")
            wish = {"greeting": "Hola.", "prompt_vars": {"plan": "gold"}, "context": {"vip": True}}
            await line.send("call.route", call_id=id, agent="ventas", history=False, **wish)
            await ventas.until("message.confirmed", text="Hola.")
            await caller.act("inject_text", text="hello")
            await ventas.until("bot.word", word="gold.")
            await ventas.send("history.get", call_id=id, request_id="rq")
            history = await ventas.until("history.data")
            await caller.hang_up()
            spoken = await told_to(ventas, id)
    assert [m["content"] for m in history["messages"]][:1] == ["Hola."]
    assert not any(m["content"] == "Hi." for m in spoken[-1]["messages"])
    words = [frame["word"] for frame in spoken if frame["event"] == "bot.word"]
    assert words[:3] == ["Hola.", "Plan", "gold."]


@holds("flows", "14", "10")
@holds("events", "2.2", "4.1")
async def test_a_lines_call_is_announced_again_to_an_owner_that_comes_back():
    async with embedded(engines=hears_always("hello")) as server:
        async with connected(server) as first:
            await first.agent("desk")
            await first.send("line.create", number=OURS, config={"extension_window_ms": 2_500})
            await first.until("line.created")
            call = calling(server, to=OURS, from_=THEIRS)
            caller = await call.__aenter__()
            await caller.act("dtmf", digits="7#")
            started = await first.until("call.started")
        async with connected(server) as second:
            await second.send("line.create", number=OURS, config={"extension_window_ms": 2_500})
            await second.until("line.created")
            again = await second.until("call.started")
            await caller.hang_up()
            frames = await told_to(second, started["call_id"])
        await call.__aexit__(None, None, None)
    for frame in (started, again):
        about = {"agent_id": LINE, "call_id": started["call_id"], "extension": "7"}
        assert (about | {"owner": "line"}).items() <= frame.items()
    assert names(frames) == ["call.started", "call.ended"]


@holds("flows", "14")
@holds("events", "11", "2.1")
async def test_one_process_may_own_the_line_and_the_agent_and_can_tell_them_apart():
    async with embedded(engines=hears_always("hello")) as server, connected(server) as both:
        await registered(both, "ventas", llm=SCRIPT, preparing=False, greeting="Ventas.")
        await both.send("line.create", number=OURS, config={"extension_window_ms": 0})
        await both.until("line.created")
        async with calling(server, "ventas", to=OURS, from_=THEIRS) as caller:
            id = (await both.until("call.started"))["call_id"]
            await both.send("call.route", call_id=id, agent="ventas", history=True)
            await both.until("call.ended", reason="routed")
            await both.until("message.confirmed", text="Ventas.")
            await caller.hang_up()
            await both.until("call.ended", reason="hangup")
            frames = of_call(both.seen, id)
    whose = [(frame["event"], frame["agent_id"]) for frame in frames]
    assert [one for one in whose if one[0].startswith("call.")] == [
        *(("call.started", LINE), ("call.started", "ventas")),
        *(("call.routed", LINE), ("call.ended", LINE), ("call.ended", "ventas")),
    ]
    assert {agent for event, agent in whose if event.startswith("bot.")} == {"ventas"}
    assert caller.names().count("call.ended") == 1, "for the caller it is one call"
