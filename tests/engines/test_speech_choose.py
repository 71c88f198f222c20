"""Loading the engines in the background, and saying what they stand in for."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from typing import Any
from weakref import ref

import pytest

from pinecall_cli.engines import ENGINES, engine
from pinecall_cli.engines.choose import OnDemand, SpeechEngines, substitutes
from pinecall_cli.errors import EngineError
from tests.engines.loaded import engines
from tests.fakes.engines import tone

WORKERS = ["hibari", "moonshine", "smart-turn"]
"""Threads of the engines."""


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_in_the_table_is_there(name: str):
    assert isinstance(engine(name), type)


def test_an_engine_that_is_not_in_the_table_is_a_key_error():
    with pytest.raises(KeyError):
        engine("parrot")


def test_choosing_imports_no_engine():
    program = (
        "import sys\n"
        "from pinecall_cli.engines import choose\n"
        "choose.SpeechEngines(); choose.substitutes({'voice': 'a/b'})\n"
        "print([name for name in ('numpy', 'onnxruntime', 'hibari') if name in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout == "[]\n", said.stderr


async def test_waiting_loads_once_and_gives_the_engines():
    speech = SpeechEngines()
    with pytest.raises(EngineError, match="loading"):
        speech.vad()
    first, second = await asyncio.gather(speech.wait(), speech.wait())
    assert first is second is speech
    assert speech.load_s is not None
    assert speech.vad() is not speech.vad()
    assert speech.recogniser is speech.recogniser
    assert (speech.recogniser.name, speech.synthesiser.name) == (
        "moonshine/tiny-en",
        "hibari/heart",
    )
    speech.close()


async def test_who_gives_up_waiting_takes_the_engines_from_nobody():
    speech = SpeechEngines()
    impatient = asyncio.ensure_future(speech.wait())
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await speech.wait() is speech
    speech.close()


async def test_closed_engines_leave_no_thread_and_no_model_behind():
    before = set(threading.enumerate())
    speech = await SpeechEngines().wait()
    assert speech.end_of_turn is not None
    await speech.recogniser.transcribe(tone(500))
    await speech.end_of_turn.probability(tone(500))
    await speech.synthesiser.synthesise("Hello.")
    threads = [one for one in threading.enumerate() if one not in before and one.name in WORKERS]
    models = [ref(one) for one in (speech.recogniser, speech.end_of_turn, speech.synthesiser)]
    assert sorted(thread.name for thread in threads) == WORKERS
    speech.close()
    speech.close()
    for thread in threads:
        thread.join(10)
    gc.collect()
    assert not any(thread.is_alive() for thread in threads)
    assert [model() for model in models] == [None, None, None]
    with pytest.raises(EngineError, match="closed"):
        speech.vad()
    with pytest.raises(EngineError, match="closed"):
        await speech.wait()


async def test_engines_that_are_closed_while_they_load_are_let_go_when_they_have_loaded():
    speech = SpeechEngines()
    speech.load()
    speech.close()
    assert await asyncio.wrap_future(speech.ready) is speech
    assert not vars(speech).keys() & {"_hibari", "_moonshine", "_silero", "_smart_turn"}
    with pytest.raises(EngineError, match="closed"):
        assert speech.synthesiser is None


async def test_engines_that_were_closed_before_they_were_needed_are_never_loaded():
    for speech in (SpeechEngines(), OnDemand()):
        speech.close()
        with pytest.raises(EngineError, match="closed"):
            await speech.wait()
        assert speech.load_s is None


def test_the_engines_are_never_imported_from_the_carrier_of_the_weights():
    engines()
    assert "moonshine_voice" not in sys.modules


@pytest.mark.parametrize("package", ["numpy", "onnxruntime", "hibari"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package: str):
    program = (
        "import asyncio, sys\n"
        "from pinecall_cli.engines.choose import SpeechEngines\n"
        "from pinecall_cli.errors import EngineError\n"
        f"sys.modules[{package!r}] = None\n"
        "try: asyncio.run(SpeechEngines().wait())\n"
        "except EngineError as missing: print(missing.message, '|', missing.fix)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"needs the package `{package}` | pip install 'pinecall-cli[voice]'" in said.stdout


async def test_missing_weights_are_one_sentence_with_a_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
):
    monkeypatch.setenv("PINECALL_MODELS", str(tmp_path))
    speech = SpeechEngines()
    with pytest.raises(EngineError, match="PINECALL_MODELS"):
        await speech.wait()
    with pytest.raises(EngineError, match="PINECALL_MODELS"):
        speech.vad()
    assert "_smart_turn" not in vars(speech), "what did load is of no use without the rest"


@pytest.mark.parametrize(
    ("config", "notices"),
    [
        ({}, []),
        ({"voice": "hibari/heart", "stt": "moonshine"}, []),
        ({"voice": "elevenlabs/sarah"}, ["voice elevenlabs/sarah → offline hibari/heart"]),
        ({"stt": "deepgram/flux"}, ["stt deepgram/flux → offline moonshine/tiny-en"]),
        (
            {"voice": {"provider": "cartesia", "voice_id": "abc"}, "stt": {"provider": "gladia"}},
            [
                "voice cartesia/abc → offline hibari/heart",
                "stt gladia → offline moonshine/tiny-en",
            ],
        ),
        ({"config": {"tts": {"provider": "polly"}}}, ["voice polly → offline hibari/heart"]),
        ({"config": {"tts": {"provider": "polly"}}, "voice": "hibari/heart"}, []),
        ({"voice": 5, "stt": ["x"], "config": "y", "language": None}, []),
        ({"language": "en-GB"}, []),
        ({"language": "EN_us"}, []),
    ],
)
def test_what_is_replaced_is_said(config: dict[str, Any], notices: list[str]):
    assert substitutes(config) == notices


@pytest.mark.parametrize(
    "config",
    [
        {"language": "es"},
        {"stt": {"provider": "moonshine", "language": "es"}},
        {"stt": "moonshine:tiny:es"},
        {"voice": {"provider": "hibari", "language": "es"}},
    ],
)
def test_another_language_than_english_is_said_clearly(config: dict[str, Any]):
    (notice,) = substitutes(config)
    assert notice.startswith("language es: offline speech is English only")
