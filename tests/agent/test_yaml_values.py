"""What a YAML agent may say, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.config import AgentConfig, PhoneNumber
from pinecall_cli.agent.load import Loaded, load
from pinecall_cli.agent.problems import AgentFileProblems


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "agent.yaml") -> Loaded:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return load(tmp_path / name)[0]

    return write


def codes(loaded: Loaded) -> list[str]:
    return [problem.code for problem in loaded.warnings]


def test_every_simple_key_arrives(write):
    config = write("""
name: front-desk
language: es-MX
voice: elevenlabs/sarah
flash: true
stt: {provider: deepgram-flux, eot_threshold: 0.8, keyterms: [Acme, "42"]}
llm: {provider: openai, model: gpt-5-chat-latest, temperature: 0.5, max_tokens: 100}
interruption: {min_duration_ms: 250, backchannel_filter: false}
prompt: You are {{company}}.
prompt_vars: {company: Acme, year: 2026}
greeting: {en: Hi, es: Hola}
greeting_in_chat: false
memory: {remember: [name], contactKey: phone}
timezone: Europe/Madrid
preparing: {timeout_ms: 2500}
raw_prompt: true
session_limits: {max_duration_seconds: 0, idle_timeout_seconds: 12.5}
config: {analysis: {recording: true}}
knowledge_base: [kb_1, kb_2]
mode: {any: [1, two, null, true]}
media: {live: true, maxDurationSeconds: 60}
allowed_origins: ["https://*.acme.com"]
phone_number: "+1 (318) 633-0963"
""").config
    assert config == AgentConfig(
        name="front-desk",
        language="es-MX",
        voice="elevenlabs/sarah",
        flash=True,
        stt={"provider": "deepgram-flux", "eot_threshold": 0.8, "keyterms": ["Acme", "42"]},
        llm={
            "provider": "openai",
            "model": "gpt-5-chat-latest",
            "temperature": 0.5,
            "max_tokens": 100,
        },
        interruption={"min_duration_ms": 250, "backchannel_filter": False},
        prompt="You are {{company}}.",
        prompt_vars={"company": "Acme", "year": "2026"},
        greeting={"en": "Hi", "es": "Hola"},
        greeting_in_chat=False,
        memory={"remember": ["name"], "contactKey": ["phone"]},
        timezone="Europe/Madrid",
        preparing={"timeout_ms": 2500},
        raw_prompt=True,
        session_limits={"max_duration_seconds": 0, "idle_timeout_seconds": 12.5},
        config={"analysis": {"recording": True}},
        knowledge_base=("kb_1", "kb_2"),
        mode={"any": [1, "two", None, True]},
        media={"live": True, "maxDurationSeconds": 60},
        allowed_origins=("https://*.acme.com",),
        phone_numbers=(PhoneNumber("+13186330963"),),
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),  # Norwegian, in YAML 1.1 false
        ("on", "on"),
        ("1e3", "1e3"),
        ("0x10", "0x10"),
        ("12:30:00", "12:30:00"),  # in YAML 1.1 a number to base 60
        ("2026-01-01", "2026-01-01"),
        ("'true'", "true"),
        ("!!str 5", "5"),
        ("! 5", "5"),
    ],
)
def test_text_stays_text_whatever_it_looks_like(write, written: str, value: str):
    assert write(f"llm: script\ngreeting: {written}").config.greeting == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1e999", "1e999"),  # no number JSON has
        ("9" * 5000, "9" * 5000),
        ("yes", "yes"),
        ("TRUE", True),
        ("~", None),
        ("'7'", "7"),
        ("!!int '7'", 7),
        ("[]", []),
    ],
)
def test_a_passed_on_value_is_read_as_yaml_1_2_reads_it(write, written: str, value: Any):
    assert write(f"llm: script\nmode: [{written}]").config.mode == [value]


def test_a_name_defaults_to_the_files_and_is_made_a_slug(write):
    assert write("llm: script", "Front Desk.yaml").config.name == "front-desk"
    loaded = write("llm: script\nname: Front Desk")
    assert loaded.config.name == "front-desk"
    assert codes(loaded) == ["name_changed"]


def test_several_documents_are_several_agents(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("llm: script\n---\nname: two\nllm: script\n---\n")
    assert [one.config.name for one in load(tmp_path / "a.yaml")] == ["a", "two"]


def test_camel_case_is_taken_with_a_hint(write):
    loaded = write("llm: script\nsessionLimits: {idle_timeout_seconds: 5}\npromptVars: {a: b}")
    assert loaded.config.session_limits == {"idle_timeout_seconds": 5}
    assert loaded.config.prompt_vars == {"a": "b"}
    assert [(p.code, p.line, p.hint) for p in loaded.warnings] == [
        ("camel_case", 2, "write `session_limits`"),
        ("camel_case", 3, "write `prompt_vars`"),
    ]


def test_keys_that_are_camel_case_on_the_wire_may_be_written_like_the_others(write):
    loaded = write("llm: script\nmedia: {max_duration_seconds: 5}")
    assert loaded.config.media == {"maxDurationSeconds": 5}
    assert codes(loaded) == []


def test_the_same_key_in_two_spellings_is_a_duplicate(write):
    with pytest.raises(AgentFileProblems, match="says `prompt_vars` a second time"):
        write("llm: script\nprompt_vars: {a: b}\npromptVars: {a: c}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("vars", "prompt_vars"), ("tts", "voice"), ("model", "llm"), ("Promt", "prompt")],
)
def test_an_unknown_key_names_the_one_that_was_meant(write, written: str, meant: str):
    with pytest.raises(AgentFileProblems) as caught:
        write(f"llm: script\n{written}: x")
    assert caught.value.fix == f"did you mean `{meant}`?"


def test_a_key_like_no_other_lists_those_there_are(write):
    with pytest.raises(AgentFileProblems) as caught:
        write("llm: script\nzzzz: x")
    assert "session_limits" in (caught.value.fix or "")


def test_a_key_without_a_value_counts_as_not_set(write):
    loaded = write("llm: script\nprompt:\ngreeting: ~")
    assert (loaded.config.prompt, loaded.config.greeting) == (None, None)
    assert codes(loaded) == ["empty_value", "empty_value"]


def test_what_follows_from_stt_is_left_out_with_a_warning(write):
    loaded = write("llm: script\nturn_detection: smart_turn\nconfig: {vad: silero}")
    assert loaded.config.config == {}
    assert codes(loaded) == ["derived_key", "derived_key"]


def test_settings_this_version_does_not_know_pass_with_a_warning(write):
    loaded = write("llm: script\nconfig: {newer: {a: 1}}")
    assert loaded.config.config == {"newer": {"a": 1}}
    assert codes(loaded) == ["unknown_key"]


def test_an_agent_that_nobody_answers_for_is_warned_of(write):
    loaded = write("prompt: Hi")
    assert [(p.code, p.line) for p in loaded.warnings] == [("no_llm", 1)]
    loaded = write("local: {llm: script}")
    assert "but the embedded server" in loaded.warnings[0].message


@pytest.mark.parametrize("key", ["llm: scrpt", "llm: gpt-5-chat-latest\nlocal: {llm: scripts}"])
def test_a_script_that_is_misspelled_is_warned_of(write, key: str):
    (problem,) = write(key).warnings
    assert (problem.code, problem.hint) == ("unknown_model", "did you mean `script`?")


def test_nova_3_where_flux_would_do_is_warned_of(write):
    assert codes(write("llm: script\nlanguage: es\nstt: deepgram/nova-3")) == ["nova_where_flux"]
    assert codes(write("llm: script\nlanguage: he\nstt: deepgram/nova-3")) == []
    assert codes(write("llm: script\nlanguage: en\nstt: deepgram/flux")) == []


def test_variables_nobody_sets_are_warned_of_where_they_are_used(write, tmp_path: Path):
    (tmp_path / "p.md").write_text("Hello {{company}}.\nToday is {{date}}, {{ compny }}.\n")
    loaded = write("""\
