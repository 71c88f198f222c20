"""A YAML file as agents: one document each, every problem at its place."""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass
from pathlib import Path

from pinecall_cli.agent.keys import AGENT_DOCUMENT
from pinecall_cli.agent.nodes import Mapping, Node, Scalar, Sequence
from pinecall_cli.agent.problems import Problems, shown_path
from pinecall_cli.agent.reader import Reader, ToolSource, read_text
from pinecall_cli.agent.resolve import Resolved, resolve
from pinecall_cli.agent.yaml_nodes import MAX_YAML_BYTES, documents
from pinecall_cli.errors import Where
from pinecall_cli.protocol.ids import slugify


@dataclass(frozen=True, slots=True)
class Document:
    """One agent of a YAML file."""

    agent: Resolved
    where: Where


def read_yaml(
    file: Path,
    environ: AnyMapping[str, str],
    tool_source: ToolSource,
    problems: Problems,
    watched: set[Path],
) -> list[Document]:
    """Return the agents of a YAML file; what is wrong is noted in ``problems``."""
    shown = shown_path(file)
    text = read_text(file, Where(shown), problems, watched, MAX_YAML_BYTES)
    if text is None:
        return []
    before = len(problems.items)
    roots = documents(text, shown, problems)
    if not roots:
        if len(problems.items) == before:
            problems.error(
                "empty_file",
                "this file is empty",
                Where(shown, 1, 1),
                "`pinecall agents new NAME` writes an agent to start from",
            )
        return []
    found: list[Document] = []
    for n, root in enumerate(roots):
        reader = Reader(
            folder=file.parent,
            environ=environ,
            problems=problems,
            declared=_declared(root, environ, problems),
            tool_source=tool_source,
            own_file=file,
            watched=watched,
        )
        agent = resolve(root, AGENT_DOCUMENT, reader, slugify(file.stem) if n == 0 else "")
        if isinstance(root, Mapping):
            _warn_without_model(root, problems)
        if agent is None:
            continue
        twins = [one for one in found if one.agent.config.name == agent.config.name]
        if twins:
            problems.error(
                "duplicate_agent",
                f"there are two agents named `{agent.config.name}`",
                reader.place("name", root.where),
                f"the first is in line {twins[0].where.line}",
            )
        found.append(Document(agent, root.where))
    return found


def _declared(root: Node, environ: AnyMapping[str, str], problems: Problems) -> frozenset[str]:
    """Return the names under ``env``, and note those that are not set."""
    pairs = root.pairs if isinstance(root, Mapping) else ()
    listed = next((value for key, value in pairs if key.text == "env"), None)
    items = listed.items if isinstance(listed, Sequence) else (listed,)
    names = [item for item in items if isinstance(item, Scalar) and not item.is_null]
    for name in names:
        if name.text not in environ:
            problems.error(
                "missing_variable",
                f"the environment variable `{name.text}` is not set",
                name.where,
                f"set it, or write `{name.text}=…` into a `.env` file beside the agent",
            )
    return frozenset(name.text for name in names)


def _warn_without_model(root: Mapping, problems: Problems) -> None:
    keys = {key.text for key, _ in root.pairs}
    if "llm" in keys:
        return
    only = " but the embedded server" if "local" in keys else ""
    problems.warning(
        "no_llm",
        f"without `llm` no server{only} answers for a YAML agent",
        root.where,
        "add `llm: openai/gpt-5-chat-latest`, or another model",
    )
