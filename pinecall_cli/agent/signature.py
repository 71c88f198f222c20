"""A function's signature and docstring as the JSON Schema a model sees.

Types are msgspec's: numbers, text, lists, mappings, ``Literal``, enums, dataclasses, structs,
``TypedDict``. What the model sends is converted by the same types, so the two cannot disagree.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Annotated, Any, Union

import msgspec

from pinecall_cli.errors import AgentFileError, Where

Schema = dict[str, Any]


class ToolDefinitionError(AgentFileError):
    """A function cannot be a tool as it is written."""

    code = "tool_signature"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument a model may give."""

    name: str
    type: Any
    required: bool
    gives_none: bool
    """Whether leaving it out means None: optional, and without a default of its own."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes, and how it describes itself."""

    description: str
    parameters: tuple[Parameter, ...]
    schema: Schema
    call_names: tuple[str, ...]
    """Parameters annotated `Call`: the call is put there, the model knows nothing of them."""


class CallStandIn:
    """Stands for `Call` where it was imported for type checkers only."""


def place_of(function: Callable[..., Any]) -> Where | None:
    """Return where a function is defined, if it is Python."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return None if code is None else Where(code.co_filename, code.co_firstlineno)


def read_signature(function: Callable[..., Any], *, schema_given: bool = False) -> Signature:
    """Return what a model needs to call ``function``.

    With ``schema_given`` only the description and where the call goes: arguments may then be of
    any type, and ``**`` takes what has no parameter.

    Raises:
        ToolDefinitionError: If a parameter has no JSON form, or no name a model could use.
    """
    parameters: list[Parameter] = []
    call_names: list[str] = []
    schemas: dict[str, Schema] = {}
    definitions: dict[str, Schema] = {}
    given = inspect.signature(function).parameters
    description, texts = read_docstring(inspect.getdoc(function) or "", tuple(given))
    for name, declared in given.items():
        if schema_given and declared.kind is declared.VAR_KEYWORD:
            continue
        if declared.kind not in (declared.POSITIONAL_OR_KEYWORD, declared.KEYWORD_ONLY):
            raise ToolDefinitionError(
                f"parameter `{declared}` of `{_name(function)}` cannot be given by name",
                where=place_of(function),
                fix="a tool takes plain named parameters, without `*` and `/`",
            )
        hint = _hint(function, name, declared.annotation)
        if _is_call(hint):
            call_names.append(name)
        if schema_given or _is_call(hint):
            continue
        parameter, schema = _parameter(function, declared, hint, definitions)
        if name in texts:
            schema["description"] = texts[name]
        parameters.append(parameter)
        schemas[name] = schema
    whole: Schema = {"type": "object", "properties": schemas}
    if required := [parameter.name for parameter in parameters if parameter.required]:
        whole["required"] = required
    whole["additionalProperties"] = False
    return Signature(description, tuple(parameters), inlined(whole, definitions), tuple(call_names))


def _parameter(
    function: Callable[..., Any],
    declared: inspect.Parameter,
    hint: Any,
    definitions: dict[str, Schema],
) -> tuple[Parameter, Schema]:
    has_default = declared.default is not declared.empty
    bare, optional = without_none(hint)
    wanted = bare if optional and (not has_default or declared.default is None) else hint
    try:
        (schema,), found = msgspec.json.schema_components((wanted,))
        msgspec.json.Decoder(hint)  # refuses unions that could not be told apart
    except (TypeError, NameError) as problem:
        why = str(problem).splitlines()[-1]
        if "<class" in why:
            why = "its type has no form in JSON"
        raise ToolDefinitionError(
            f"parameter `{declared.name}` of `{_name(function)}`: {why}",
            where=place_of(function),
            fix="use types that JSON has: text, numbers, lists, Literal, enums, dataclasses",
        ) from None
    definitions.update(found)
    if words := _descriptions(hint):
        schema["description"] = words
    if has_default and declared.default is not None:
        try:
            schema["default"] = msgspec.to_builtins(declared.default, str_keys=True)
        except (TypeError, ValueError):
            schema.pop("default", None)  # a default JSON has no form for stays Python's business
    required = not has_default and not optional
    return Parameter(declared.name, hint, required, optional and not has_default), schema


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


# --- annotations ----------------------------------------------------------------------------


def _hint(function: Callable[..., Any], name: str, annotation: Any) -> Any:
    """Return an annotation with its names looked up; without one, anything goes."""
    if annotation is inspect.Parameter.empty:
        return Any
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        hints = typing.get_type_hints(
            holder, globalns={"Call": CallStandIn, **scope}, include_extras=True
        )
    except Exception as problem:
        # An annotation is code of the user's and may raise anything.
        raise ToolDefinitionError(
            f"the annotation of `{name}` in `{_name(function)}` cannot be read: {problem}",
            where=place_of(function),
            fix="import the names it uses at module level, outside `if TYPE_CHECKING`",
        ) from None
    return hints[name]


def without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without its None, and whether it had one."""
    if typing.get_origin(hint) is Annotated:
        inner, optional = without_none(typing.get_args(hint)[0])
        return (Annotated[(inner, *hint.__metadata__)] if optional else hint), optional
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    members = typing.get_args(hint)
    rest = tuple(member for member in members if member is not type(None))
    return (Union[rest], True) if len(rest) < len(members) else (hint, False)  # noqa: UP007