llm: script
prompt: !file p.md
prompt_vars: {company: Acme}
greeting: {en: "Hi {{caller}}"}
skills:
  - name: a
    description: b
    instructions: |
      One.
      Use {{RAG_CONTEXT}} and {{nothing}}, twice {{nothing}}.
""")
    found = [(Path(p.file).name, p.line, p.column, p.hint) for p in loaded.warnings]
    assert found == [
        ("agent.yaml", 4, 20, "add `caller` to `prompt_vars`"),
        ("agent.yaml", 10, 31, "add `nothing` to `prompt_vars`"),
        ("p.md", 2, 20, "did you mean `{{company}}`?"),
    ]


def test_included_text_may_begin_with_a_byte_order_mark(write, tmp_path: Path):
    (tmp_path / "p.md").write_bytes(b"\xef\xbb\xbfHello\r\nthere\r")
    assert write("\ufeffllm: script\nprompt: !file p.md").config.prompt == "Hello\nthere\n"


def test_a_skill_brings_its_tools_and_defaults(write):
    skill = "{name: booking, description: Books., tools: [], rag_top_k: 3}"
    (found,) = write(f"llm: script\nskills: [{skill}]").config.skills or ()
    assert found.wire() == {
        "name": "booking",
        "description": "Books.",
        "rag_top_k": 3,
        "tools": [],
        "activation": "model",
    }


def test_numbers_bring_their_settings(write):
    config = write("""
