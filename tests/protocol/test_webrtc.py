"""Browser voice without a network: what is an offer, and what a page is told."""

from __future__ import annotations

import json

import pytest

from pinecall_cli.protocol.chat import UNANSWERED
from pinecall_cli.protocol.webrtc import (
    MOST_CANDIDATES,
    OfferRefused,
    chosen,
    for_browser,
    offer_of,
    sdp_problem,
)

PRINT = "a=fingerprint:sha-256 C1:32\r\n"
AUDIO = f"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n{PRINT}"
DATA = f"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\na=sctp-port:5000\r\n{PRINT}"
HEAD = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
OFFER = HEAD + "a=group:BUNDLE 0 1\r\n" + AUDIO + DATA


@pytest.mark.parametrize(
    "sdp",
    [
        OFFER,
        HEAD + AUDIO,
        HEAD + DATA + AUDIO,
        HEAD + AUDIO + "a=recvonly\r\n",
        OFFER.replace(PRINT, "").replace("t=0 0\r\n", "t=0 0\r\n" + PRINT),
        OFFER.replace("\r\n", "\n"),
        OFFER.replace("opus", "OPUS"),
        OFFER.replace("a=sctp-port:5000", "a=sctpmap:5000 webrtc-datachannel 1024"),
    ],
)
def test_an_offer_of_one_voice_call_is_taken(sdp: str):
    assert sdp_problem(sdp) is None


@pytest.mark.parametrize(
    ("sdp", "named"),
    [
        ("", "no session description"),
        (HEAD, "no session description"),
        ("x" + OFFER, "no session description"),
        (HEAD + DATA, "one audio section"),
        (OFFER + AUDIO, "one audio section"),
        (OFFER + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\n", "one audio section"),
        (HEAD + "m=audio", "Opus"),
        (OFFER.replace("m=audio 9", "m=audio 0"), "Opus"),
        (OFFER.replace("opus/48000/2", "PCMU/8000"), "Opus"),
        (
            HEAD + AUDIO.replace("opus/48000/2", "G722/8000") + DATA + "a=rtpmap:1 opus/48000/2",
            "Opus",
        ),
        (HEAD + AUDIO + "a=sendonly\r\n", "heard"),
        (HEAD + "a=inactive\r\n" + AUDIO, "heard"),
        (OFFER.replace("a=mid:1", "a=mid:0"), "a=mid"),
        (OFFER.replace("a=mid:1\r\n", ""), "a=mid"),
        (OFFER.replace("BUNDLE 0 1", "BUNDLE 7 1"), "bundle"),
        (OFFER.replace("BUNDLE 0 1", "BUNDLE 0"), "bundle"),
        (HEAD + AUDIO.replace(PRINT, ""), "fingerprint"),
        (OFFER.replace("sha-256", "md5"), "fingerprint"),
        (OFFER.replace("a=sctp-port:5000", "a=sctp-port:0"), "sctp-port"),
        (OFFER + "a=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\n" * (MOST_CANDIDATES + 1), "cand"),
    ],
)
def test_any_other_is_refused_by_what_is_wrong_with_it(sdp: str, named: str):
    assert named in (sdp_problem(sdp) or "")


def test_an_offer_needs_no_more_than_an_sdp_and_a_token():
    offer = offer_of({"sdp": OFFER, "token": "wrtc_x", "pc_id": None, "restart_pc": False})
    assert (offer.sdp, offer.token, offer.type) == (OFFER, "wrtc_x", "offer")


def test_a_page_chooses_voice_and_language_and_nothing_else():
    config = {
        "language": "es",
        "stt": "deepgram:nova-3",
        "llm": "x",
        "turnDetection": {},
        "tools": [],
    }
    allowed, dropped = chosen(config)
    assert allowed.keys() == {"language", "stt"}
    assert dropped == ["llm", "tools", "turnDetection"]
    with pytest.raises(OfferRefused, match="language"):
        chosen({"language": {"x": 1}})


def told(**event: object) -> dict[str, object] | None:
    text = for_browser(json.dumps(event))
    return None if text is None else json.loads(text)


def test_a_page_is_told_facts_without_the_agent():
    fact = {"event": "bot.word", "call_id": "c", "word": "Hi", "word_index": 0, "seq": 4}
    assert told(agent_id="desk", **fact) == fact


@pytest.mark.parametrize(
    "event",
    ["call.started", "llm.before", "history.data", "error", "unheard.of"],
)
def test_what_is_the_applications_alone_is_not_told(event: str):
    assert told(event=event, call_id="c", metadata={"secret": 1}) is None


def test_of_what_failed_a_page_learns_no_reason_which_may_name_addresses_and_keys():
    failed = {"event": "llm.error", "call_id": "c", "turn": 3, "seq": 7, "ts": 1.0}
    reason = {"error": "`http://10.0.0.7/v1` said: Incorrect API key sk-one", "code": "llm"}
    assert told(agent_id="desk", **failed, **reason) == {**failed, "error": UNANSWERED}


def test_of_a_calls_end_a_page_learns_why_and_not_what_was_remembered():
    ended = {"call_id": "c", "reason": "hangup", "duration_seconds": 2.5, "seq": 9, "ts": 1.0}
    whole = {**ended, "agent_id": "desk", "messages": [{"role": "system"}], "metadata": {"a": 1}}
    assert told(event="call.ended", **whole) == {"event": "call.ended", **ended}
