"""No paragraph of the protocol is without a test, and no test without its paragraph."""

from __future__ import annotations

import ast

import pytest

from tests.conformance.paragraphs import HERE, PAGES, Held, held

OURS = [
    (page, number)
    for page, paragraphs in PAGES.items()
    for number, title in paragraphs.items()
    if isinstance(title, str)
]


@pytest.fixture(scope="module")
def everything() -> tuple[Held, ...]:
    """Return what all tests hold: sixty files, read once."""
    return tuple(held())


@pytest.mark.parametrize(("page", "number"), OURS)
def test_each_paragraph_is_held(page: str, number: str, everything: tuple[Held, ...]):
    assert any((one.page, one.number) == (page, number) for one in everything)


def test_each_test_names_its_paragraph(everything: tuple[Held, ...]):
    named = {one.test for one in everything}
    for path in HERE.glob("test_*.py"):
        if path.name == "test_paragraphs.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
                "test_"
            ):
                assert f"{path.name}::{node.name}" in named, "put @holds(page, number) above it"
