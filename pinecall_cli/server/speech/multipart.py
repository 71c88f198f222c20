"""Bodies of forms with files in them (``multipart/form-data``, RFC 7578), in memory. Pure.

The whole body is there already, and bounded; nothing is written to disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_PARTS = 20
LONGEST_HEAD = 4_096
"""Bytes of the lines before a part's own."""
PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
ESCAPED = re.compile(r'\\(["\\])')
"""What a backslash in quotes stands before; elsewhere it is one: of a path on Windows."""


class FormError(Exception):
    """What is wrong with a form, as a sentence."""


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form."""

    name: str
    data: bytes


def read_form(body: bytes, content_type: str) -> dict[str, bytes]:
    """Return a form's fields by name; of several with one name the last.

    Raises:
        FormError: If it is none, or has too many fields.
    """
    boundary = boundary_of(content_type)
    fields: dict[str, bytes] = {}
    for count, part in enumerate(parts(body, boundary), start=1):
        if count > MOST_PARTS:
            raise FormError(f"the form has more than {MOST_PARTS} fields")
        fields[part.name] = part.data
    return fields


def boundary_of(content_type: str) -> bytes:
    """Return what separates the parts.

    Raises:
        FormError: If the header names none.
    """
    kind = parameter(content_type, "boundary")
    if kind is None or not content_type.lower().lstrip().startswith("multipart/form-data"):
        raise FormError("the body must be `multipart/form-data`, with a boundary")
    if not 1 <= len(kind) <= 70 or not kind.isascii():
        raise FormError("the form's boundary must have 1 to 70 ASCII characters")
    return kind.encode()


def parts(body: bytes, boundary: bytes) -> Iterator[Part]:
    """Yield the parts of a form in order.

    Raises:
        FormError: If the body is cut short, or a part has no name.
    """
    mark = b"--" + boundary
    if body.startswith(mark):
        at = len(mark)
    else:  # what stands before the first part is nobody's
        found = body.find(b"\r\n" + mark)
        if found < 0:
            raise FormError("the form has no part in it")
        at = found + 2 + len(mark)
    while not body.startswith(b"--", at):
        begin = body.find(b"\r\n", at)
        if begin < 0 or body[at:begin].strip(b" \t"):
            raise FormError("the form is broken: a line follows a boundary that is none")
        head_end = body.find(b"\r\n\r\n", begin, begin + LONGEST_HEAD)
        end = body.find(b"\r\n" + mark, head_end)
        if head_end < 0 or end < 0:
            raise FormError("the form is cut short")
        head, data = body[begin + 2 : head_end + 2], head_end + 4
        yield Part(name_of(head), body[data : max(end, data)])
        at = end + 2 + len(mark)


def name_of(head: bytes) -> str:
    """Return a part's name.

    Raises:
        FormError: If it has none.
    """
    for line in head.decode("utf-8", "replace").split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            name = parameter(value, "name")
            if name is not None:
                return name
    raise FormError("a part of the form has no name")


def parameter(header: str, name: str) -> str | None:
    """Return a parameter of a header such as ``form-data; name="file"``; the first of its name.

    Not in the form of RFC 2231 (``name*=``), which RFC 7578 rules out: that is another name.
    """
    for key, quoted, plain in PARAMETER.findall(header):
        if key.lower() == name:
            return ESCAPED.sub(r"\1", quoted) if quoted else plain
    return None
