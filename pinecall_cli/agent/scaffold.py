"""The files of a new agent: one that runs, answers and passes its specs as it stands (pure)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from string import Template

from pinecall_cli.errors import UsageError
from pinecall_cli.protocol.ids import slugify

LONGEST = 64
"""Characters of a name; files are named after it, and terminals show it."""


def checked_name(name: str, *, python: bool) -> str:
    """Return the name of a new agent if it is a slug that files can be named after.

    Raises:
        UsageError: If it is not; the fix is the slug that it could be.
    """
    slug = slugify(name)[:LONGEST].strip("-")
    if slug != name or not slug:
        fix = f"did you mean `{slug}`?" if slug else "for example `front-desk`"
        raise UsageError(
            f"`{name}` is no agent's name: small letters, digits and dashes, {LONGEST} at most",
            fix=fix,
            code="bad_name",
        )
    if python and (stem_of(name) in sys.stdlib_module_names or stem_of(name) == "pinecall_cli"):
        raise UsageError(
            f"a file `{stem_of(name)}.py` would hide Python's module of that name",
            fix=f"did you mean `{slug}-agent`?",
            code="bad_name",
        )
    return slug


def stem_of(slug: str) -> str:
    """Return what the files of an agent are named after."""
    return slug.replace("-", "_")


def scaffold(slug: str, *, python: bool) -> dict[str, str]:
    """Return the files of a new agent, by their paths in its folder; the agent's own comes first.

    Args:
        slug: The agent's name, as `checked_name` returned it.
        python: Whether the agent is one Python file, and not YAML with its prompt, script and
            tools in files of their own.
    """
    stem = stem_of(slug)
    file = f"{stem}.py" if python else f"{stem}.yaml"
    names = {"slug": slug, "stem": stem, "file": file, "name": in_yaml(slug)}
    files: Mapping[str, str] = (
        {file: PYTHON}
        if python
        else {
            file: YAML,
            f"prompts/{stem}.md": PROMPT,
            f"scripts/{stem}.script.yaml": SCRIPT,
            f"{stem}_tools.py": TOOLS,
        }
    )
    files = {**files, f"{stem}.spec.yaml": TEXT_SPEC, f"{stem}.voice.spec.yaml": VOICE_SPEC}
    return {path: Template(text).substitute(names) for path, text in files.items()}


def in_yaml(slug: str) -> str:
    """Return a name as YAML takes it for a text: `404`, `no` and `2026-01-01` would be others."""
    plain = slug[:1].isalpha() and slug not in ("true", "false", "null", "yes", "no", "on", "off")
    return slug if plain and slug not in ("y", "n") else f'"{slug}"'


# `$` stands for a name to put in; `$$` for a dollar sign.

YAML = """\
# Run it: `pinecall dev`. Press c and talk, or t and type: "are you open on Sunday", "who are you".
# Then change a word in prompts/$stem.md, save, and ask "who are you" again.
name: $name
language: en
voice: elevenlabs/sarah
stt: deepgram/flux
llm: openai/gpt-5-chat-latest
prompt: !file prompts/$stem.md
prompt_vars: {company: Acme}
greeting: Hello, this is Acme. How can I help?
tools: [${stem}_tools.py]
session_limits: {max_duration_seconds: 600, idle_timeout_seconds: 60}
local:                          # the embedded server alone reads this: no key, no network
  llm: script                   # take this out, and `llm` above is asked if its key is there
  script: scripts/$stem.script.yaml
"""

PROMPT = """\
You answer the phone for {{company}}. Today is {{date}}.
Be brief and friendly. Look things up before you speak of them, and say when you do not know.
"""

SCRIPT = """\
# What is said when no model is attached. Rules are tried from the top.
- on: '\\b(who are you|what are you|instructions|prompt)\\b'
  say: "{instructions}"

- on: '\\b(open|closed?|hours)\\b(.*?\\b(?P<day>(?:mon|tues|wednes|thurs|fri|satur|sun)day)\\b)?'
  call: {opening_hours: {day: "{day}"}}
  say: "{result.message}"

- on: '\\b(bye|goodbye|thanks|thank you)\\b'
  say: Goodbye, and thank you for calling.