llm: script
phone_numbers:
  - "+13186330963"
  - {number: "sip:desk@acme.com", language: es, ringing: true}
  - {number: "+34600123456", ringing: false}
""").config
    assert config.channels() == [
        {"type": "phone", "ref": "+13186330963"},
        {"type": "phone", "ref": "sip:desk@acme.com", "language": "es", "ringing": True},
        {"type": "phone", "ref": "+34600123456"},
    ]


def test_a_numbers_own_settings_are_checked_too(write):
    with pytest.raises(AgentFileProblems) as caught:
        write('llm: script\nphone_numbers: [{number: "+13186330963", stt: deepgram/nova-2}]')
    assert (caught.value.code, caught.value.where.column) == ("unsupported_stt", 47)


def test_a_number_may_be_missing_from_its_mapping_only_with_an_error(write):
    with pytest.raises(AgentFileProblems, match="`number` is missing"):
        write("llm: script\nphone_numbers: [{language: es}]")


def test_whatsapp_needs_its_two_keys(write):
    loaded = write("""
llm: script
whatsapp: {phoneNumberId: "123", access_token: t, verify_token: v, voice: elevenlabs/sarah}
""")
    assert loaded.config.channels() == [
        {
            "type": "whatsapp",
            "ref": "123",
            "accessToken": "t",
            "verifyToken": "v",
            "voice": "elevenlabs/sarah",
        }
    ]
    with pytest.raises(AgentFileProblems, match="`access_token` is missing"):
        write("llm: script\nwhatsapp: {phone_number_id: '123'}")


def test_tools_may_be_written_in_wire_form(write):
    config = write("""
llm: script
tools:
  - type: function
    function: {name: ping, description: Pings., parameters: {type: object}}
""").config
    assert [tool.wire() for tool in config.tools or ()] == [
        {
            "type": "function",
            "function": {
                "name": "ping",
                "description": "Pings.",
                "parameters": {"type": "object"},
            },
        }
    ]


# --- environment ------------------------------------------------------------------------------


def test_variables_listed_under_env_are_filled_in(write, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("CRM_URL", "https://crm.test")
    monkeypatch.setenv("LIMIT", "42")
    monkeypatch.setenv("SWITCH", "true")
    (tmp_path / "p.md").write_text("Ask ${CRM_URL}, not ${OTHER_NAME}.")
    loaded = write("""
env: [CRM_URL, LIMIT, SWITCH]
llm: script
prompt: !file p.md
greeting: "${CRM_URL}"
flash: ${SWITCH}
session_limits: {max_duration_seconds: "${LIMIT}"}
mode: {limit: "${LIMIT}"}
""")
    config = loaded.config
    assert config.prompt == "Ask https://crm.test, not ${OTHER_NAME}."
    assert config.greeting == "https://crm.test"
    assert config.flash is True
    assert config.session_limits == {"max_duration_seconds": 42}
    assert config.mode == {"limit": "42"}
    assert [(p.code, p.column) for p in loaded.warnings] == [("undeclared_variable", 21)]


def test_a_single_name_under_env_needs_no_list(write, monkeypatch):
    monkeypatch.setenv("CRM_URL", "x")
    assert write("env: CRM_URL\nllm: script\ngreeting: ${CRM_URL}").config.greeting == "x"


def test_a_variable_is_filled_in_once_and_never_again(write, monkeypatch):
    monkeypatch.setenv("ONE", "${TWO}")
    monkeypatch.setenv("TWO", "two")
    assert write("env: [ONE, TWO]\nllm: script\ngreeting: ${ONE}").config.greeting == "${TWO}"


def test_values_of_secret_variables_are_remembered_to_be_hidden(write, monkeypatch):
    monkeypatch.setenv("CRM_TOKEN", "hush")
    monkeypatch.setenv("CRM_URL", "loud")
    loaded = write("env: [CRM_TOKEN, CRM_URL]\nllm: script\nprompt: ${CRM_TOKEN} ${CRM_URL}")
    assert loaded.config.secrets == {"hush"}
