"""A tool's fingerprint changes with what it does, and with nothing else."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.agent.fingerprint import fingerprint

BASE = """
import helper
RATES = {"eur": 1.1, "set": {"b", "a"}}

class Book:
    size = 3
    def __init__(self):
        self.orders = [1]
    @property
    def first(self):
        return self.orders[0]
    @staticmethod
    def fixed():
        return 1

def rate(name):
    return RATES[name]

def lookup(order_id, factor=2, *, extra=(1,)):
    '''Look up.'''
    inner = lambda n: n * factor
    return Book, rate(order_id), inner(2), helper.tax(1)
"""
HELPER = "def tax(n):\n    return n + 1\n"


def of(source: str, folder: Path, helper: str = HELPER) -> str:
    import types

    module = types.ModuleType("helper")
    exec(compile(helper, str(folder / "helper.py"), "exec"), vars(module))
    scope: dict[str, Any] = {"__name__": "tools"}
    code = compile(textwrap.dedent(source), str(folder / "tools.py"), "exec")
    import sys

    sys.modules["helper"] = module
    try:
        exec(code, scope)
    finally:
        del sys.modules["helper"]
    return fingerprint(scope["lookup"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\ndef rate", "\n\n\n# a comment\ndef rate"),
        ("'''Look up.'''", "'''Find an order.'''"),
        ("    return RATES[name]", "    # a comment\n    return RATES[name]"),
        ('{"b", "a"}', '{"a", "b"}'),
        ("def rate(name)", "def rate(name: str)"),
        ("import helper\n", "import helper\nUNUSED = 1\n"),
    ],
)
def test_what_does_not_change_the_doing_does_not_change_the_fingerprint(
    tmp_path: Path, old: str, new: str
):
    assert of(BASE.replace(old, new), tmp_path) == of(BASE, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("inner(2)", "inner(3)"),
        ("factor=2", "factor=3"),
        ("extra=(1,)", "extra=(2,)"),
        ("n * factor", "n + factor"),
        ('"eur": 1.1', '"eur": 1.2'),
        ("return RATES[name]", "return RATES.get(name)"),
        ("self.orders = [1]", "self.orders = [2]"),
        ("size = 3", "size = 4"),
        ("self.orders[0]", "self.orders[-1]"),
        ("        return 1", "        return 2"),
        ("helper.tax(1)", "helper.tax"),
    ],
)
def test_what_changes_the_doing_changes_the_fingerprint(tmp_path: Path, old: str, new: str):
    assert old in BASE
    assert of(BASE.replace(old, new), tmp_path) != of(BASE, tmp_path)


def test_code_of_the_same_folder_counts_and_code_of_others_does_not(tmp_path: Path):
    changed = HELPER.replace("+ 1", "+ 2")
    assert of(BASE, tmp_path, changed) != of(BASE, tmp_path)


def test_a_function_that_is_not_python_has_none():
    assert fingerprint(len) == ""


def test_closures_and_unbound_cells_are_followed():
    def make(step: int) -> Any:
        def add(n: int) -> int:
            return n + step if n else late

        if step > 100:
            late = 1
        return add

    assert fingerprint(make(1)) != fingerprint(make(2))
    assert fingerprint(make(1)) == fingerprint(make(1))


def test_data_that_holds_itself_ends():
    loop: list[Any] = []
    loop.append(loop)

    def use() -> Any:
        return loop

    assert fingerprint(use)


def test_objects_without_a_plain_form_count_by_their_type():
    def make(thing: Any) -> Any:
        def use() -> Any:
            return thing

        return use

    assert fingerprint(make(object())) == fingerprint(make(object()))
    assert fingerprint(make(object())) != fingerprint(make(Exception()))
    assert fingerprint(make([object()])) == fingerprint(make([object()]))


def test_tools_and_their_like_count_by_the_function_inside():
    from pinecall_cli.agent.tools import tool

    def make(step: int) -> Any:
        def inner(n: int) -> int:
            return n + step

        wrapped = tool(inner)

        def use() -> Any:
            return wrapped, wrapped

        return use

    assert fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(2))