def _is_call(hint: Any) -> bool:
    """Tell whether a type is the SDK's `Call`, by name: this layer cannot import it."""
    bare, _ = without_none(hint)
    if typing.get_origin(bare) is Annotated:
        bare = typing.get_args(bare)[0]
    if not isinstance(bare, type):
        return False
    return bare is CallStandIn or any(
        base.__name__ == "Call" and base.__module__.startswith("pinecall_cli.")
        for base in bare.__mro__
    )


def _descriptions(hint: Any) -> str:
    """Return the texts of an ``Annotated[…, "text"]``."""
    metadata = getattr(hint, "__metadata__", ())
    return " ".join(item for item in metadata if isinstance(item, str))


# --- JSON Schema ----------------------------------------------------------------------------


def inlined(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return ``schema`` without references: many providers resolve none.

    A type that holds itself keeps them, with its ``$defs`` at the root.
    """
    recursive: set[str] = set()

    def walk(value: Any, open_names: tuple[str, ...], names_are_keys: bool = False) -> Any:
        if isinstance(value, list):
            return [walk(item, open_names) for item in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str) and not names_are_keys:
            name = reference.rpartition("/")[2]
            if name in open_names or name in recursive:
                recursive.add(name)
                return {"$ref": f"#/$defs/{name}"}
            target = walk(definitions[name], (*open_names, name))
            extra = {key: inner for key, inner in value.items() if key != "$ref"}
            return target | extra
        plain = {
            key: walk(inner, open_names, not names_are_keys and key == "properties")
            for key, inner in value.items()
            if names_are_keys or key != "title"  # msgspec's titles are class names
        }
        return plain if names_are_keys else _typed(plain)

    result: Schema = walk(schema, ())
    kept: dict[str, Schema] = {}
    while missing := sorted(recursive - kept.keys()):
        for name in missing:
            kept[name] = walk(definitions[name], (name,))
    if kept:
        result["$defs"] = kept
    return result


def _typed(schema: Schema) -> Schema:
    """Return an enumeration with the type of its values, which some providers insist on."""
    if "enum" in schema and "type" not in schema:
        names = {str: "string", bool: "boolean", int: "integer", float: "number"}
        found = {names.get(type(value)) for value in schema["enum"]}
        if len(found) == 1 and None not in found:
            return {"type": found.pop(), **schema}
    return schema


# --- docstrings -----------------------------------------------------------------------------

HEADERS = frozenset(
    ("args", "arguments", "parameters", "returns", "raises", "yields", "example", "examples")
)


def read_docstring(doc: str, names: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Return a docstring's first paragraph and what it says of the parameters ``names``.

    Both ``name: text`` (on a line of its own or after a sentence) and Google's ``Args:`` count.
    """
    description: list[str] = []
    texts: dict[str, list[str]] = {}
    target: list[str] | None = description
    for line in doc.splitlines():
        stripped = line.strip()
        if not stripped or stripped.rstrip(":").lower() in HEADERS:
            target = None
            continue
        for name, text in _pieces(stripped, names):
            if name is not None:
                target = texts.setdefault(name, [])
            if target is not None and text:
                target.append(text)
    joined = {name: " ".join(parts) for name, parts in texts.items() if parts}
    return " ".join(description), joined


def _pieces(line: str, names: tuple[str, ...]) -> Iterator[tuple[str | None, str]]:
    """Split a line where it starts to speak of a parameter."""
    if not names:
        yield None, line
        return
    alternatives = "|".join(map(re.escape, names))
    opening = re.compile(
        rf"(?:^(?::param\s+(?:\S+\s+)?)?|(?<=[.!?;]\s))({alternatives})(?:\s*\([^)]*\))?:(?:\s+|$)"
    )
    starts = list(opening.finditer(line))
    before = line[: starts[0].start()] if starts else line
    if before.strip():
        yield None, before.strip()
    for start, following in zip_longest(starts, starts[1:]):
        yield start[1], line[start.end() : following.start() if following else None].strip()
