"""What a model is told of a function: the schema, and the words of its docstring."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypedDict

import msgspec
import pytest

from pinecall_cli.agent.signature import ToolDefinitionError, read_docstring
from pinecall_cli.agent.tools import tool

if TYPE_CHECKING:
    from pinecall_cli import Call


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Guest:
    name: str
    age: int = 18


class Party(msgspec.Struct):
    """Some guests."""

    guests: list[Guest]
    title: str | None = None


class Tree(msgspec.Struct):
    label: str
    children: list[Tree] = []


class Options(TypedDict, total=False):
    loud: bool


class Handle:
    """Nothing JSON has a form for."""


def properties(function: Any) -> dict[str, Any]:
    return dict(tool(function).parameters["properties"])


def required(function: Any) -> list[str]:
    return list(tool(function).parameters.get("required", []))


def test_plain_types_have_plain_schemas():
    def f(a: str, b: int, c: float, d: bool, e: list[str], f: dict[str, int], g, h: Any): ...

    assert properties(f) == {
        "a": {"type": "string"},
        "b": {"type": "integer"},
        "c": {"type": "number"},
        "d": {"type": "boolean"},
        "e": {"type": "array", "items": {"type": "string"}},
        "f": {"type": "object", "additionalProperties": {"type": "integer"}},
        "g": {},
        "h": {},
    }
    assert required(f) == ["a", "b", "c", "d", "e", "f", "g", "h"]
    assert tool(f).parameters["additionalProperties"] is False


def test_a_function_without_parameters_takes_an_empty_object():
    def f(): ...

    assert tool(f).parameters == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_choices_carry_the_type_of_their_values():
    def f(a: Literal["x", "y"], b: Colour, c: Literal[1, 2], d: Literal["x", 1]): ...

    assert properties(f) == {
        "a": {"type": "string", "enum": ["x", "y"]},
        "b": {"type": "string", "enum": ["blue", "red"]},
        "c": {"type": "integer", "enum": [1, 2]},
        "d": {"enum": [1, "x"]},
    }


def test_optional_and_defaulted_parameters_are_not_required():
    def f(a: str | None, b: Optional[int] = None, c: int = 3, d: str | None = "x"): ...  # noqa: UP045

    assert properties(f) == {
        "a": {"type": "string"},
        "b": {"type": "integer"},
        "c": {"type": "integer", "default": 3},
        "d": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": "x"},
    }
    assert required(f) == []


def test_a_default_json_has_no_form_for_is_kept_to_ourselves():
    def f(a: Any = Handle(), b: Colour = Colour.RED): ...  # noqa: B008

    assert properties(f) == {
        "a": {},
        "b": {"type": "string", "enum": ["blue", "red"], "default": "red"},
    }


def test_structures_are_written_out_where_they_are_used():
    def f(party: Party, options: Options): ...

    guest = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "default": 18}},
        "required": ["name"],
    }
    assert properties(f) == {
        "party": {
            "type": "object",
            "description": "Some guests.",
            "properties": {
                "guests": {"type": "array", "items": guest},
                "title": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            },
            "required": ["guests"],
        },
        "options": {"type": "object", "properties": {"loud": {"type": "boolean"}}, "required": []},
    }


def test_a_structure_that_holds_itself_keeps_its_reference():
    def f(tree: Tree): ...

    parameters = tool(f).parameters
    node = parameters["$defs"]["Tree"]
    assert node["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert parameters["properties"]["tree"]["properties"]["label"] == {"type": "string"}


def test_words_in_annotations_describe_parameters():
    def f(
        a: Annotated[str, "The order's number."],
        b: Annotated[int, msgspec.Meta(ge=1, description="How many.")],
        c: Annotated[str | None, "A note."] = None,
    ): ...

    assert properties(f) == {
        "a": {"type": "string", "description": "The order's number."},
        "b": {"type": "integer", "minimum": 1, "description": "How many."},
        "c": {"type": "string", "description": "A note."},
    }


def test_the_call_is_put_in_and_kept_from_the_model():
    def f(order: str, call: Call, other: Call | None = None): ...

    made = tool(f)
    assert list(made.parameters["properties"]) == ["order"]
    assert made.signature is not None
    assert made.signature.call_names == ("call", "other")


def test_the_sdks_own_call_is_known_by_its_class():
    from pinecall_cli.sdk.call import Call as TheCall

    def f(call: Any, noted: Any): ...

    f.__annotations__ = {"call": TheCall, "noted": Annotated[TheCall, "note"]}
    assert tool(f).parameters["properties"] == {}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(a: Handle): ...", "its type has no form in JSON"),
        ("def f(a: list[Handle]): ...", "its type has no form in JSON"),
        ("def f(a: Guest | Party): ...", "its type has no form in JSON|more than one dict-like"),
        ("def f(a: Nowhere): ...", "cannot be read: name 'Nowhere' is not defined"),
        ("def f(a: 1 / 0): ...", "cannot be read|division"),
        ("def f(*a): ...", "cannot be given by name"),
        ("def f(a, /): ...", "cannot be given by name"),
        ("def f(**a): ...", "cannot be given by name"),
    ],
)
def test_a_function_no_model_could_call_is_refused(source: str, message: str):
    scope = dict(globals())
    exec(f"from __future__ import annotations\n{source}", scope)
    with pytest.raises(ToolDefinitionError, match=message) as caught:
        tool(scope["f"])
    assert caught.value.where is not None
    assert caught.value.fix


@pytest.mark.parametrize("name", ["", "has space", "dots.dots", "ü", "x" * 65])
def test_a_name_no_provider_takes_is_refused(name: str):
    with pytest.raises(ToolDefinitionError, match="is no name for a tool"):
        tool(name=name or "!")(lambda: None)


def test_a_lambda_has_no_name_to_offer():
    with pytest.raises(ToolDefinitionError, match="`<lambda>` is no name"):
        tool(lambda: None)


# --- docstrings -------------------------------------------------------------------------------


def test_the_first_paragraph_describes_the_tool():
    doc = "Look up an order,\nwherever it is.\n\nNot for returns."
    assert read_docstring(doc, ("order",)) == ("Look up an order, wherever it is.", {})


def test_a_parameter_may_follow_in_the_same_line():
    doc = "Look up an order. order_id: like ORD-12345. fast: skip the cache."
    assert read_docstring(doc, ("order_id", "fast")) == (
        "Look up an order.",
        {"order_id": "like ORD-12345.", "fast": "skip the cache."},
    )


def test_google_arguments_may_run_over_lines_and_name_types():
    doc = """Look up an order.

Args:
    order_id (str): The number,
        like ORD-12345.
    note: A note: free text.
    unknown: of nobody's

    after a gap

Returns:
    order_id: something else
"""
    description, texts = read_docstring(doc, ("order_id", "note"))
    assert description == "Look up an order."
    assert texts["note"] == "A note: free text. unknown: of nobody's"
    assert texts["order_id"].startswith("The number, like ORD-12345.")


def test_sphinx_fields_count_as_well():
    doc = "Do it.\n\n:param str a: First.\n:param b: Second."
    assert read_docstring(doc, ("a", "b"))[1] == {"a": "First.", "b": "Second."}


def test_a_word_before_a_colon_is_not_always_a_parameter():
    doc = "Note the order: it matters."
    assert read_docstring(doc, ("order",)) == ("Note the order: it matters.", {})


def test_no_docstring_says_nothing():
    assert read_docstring("", ()) == ("", {})
