"""Results as JUnit XML: what CI systems read, whatever the agent said.

`ELEMENTS` is the part of the schema that Jenkins and its like publish (junit-10.xsd) which we use,
with `file`, by which GitLab and CircleCI find the test.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pinecall_cli.trial.junit import junit
from pinecall_cli.trial.spec import Spec
from tests.trial.results import SPEC, conversation, one_of_each, result, spec

COUNTS = {"tests": r"\d+", "failures": r"\d+", "errors": r"\d+", "time": r"\d+\.\d{3}"}
ELEMENTS = {
    "testsuites": (COUNTS, ["testsuite"]),
    "testsuite": ({"name": ".+", **COUNTS}, ["testcase"]),
    "testcase": (
        {"name": ".+", "classname": ".+", "file": ".+", "time": r"\d+\.\d{3}"},
        ["error", "failure", "system-out"],
    ),
    "error": ({"message": ".+"}, []),
    "failure": ({"message": ".+"}, []),
    "system-out": ({}, []),
}
HOSTILE = "]]></failure>\x1b[31m\x00\ufffe<!DOCTYPE a>&amp;\"'\ud800 😀 \x85\n"


def valid(data: bytes) -> ElementTree.Element:
    """Return a report, once it is one."""
    root = ElementTree.fromstring(data.decode("utf-8"))
    assert data.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n')
    assert root.tag == "testsuites"
    for element in root.iter():
        attributes, children = ELEMENTS[element.tag]
        assert element.attrib.keys() == attributes.keys(), element.tag
        for name, form in attributes.items():
            assert re.fullmatch(form, element.attrib[name], re.DOTALL), (element.tag, name)
        places = [children.index(child.tag) for child in element]
        assert places == sorted(places), f"{element.tag} has its children in another order"
    return root


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    monkeypatch.chdir(tmp_path)
    return spec(Path.cwd())


def test_each_result_is_a_test_case(desk: Spec):
    root = valid(junit(one_of_each(desk), 3.5))
    assert root.attrib == {"tests": "3", "failures": "1", "errors": "1", "time": "3.500"}
    passed, failed, error = root.iter("testcase")
    for case in (passed, failed, error):
        assert case.attrib == {
            "name": "Orders",
            "classname": "desk.spec.yaml",
            "file": "desk.spec.yaml",
            "time": "1.260",
        }
    assert [child.tag for child in passed] == ["system-out"]
    failure, problem = failed.find("failure"), error.find("error")
    assert failure is not None
    assert problem is not None
    assert failure.get("message") == "expected says `sent`"
    assert (failure.text or "").splitlines()[1] == '    said: "Lost."'
    assert problem.get("message") == "nobody answers"
    assert "fix: start a server" in (problem.text or "")


def test_what_was_said_stands_beside_the_verdict(desk: Spec):
    (out,) = valid(junit([result(desk)], 1)).iter("system-out")
    assert (out.text or "").splitlines()[:2] == ["agent: Hello.", "say: Where is order 7?"]


def test_no_results_are_a_report_too():
    assert len(valid(junit([], 0))[0]) == 0


def test_nothing_that_an_agent_or_a_spec_says_breaks_the_report(tmp_path: Path):
    desk = spec(tmp_path, SPEC.replace("Orders", '"]]>\\x1b[0m\\0<b>"'))
    found = [
        result(desk, conversation(answer=HOSTILE)),
        result(desk, conversation(), broke=HOSTILE),
    ]
    root = valid(junit(found, 1))
    assert [case.get("name") for case in root.iter("testcase")] == ["]]>\ufffd[0m\ufffd<b>"] * 2
    _, broken = root.iter("failure")
    shown = HOSTILE.replace("\x1b", "\ufffd").replace("\0", "\ufffd")
    shown = shown.replace("\ufffe", "\ufffd").replace("\ud800", "\ufffd")
    assert broken.get("message") == shown
