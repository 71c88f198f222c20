"""Who says what first: config.md §5."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.microphone import calling, speaking, waiting
from tests.conformance.paragraphs import holds
from tests.conformance.told_model import ask
from tests.server.meta import CHANNEL, notification, post, wrote
from tests.server.peer import Peer, connected

SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "You said {text}."}]}
MAP = {"en": "Hello!", "es": "¡Hola!"}
OURS, THEIRS = "+13186330963", "+14155550100"


async def agent(peer: Peer, **payload: Any) -> None:
    created = await peer.agent("desk", **({"llm": SCRIPT, "preparing": False} | payload))
    assert created["event"] == "agent.created", created


async def greeted(server: Any, peer: Peer, **first: Any) -> str:
    """Return what an agent says first to somebody who calls and waits."""
    async with calling(server, **first) as end:
        text = str((await end.until("bot.speaking"))["text"])
        await end.act("hangup")
        await end.closed()
    await peer.until("call.ended")
    return text


@holds("config", "5", "2")
@pytest.mark.parametrize(
    ("greeting", "language", "said"),
    [
        ("Hi {{who}}!", None, "Hi Ana!"),
        ({"text": "Hi there!"}, "es", "Hi there!"),
        ({"text": "Hi there!", "es": "¡Hola!"}, "es", "Hi there!"),
        (MAP, "es", "¡Hola!"),
        (MAP, "es-PE", "¡Hola!"),
        (MAP, "fr", "Hello!"),
        ({"fr": "Salut !", **MAP}, "ja", "Salut !"),
        ({"pt-BR": "Oi!", "en": "Hello!"}, "pt", "Oi!"),
    ],
)
async def test_a_greeting_is_spoken_in_the_language_of_the_call(
    greeting: Any, language: str | None, said: str
):
    async with speaking() as server, connected(server) as peer:
        given = {} if language is None else {"language": language}
        await agent(peer, greeting=greeting, vars={"who": "Ana"}, **given)
        assert await greeted(server, peer) == said


@holds("config", "5")
async def test_where_the_calls_language_has_no_greeting_it_is_the_agents_languages():
    async with speaking() as server, connected(server) as peer:
        await agent(peer, greeting=MAP, language="es")
        await peer.send("channel.add", agent_id="desk", type="phone", ref=OURS, language="fr")
        await peer.send("channel.add", agent_id="desk", type="webrtc", language="ja")
        await peer.settled()
        assert await greeted(server, peer, to=OURS) == "¡Hola!"
        assert await greeted(server, peer) == "¡Hola!"


@holds("config", "5")
async def test_where_a_chats_language_has_no_greeting_it_is_the_agents_languages():
    async with speaking() as server, connected(server) as peer:
        await agent(peer, greeting=MAP, language="es", greetingInChat=True)
        await peer.send(
            "llm.chat", agent_id="desk", session_id="chat-1", text="Hi", metadata={"lang": "fr"}
        )
        assert (await peer.until("chat.response"))["text"] == "¡Hola!"


@holds("config", "5", "2")
async def test_a_greeting_of_the_servers_is_in_the_history_whatever_the_flag_says():
    async with speaking() as server, connected(server) as peer:
        await agent(peer, greeting={"text": "Hi!", "addToHistory": False})
        async with calling(server) as end:
            await end.until("bot.finished")
            await end.act("hangup")
            ended = await end.until("call.ended")
    assert ended["messages"] == [{"role": "assistant", "content": "Hi!"}]


@holds("config", "5")
async def test_without_a_greeting_the_application_speaks_first_and_the_server_waits():
    async with speaking() as server, connected(server) as peer:
        await agent(peer)
        async with calling(server) as end:
            call = (await peer.until("call.started"))["call_id"]
            await end.reached(lambda: len(end.heard) > 40)
            assert not end.of("bot.speaking")
            await peer.send(
                "bot.reply",
                **{"call_id": call, "message_id": "msg_1", "text": "Hi.", "in_reply_to": ""},
                add_to_history=True,
            )
            await end.until("bot.finished", message_id="msg_1")
            await end.act("hangup")
            ended = await end.until("call.ended")
    assert ended["messages"] == [{"role": "assistant", "content": "Hi."}]


@holds("config", "5")
@holds("sessions", "2")
async def test_whoever_speaks_first_has_greeted_and_the_other_does_not_again():
    async with speaking() as server, connected(server) as peer:
        await agent(peer, greeting="The server's.")
        async with calling(server, sealed='{"userId":"u_9"}') as end:  # the greeting is held
            call = (await peer.until("call.started"))["call_id"]
            await peer.send(
                "bot.reply",
                **{"call_id": call, "message_id": "msg_1", "text": "Mine.", "in_reply_to": ""},
            )
            await end.until("bot.finished", message_id="msg_1")
            await end.reached(lambda: len(end.heard) > 60)
            assert [frame["text"] for frame in end.of("bot.speaking")] == ["Mine."]
        await peer.until("call.ended")


@holds("config", "5")
async def test_the_agents_greeting_is_for_whoever_calls_and_not_for_whom_it_calls():
    async with speaking() as server, connected(server) as peer:
        await agent(peer, greeting="Welcome!")
        await peer.send("channel.add", agent_id="desk", type="phone", ref=OURS)
        await peer.until("channel.added")
        dial = {"agent_id": "desk", "to": THEIRS, "from": OURS}
        async with waiting(server, THEIRS) as end:
            await end.until("answer.ready")
            await peer.send("call.dial", **dial)
            await end.until("call.ringing")
            await end.act("accept")
            await end.reached(lambda: len(end.heard) > 40)
            assert not end.of("bot.speaking")
        await peer.until("call.ended")
        async with waiting(server, THEIRS) as end:
            await end.until("answer.ready")
            await peer.send("call.dial", **dial, greeting="It is us.")
            await end.until("call.ringing")
            await end.act("accept")
            assert (await end.until("bot.speaking"))["text"] == "It is us."
        await peer.until("call.ended")


@holds("config", "5")
async def test_a_call_that_is_to_wait_greets_after_the_other_sides_first_turn():
    async with speaking() as server, connected(server) as peer:
        server.server.engines.recogniser.texts = {1: "hello?"}
        await agent(peer)
        await peer.send("channel.add", agent_id="desk", type="phone", ref=OURS)
        await peer.until("channel.added")
        async with waiting(server, THEIRS, sample_rate=16_000, encoding="pcm_s16le") as end:
            await end.until("answer.ready")
            await peer.send(
                "call.dial",
                **{"agent_id": "desk", "to": THEIRS, "from": OURS, "greeting": "It is us."},
                detect_turn_end=True,
            )
            await end.until("call.ringing")
            await end.act("accept")
            await end.reached(lambda: len(end.heard) > 25)
            assert not end.of("bot.speaking")
            end.say(1, 600)
            greeting = await end.until("bot.speaking")
            names = [frame["event"] for frame in end.seen]
            assert names.index("turn.end") < names.index("bot.speaking")
            assert greeting["text"] == "It is us."
        await peer.until("call.ended")


@holds("config", "5")
async def test_a_chat_is_greeted_only_where_that_is_asked_for_as_its_first_message():
    async with speaking() as server, connected(server) as peer:
        await agent(peer, greeting="Hi!")
        assert await ask(peer, "hello") == "You said hello."
        await peer.send("history.get", call_id="chat-1", request_id="r")
        messages = (await peer.until("history.data"))["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
        await agent(peer, greeting="Hi!", greetingInChat=True)
        await ask(peer, "hello", "chat-2")
        await peer.send("history.get", call_id="chat-2", request_id="r")
        messages = (await peer.until("history.data"))["messages"]
        assert messages[0] == {"role": "assistant", "content": "Hi!"}
        said = [f for f in peer.seen if f["event"] == "chat.response" and f["text"] == "Hi!"]
        assert [frame["call_id"] for frame in said] == ["chat-2"]


@holds("config", "5", "12.3")
async def test_the_language_of_a_call_is_its_pages_and_of_a_phone_call_its_numbers():
    async with speaking() as server, connected(server) as peer:
        await agent(peer, greeting=MAP, language="en")
        await peer.send("channel.add", agent_id="desk", type="phone", ref=OURS, language="es")
        await peer.until("channel.added")
        async with calling(server, to=OURS) as end:
            assert (await end.until("call.started"))["language"] == "es"
            assert (await end.until("bot.speaking"))["text"] == "¡Hola!"
        await peer.until("call.ended")


@holds("config", "5")
async def test_whoever_writes_over_whatsapp_is_answered_and_never_greeted():
    async with speaking() as server, connected(server) as peer:
        await agent(peer, greeting="Hi!", greetingInChat=True)
        await peer.send("channel.add", agent_id="desk", **CHANNEL)
        await peer.until("channel.added")
        await post(server.url, notification(wrote("hello")))
        assert (await peer.until("whatsapp.response"))["text"] == "You said hello."
        assert "Hi!" not in [frame.get("text") for frame in peer.seen]
