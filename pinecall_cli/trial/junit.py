"""Results as JUnit XML, which every CI system reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from pinecall_cli.trial.report import lines, transcript
from pinecall_cli.trial.result import Result


def junit(results: Sequence[Result], seconds: float) -> bytes:
    """Return the results as a JUnit XML document."""
    outcomes = [result.outcome for result in results]
    counts = {
        "tests": str(len(results)),
        "failures": str(outcomes.count("failed")),
        "errors": str(outcomes.count("error")),
        "time": f"{seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "pinecall", **counts})
    for result in results:
        suite.append(_case(result))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _case(result: Result) -> ElementTree.Element:
    spec = result.spec
    case = ElementTree.Element(
        "testcase",
        {
            "classname": inert(spec.shown),
            "name": inert(spec.title),
            "file": inert(spec.shown),
            "time": f"{result.duration_s:.3f}",
        },
    )
    if result.outcome != "passed":
        first, *rest = lines(result)
        message = result.failures[0].message if result.failures else first
        message = result.error.message if result.error is not None else message
        tag = "error" if result.outcome == "error" else "failure"
        problem = ElementTree.SubElement(case, tag, {"message": inert(message)})
        problem.text = inert("\n".join(rest))
    ElementTree.SubElement(case, "system-out").text = inert("\n".join(transcript(result)))
    return case


NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, escaped or not."""


def inert(text: str) -> str:
    """Return text as XML can hold it."""
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