- say:
    - "You said: {text} I can tell you when we are open."
    - "You said: {text}"
"""

TOOLS = '''\
"""What $slug can do. The model is told what the signature and the docstring say."""

from pinecall_cli import tool

HOURS = {"saturday": "from ten to four", "sunday": None}
WEEKDAYS = "from nine to six"


@tool
def opening_hours(day: str | None = None) -> dict:
    """Tell when we are open.

    Args:
        day: A day of the week; leave it out for the whole week.
    """
    if not day:
        message = f"We are open {WEEKDAYS} on weekdays and {HOURS['saturday']} on Saturdays."
        return {"message": message}
    hours, name = HOURS.get(day.lower(), WEEKDAYS), day.capitalize()
    if hours is None:
        return {"open": False, "message": f"We are closed on {name}."}
    return {"open": True, "message": f"On {name} we are open {hours}."}
'''

PYTHON = '''\
"""$slug: a voice agent in one file.

    pinecall dev $file      # the CLI owns the connection
    python $file            # the SDK alone; PINECALL_API_KEY names your account

Press c and talk, or t and type: "are you open on Sunday", "who are you". Then change the prompt or
the tool, save, and ask again.
"""

from pinecall_cli import Agent, Call, Pinecall, tool

PROMPT = """\\
You answer the phone for Acme. Today is {{date}}.
Be brief and friendly. Look things up before you speak of them, and say when you do not know.
"""

HOURS = {"saturday": "from ten to four", "sunday": None}
WEEKDAYS = "from nine to six"


@tool
def opening_hours(day: str | None = None) -> dict:
    """Tell when we are open.

    Args:
        day: A day of the week; leave it out for the whole week.
    """
    if not day:
        message = f"We are open {WEEKDAYS} on weekdays and {HOURS['saturday']} on Saturdays."
        return {"message": message}
    hours, name = HOURS.get(day.lower(), WEEKDAYS), day.capitalize()
    if hours is None:
        return {"open": False, "message": f"We are closed on {name}."}
    return {"open": True, "message": f"On {name} we are open {hours}."}


DAYS = r"(?P<day>(?:mon|tues|wednes|thurs|fri|satur|sun)day)"
SCRIPT = [  # what is said when no model is attached; rules are tried from the top
    {"on": r"\\b(who are you|what are you|instructions|prompt)\\b", "say": "{instructions}"},
    {
        "on": rf"\\b(open|closed?|hours)\\b(.*?\\b{DAYS}\\b)?",
        "call": {"opening_hours": {"day": "{day}"}},
        "say": "{result.message}",
    },
    {"on": r"\\b(bye|goodbye|thanks|thank you)\\b", "say": "Goodbye, and thank you for calling."},
    {"say": ["You said: {text} I can tell you when we are open.", "You said: {text}"]},
]

agent = Agent(
    "$slug",
    language="en",
    voice="elevenlabs/sarah",
    stt="deepgram/flux",
    llm="openai/gpt-5-chat-latest",
    prompt=PROMPT,
    greeting="Hello, this is Acme. How can I help?",
    tools=[opening_hours],
    local={"llm": "script", "script": SCRIPT},
)


@agent.on("call.ended")
def ended(call: Call, reason: str) -> None:
    """Say how a call ended."""
    print(f"call {call.id} ended: {reason}")


if __name__ == "__main__":
    Pinecall().run(agent)
'''

TEXT_SPEC = """\
# Run it: pinecall test $stem.spec.yaml
agent: $file
mode: text
steps:
  - say: Are you open on Sunday?
    expect:
      - tool: opening_hours
        args: {day: Sunday}
      - says: closed
  - say: What are your hours?
    expect:
      - tool: opening_hours
      - says: from nine to six
      - not_says: closed
"""

VOICE_SPEC = """\
# The same by voice: a local voice asks, and the answer is heard.
agent: $file
mode: voice
steps:
  - wait: greeting
  - say: Are you open on Sunday?
    expect:
      - tool: opening_hours
      - says: "(?i)closed on sunday"
  - say: Thank you.
    expect: [{says: Goodbye}]
"""
