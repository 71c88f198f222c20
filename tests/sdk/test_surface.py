"""What applications program against: nothing changes by accident, and README names all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pinecall_cli
from pinecall_cli import PinecallError
from tests.sdk.surface import FILE, surface

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
ERRORS = [
    found
    for name in pinecall_cli.__all__
    if isinstance(found := getattr(pinecall_cli, name), type) and issubclass(found, Exception)
]


def test_the_surface_is_the_one_that_is_written_down():
    assert surface() == FILE.read_text("utf-8"), "meant? `python -m tests.sdk.surface`"


def test_the_table_of_readme_names_all_that_is_exported_and_nothing_else():
    (table,) = re.findall(r"^\| from `pinecall_cli` \|.*\n(?:\|.*\n)+", README, re.M)
    rows = [row.split("|")[1] for row in table.splitlines()[2:]]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(set(named))
    assert set(named) == set(pinecall_cli.__all__)


def test_every_error_is_in_one_tree_and_has_a_code_of_its_own():
    assert all(issubclass(error, PinecallError) for error in ERRORS)
    codes = [error.code for error in ERRORS]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("name", pinecall_cli.__all__)
def test_every_name_says_what_it_is(name: str):
    found = getattr(pinecall_cli, name)
    assert (found.__doc__ or "").strip()
    if isinstance(found, type):
        for method, function in vars(found).items():
            if not method.startswith("_") and callable(function):
                assert function.__doc__, f"{name}.{method}"
