"""Every key an agent may have: its kind, and a sentence for editors. The reader, the JSON Schema
and the suggestions for misspelt keys all come from these tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pinecall_cli.agent.config import ToolSpec
from pinecall_cli.agent.kinds import (
    Anything,
    Choice,
    Either,
    Flag,
    Kind,
    ListOf,
    MapOf,
    Number,
    Schema,
    Text,
    refuse,
)
from pinecall_cli.agent.nodes import Foreign, Mapping, Node, Scalar, Sequence
from pinecall_cli.agent.objects import Key, Object
from pinecall_cli.agent.problems import AgentFileProblems
from pinecall_cli.agent.reader import FAILED, MAX_TEXT_BYTES, Reader
from pinecall_cli.agent.script import ScriptOrFile
from pinecall_cli.agent.tools import Tool, tool
from pinecall_cli.errors import AgentFileError

TEXT, FLAG, WHOLE = Text(), Flag(), Number(whole=True, minimum=0)
SECONDS = Number(minimum=0)
SHARE = Number(minimum=0, maximum=1)
OPTIONS = MapOf(Anything())
PROMPT = Text(max_bytes=MAX_TEXT_BYTES)


def named(example: str, mapping: Kind = OPTIONS) -> Kind:
    """Return the kind of ``voice``, ``stt`` and ``llm``: a shortcut or a mapping of options."""
    return Either(f"text like `{example}`, or a mapping", scalars=(TEXT,), mapping=mapping)


def switch(mapping: Kind) -> Kind:
    """Return the kind of a key that is true, false or a mapping of settings."""
    return Either("`true`, `false` or a mapping", scalars=(FLAG,), mapping=mapping)


@dataclass(frozen=True, slots=True)
class ToolList:
    """Tools, from ``file.py``, ``file.py:function``, in wire form, or as Python objects."""

    wanted: str = "a list of tools like `tools.py:lookup_order`"

    def read(self, node: Node, reader: Reader, path: str) -> Any:
        """Return a list of `Tool` and `ToolSpec`."""
        if isinstance(node, Scalar) and not node.is_null:
            node = Sequence((node,), node.where)
        if not isinstance(node, Sequence):
            return refuse(self, node, reader, path)
        found: list[Tool | ToolSpec] = []
        for n, item in enumerate(node.items):
            before = len(found)
            found += self._tools(item, reader, f"{path}[{n}]")
            for place in range(before, len(found)):
                reader.places[f"{path}.{found[place].name}"] = item.where
        return found

    def _tools(self, node: Node, reader: Reader, path: str) -> list[Tool | ToolSpec]:
        try:
            match node:
                case Scalar(form="plain" | "quoted") if not node.is_null:
                    target = reader.text(node, path)
                    return [] if target is FAILED else [*reader.tool_source(target, node.where)]
                case Mapping():
                    value = WIRE_TOOL.read(node, reader, path)
                    function = value.get("function") or {}
                    if not {"name", "description", "parameters"} <= function.keys():
                        return []  # what is missing has been noted
                    return [ToolSpec(**function)]
                case Foreign(value=Tool() as given):
                    return [given]
                case Foreign(value=ToolSpec() as given):
                    return [given]
                case Foreign(value=function) if callable(function):
                    return [tool(function)]
        except AgentFileProblems as problem:
            reader.problems.extend(problem.problems)
        except AgentFileError as problem:
            where = problem.where or node.where
            reader.problems.error(problem.code, problem.message, where, problem.fix)
        else:
            refuse(Text("a tool like `tools.py:lookup_order`"), node, reader, path)
        reader.tools_failed = True
        return []

    def schema(self) -> Schema:
        """Return the JSON Schema of ``tools``."""
        return {"type": "array", "items": {"anyOf": [{"type": "string"}, WIRE_TOOL.schema()]}}


WIRE_TOOL = Object(
    {
        "type": Key(Choice(("function",)), "Always `function`."),
        "function": Key(
            Object(
                {
                    "name": Key(TEXT, "What the model calls it.", required=True),
                    "description": Key(TEXT, "When and why to call it.", required=True),
                    "parameters": Key(OPTIONS, "JSON Schema of the arguments.", required=True),
                }
            ),
            "The function as OpenAI describes one.",
            required=True,
        ),
    }
)

INTERRUPTION = Object(
    {
        "enabled": Key(FLAG, "Whether callers may cut in; default true."),
        "min_duration_ms": Key(WHOLE, "Speech that counts as cutting in; default 300."),
        "energy_threshold_db": Key(Number(maximum=0), "Softer speech, in dBFS, does not count."),
        "confidence": Key(SHARE, "Least probability of voice that counts; default 0.7."),
        "min_volume": Key(SHARE, "Least volume that counts; default 0.35 (−75 dBFS); 0.7 is −40."),
        "min_words": Key(WHOLE, "Words that count as cutting in; default 2."),
        "backchannel_filter": Key(FLAG, "Whether “ok” and “uh-huh” are let pass; default true."),
    },
    wanted="a mapping of barge-in settings",
)

SESSION_LIMITS = Object(
    {
        "max_duration_seconds": Key(SECONDS, "Longest call; default 600, 0 is unlimited."),
        "idle_timeout_seconds": Key(SECONDS, "Silence that ends a call; default 60, 0 is never."),
        "idle_warning_seconds": Key(SECONDS, "Warning before that; default 15, 0 is none."),
        "idle_grace_seconds": Key(SECONDS, "Time left after the warning; default 10."),
    },
    wanted="a mapping of limits in seconds",
)

LLM = Object(
    {
        "provider": Key(TEXT, "`openai`, `anthropic`, `google`…"),
        "model": Key(TEXT, "The provider's name for the model."),
        "enabled": Key(FLAG, "False: the application answers."),
        "temperature": Key(Number(minimum=0, maximum=2), "0 to 2."),
        "max_tokens": Key(WHOLE, "Longest answer."),
        "prompt": Key(PROMPT, "A prompt of the model's own."),
        "llm": Key(TEXT, "`provider/model` in one word."),
    },
    unknown="keep",
)

MEMORY = Object(
    {
        "enabled": Key(FLAG, "Default true."),
        "remember": Key(ListOf(TEXT), "What to keep about a contact."),
        "forget": Key(ListOf(TEXT), "What never to keep."),
        "consolidate": Key(Choice(("turn", "call.ended")), "When facts are written down."),
        "model": Key(TEXT, "The model that extracts facts."),
        "contactKey": Key(ListOf(TEXT, single=True), "Metadata that names the contact."),
    }
)

MEDIA = Object(
    {
        "live": Key(FLAG, "Whether calls can be listened to; default false."),
        "recording": Key(FLAG, "Whether calls are recorded; default false."),
        "maxDurationSeconds": Key(SECONDS, "Longest recording; default 1800."),
    }
)

PREPARING = Object(
    {
        "enabled": Key(FLAG, "Whether the application is asked before each answer."),
        "timeout_ms": Key(Number(whole=True, minimum=0, maximum=5000), "How long, at most 5000."),
    }
)

SESSION_CONFIG = Object(
    {
        "stt": Key(OPTIONS, "Speech recognition, by provider."),
        "tts": Key(OPTIONS, "Speech synthesis, by provider."),
        "interruption": Key(switch(INTERRUPTION), "Barge-in."),
        "speaker_filter": Key(OPTIONS, "Which voices are listened to."),
        "analysis": Key(OPTIONS, "Audio metrics and recordings."),
        "realtime": Key(OPTIONS, "Speech-to-speech models."),
    },
    unknown="warning",
    ignored={
        "turn_detection": "`turn_detection` follows from `stt`; it is left out",
        "vad": "`vad` follows from `stt`; it is left out",
    },
)

SHARED: dict[str, Key] = {
    "voice": Key(named("elevenlabs/sarah"), "Who speaks: `provider/voice`, or options."),
    "language": Key(TEXT, "Spoken language, like `en` or `es-MX`."),
    "flash": Key(FLAG, "The provider's fastest voice model."),
    "stt": Key(named("deepgram/flux"), "Who listens: `provider/model`, or options."),
    "interruption": Key(switch(INTERRUPTION), "Whether, and how, callers may cut in."),
    "llm": Key(named("openai/gpt-5-chat-latest", LLM), "Who thinks: `provider/model`, or options."),
    "config": Key(SESSION_CONFIG, "Engine settings in full."),
}
"""Keys that agents and their phone numbers have in common."""

PHONE_NUMBER = Either(
    "a phone number in quotation marks, or a mapping with `number`",
    scalars=(TEXT,),
    mapping=Object(
        {
            "number": Key(TEXT, "E.164 like +13186330963, or a `sip:` URI.", required=True),
            **SHARED,
            "ringing": Key(FLAG, "Whether the application accepts each call itself."),
        }
    ),
)

WHATSAPP = Object(
    {
        "phone_number_id": Key(TEXT, "Meta's id of the number.", required=True),
        "access_token": Key(TEXT, "Meta's token; take it from the environment.", required=True),
        "verify_token": Key(TEXT, "Webhook verification."),
        "app_secret": Key(TEXT, "Signs webhooks."),
        "phone": Key(TEXT, "The public number, E.164."),
        **SHARED,
    }
)

SKILL = Object(
    {
        "name": Key(TEXT, "What the model loads it by.", required=True),
        "description": Key(TEXT, "When to load it.", required=True),
        "instructions": Key(PROMPT, "Added to the prompt while it is loaded."),
        "tools": Key(ToolList(), "Tools on offer while it is loaded."),
        "knowledge_base": Key(TEXT, "Searched while it is loaded."),
        "rag_top_k": Key(Number(whole=True, minimum=1), "Passages to take from it."),
        "activation": Key(Choice(("model", "manual", "always")), "Who loads it."),
    }
)

LOCAL = Object(
    {
        "llm": Key(TEXT, "`script`, `ollama/<model>`, `openai/<model>`… in place of `llm`."),
        "script": Key(ScriptOrFile(), "The script's file, or its rules."),
    },
    wanted="a mapping with `llm` and `script`",
)

AGENT_KEYS: dict[str, Key] = {
    "name": Key(TEXT, "The name it registers under; default: the file's name."),
    **SHARED,
    "prompt": Key(PROMPT, "The system prompt, or `!file path`; `{{vars}}` are filled in."),
    "prompt_vars": Key(MapOf(Text(lenient=True)), "Values of the prompt's `{{vars}}`."),
    "greeting": Key(
        Either("text, or a text per language", scalars=(TEXT,), mapping=OPTIONS),
        "What the agent says first; a mapping gives one per language.",
    ),
    "greeting_in_chat": Key(FLAG, "Whether chats are greeted too."),
    "memory": Key(MEMORY, "What is remembered about contacts."),
    "timezone": Key(TEXT, "IANA name, for `{{date}}` and `{{time}}`."),
    "preparing": Key(switch(PREPARING), "Whether the application prepares each answer."),
    "raw_prompt": Key(FLAG, "The prompt as it is, without the server's house style."),
    "tools": Key(ToolList(), "Functions the model may call: `file.py:function` or `file.py`."),
    "skills": Key(ListOf(SKILL), "Bundles of instructions and tools, loaded when needed."),
    "session_limits": Key(SESSION_LIMITS, "When a call ends by itself."),
    "knowledge_base": Key(ListOf(TEXT, single=True), "Knowledge to search, by id."),
    "mode": Key(Anything(), "Passed on as it is."),
    "media": Key(MEDIA, "Live listening and recording."),
    "allowed_origins": Key(
        ListOf(TEXT), "Web pages that may ask for tokens, like `https://*.example.com`."
    ),
    "phone_number": Key(PHONE_NUMBER, "The one number the agent answers."),
    "phone_numbers": Key(ListOf(PHONE_NUMBER), "Numbers the agent answers."),
    "whatsapp": Key(WHATSAPP, "Its WhatsApp number."),
    "local": Key(LOCAL, "For the embedded server alone."),
}

INSTEAD = {
    "vars": "prompt_vars",
    "variables": "prompt_vars",
    "system_prompt": "prompt",
    "instructions": "prompt",
    "system": "prompt",
    "model": "llm",
    "tts": "voice",
    "asr": "stt",
    "transcriber": "stt",
    "first_message": "greeting",
    "welcome": "greeting",
    "phone": "phone_numbers",
    "functions": "tools",
    "limits": "session_limits",
    "origins": "allowed_origins",
    "script": "local",
}

IGNORED = {
    "turn_detection": "`turn_detection` follows from `stt`; it is left out",
    "vad": "`vad` follows from `stt`; it is left out",
}

AGENT = Object(AGENT_KEYS, wanted="a mapping of an agent's keys", instead=INSTEAD, ignored=IGNORED)
"""An agent as Python's keywords give it."""

AGENT_DOCUMENT = Object(
    {
        **AGENT_KEYS,
        "env": Key(ListOf(TEXT, single=True), "Variables that must be set; `${NAME}` takes them."),
    },
    wanted="a mapping of an agent's keys, like `prompt: …`",
    instead=INSTEAD,
    ignored=IGNORED,
)
"""An agent as a YAML document gives it."""
