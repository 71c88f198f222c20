"""Which origins may mint tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol.config import ConfigRefused, origin_allowed, parse_pattern
from pinecall_cli.protocol.origins import browser_origin, parse_origin

SITE, SUBS, LOCAL = "https://site.com", "https://*.site.com", "http://localhost:*"


@pytest.mark.parametrize(
    ("origin", "pattern"),
    [
        ("https://site.com", SITE),
        ("https://SITE.com", SITE),
        ("https://site.com:443", SITE),
        ("https://site.com", "https://Site.com:443/"),
        ("https://site.com:8443", "https://site.com:8443"),
        ("https://a.site.com", SUBS),
        ("https://a.b.site.com", SUBS),
        ("https://a.site.com:8443", "https://*.site.com:8443"),
        ("https://a.site.com:8443", "https://*.site.com:*"),
        ("http://localhost", LOCAL),
        ("http://localhost:3000", LOCAL),
        ("http://127.0.0.1:3000", "http://127.0.0.1:*"),
        ("http://[::1]:3000", "http://[::1]:*"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://xn--bcher-kva.example", "https://bücher.example"),
    ],
)
def test_an_origin_that_matches_is_allowed(origin: str, pattern: str):
    assert origin_allowed(origin, ["https://other.example", pattern])


@pytest.mark.parametrize(
    ("origin", "pattern"),
    [
        (None, SITE),
        ("", SITE),
        ("null", SITE),
        ("http://site.com", SITE),
        ("https://site.com:8443", SITE),
        ("https://site.com.evil.example", SITE),
        ("https://evilsite.com", SUBS),
        ("https://site.com", SUBS),
        ("https://.site.com", SUBS),
        ("https://a..site.com", SUBS),
        ("https://evil.example#.site.com", SUBS),
        ("https://evil.example/.site.com", SUBS),
        ("https://evil.example?.site.com", SUBS),
        ("https://evil.example\\.site.com", SUBS),
        ("https://user@site.com", SITE),
        ("https://site.com/", SITE),
        ("https://site.com?", SITE),
        ("https://site.com:", SITE),
        ("https://site.com:x", SITE),
        ("https://si\tte.com", SITE),
        ("https://*.site.com", SUBS),
        ("http://localhost.evil.example:80", LOCAL),
        ("https://localhost:3000", LOCAL),
        ("file://localhost", "file://localhost"),
        ("https://site.com", "*"),
        ("https://site.com", "https://*"),
        ("https://site.com", "site.com"),
        ("https://site.com", ""),
        ("https://[::1", SITE),
        ("https://sité.com", SITE),
    ],
)
def test_an_origin_that_does_not_is_refused(origin: str | None, pattern: str):
    assert not origin_allowed(origin, [pattern])


def test_without_patterns_nobody_is_allowed():
    assert not origin_allowed("https://site.com", [])


@pytest.mark.parametrize(
    "pattern",
    [
        *("*", "", "site.com", "https://", "https://*", "https://a.*.com", "ftp://a.com"),
        *("https://a/b", "http://a:80:*", "https://*.127.0.0.1", "http://*.[::1]:*"),
        f"https://{'ü' * 80}.com",
        *("https://straße.de", "https://*.STRAẞE.de", "https://βόλος.gr", "https://a\u200db.com"),
    ],
)
def test_a_pattern_of_no_form_is_refused(pattern: str):
    with pytest.raises(ConfigRefused, match="is no origin"):
        parse_pattern(pattern)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://site.com/shop?x=1#y", "https://site.com"),
        ("HTTPS://Shop.SITE.com:443/", "https://shop.site.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000/x", "http://[::1]:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://site.com@evil.io/", "https://evil.io"),
        ("https://site.com.", "https://site.com."),
        ("null", "null"),
        *((url, None) for url in ("", "site.com", "file:///x", "https://", "https://a b", "x://y")),
        *((url, None) for url in ("https://straße.de", "https://a:b", "https://[::1", "https://*")),
        ("https://evil.io\\@site.com", None),
    ],
)
def test_a_browser_sends_the_origin_of_its_page(url: str, origin: str | None):
    assert browser_origin(url) == origin


@given(st.text(max_size=40))
def test_what_a_browser_sends_can_be_parsed(url: str):
    origin = browser_origin(url)
    assert origin in (None, "null") or parse_origin(origin) is not None


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_raises(origin: str, pattern: str):
    assert origin_allowed(origin, [pattern, SUBS]) in (True, False)


@given(st.from_regex(r"https://[a-z.@:/#?\\]{1,20}site\.com", fullmatch=True))
def test_only_real_sub_domains_match(origin: str):
    if origin_allowed(origin, [SUBS]):
        host = origin.removeprefix("https://")
        assert host.endswith(".site.com")
        assert not set(host) & set("@:/#?\\")
