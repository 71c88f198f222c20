from __future__ import annotations

import contextlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.server.speech.multipart import MOST_PARTS, FormError, parameter, read_form

FORM = 'multipart/form-data; boundary="b"'
NAMES = st.text(st.characters(categories=("L", "N"), max_codepoint=127), min_size=1, max_size=10)


@given(st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=5))
def test_what_a_client_puts_into_a_form_comes_out_of_it(fields: dict[str, bytes]):
    request = httpx.Request("POST", "http://x", files=fields)
    assert read_form(request.read(), request.headers["content-type"]) == fields


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"--b\r\n", b"\r\n--b", b"--b--", b"\r\n\r\n"])
)
def test_no_bytes_do_more_than_be_refused(noise: bytes, piece: bytes):
    for body in (noise, piece + noise, noise + piece, piece + noise + piece + noise):
        with contextlib.suppress(FormError):
            assert all(isinstance(data, bytes) for data in read_form(body, FORM).values())


@pytest.mark.parametrize(
    "kind",
    [
        *("", "multipart/form-data", "multipart/mixed; boundary=b", "application/json"),
        *("multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 71}"),
        *("multipart/form-data; boundary*=utf-8''b", "multipart/form-data; boundary=é"),
        "multipart/form-data; boundary*=a; boundary*0=b",
        f"multipart/form-data; boundary*{'9' * 5_000}=x",
    ],
)
def test_a_form_without_a_good_boundary_is_none(kind: str):
    with pytest.raises(FormError, match="boundary"):
        read_form(b"--b--", kind)


@given(st.text(st.sampled_from("name*01=;'\"\\ x\t%é"), max_size=60))
def test_no_header_does_more_than_have_no_such_parameter(header: str):
    assert isinstance(parameter(header, "name"), str | None)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('form-data; name="a"', "a"),
        ("form-data;NAME = a ; x=y", "a"),
        ('form-data; filename="; name=evil"; name="a b;c"', "a b;c"),
        (r'form-data; filename="C:\x\\"; name="a\"b\c"', r'a"b\c'),
        ("form-data; filename*=utf-8''%e9.wav; name=a; name=b", "a"),
        ("form-data; name*=utf-8''a", None),
        ("form-data; name*=a; name*0=b", None),
        ("form-data; xname=a", None),
    ],
)
def test_a_parameter_is_read_quoted_or_not(header: str, name: str | None):
    assert parameter(header, "name") == name


def test_what_stands_before_the_first_part_is_passed_over_and_an_empty_form_is_empty():
    head = b'\r\n--b\r\nContent-Disposition: form-data; name="a"; filename="../x"\r\n\r\n'
    assert read_form(b"preamble" + head + b"1\r\n--b--", FORM) == {"a": b"1"}
    assert read_form(head[2:] + b"\r\n--b--epilogue", FORM) == {"a": b""}
    assert read_form(b"--b--", FORM) == {}


def test_a_form_of_too_many_parts_and_a_part_with_an_endless_head_are_refused():
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    assert read_form(part * MOST_PARTS + b"--b--", FORM) == {"a": b"1"}
    with pytest.raises(FormError, match="more than"):
        read_form(part * (MOST_PARTS + 1) + b"--b--", FORM)
    with pytest.raises(FormError, match="cut short"):
        read_form(
            part.replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 5_000 + b"\r\n\r\n") + b"--b--", FORM
        )
