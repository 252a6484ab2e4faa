import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconnector.ingress.rules.hostnames import (
    comparable,
    host_matches,
    hostname_problem,
    hostname_warning,
    lookup_form,
    strip_port,
)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.com:80", "example.com"),
        ("example.com:", "example.com"),
        (":80", ""),
        ("[::1]:80", "::1"),
        ("example.com", "example.com"),
        ("::1", "::1"),
        ("[::1]", "[::1]"),
        ("[::1]80", "[::1]80"),
        ("[::1", "[::1"),
        ("a:b:c", "a:b:c"),
        ("a]:80", "a]:80"),
        ("a[b:80", "a[b:80"),
        ("[a[b]:80", "[a[b]:80"),
        ("[a]:8]0", "[a]:8]0"),
        ("[a]b:80", "[a]b:80"),
        ("", ""),
    ],
)
def test_port_is_stripped_only_from_host_and_port(text: str, host: str) -> None:
    assert strip_port(text) == host


@pytest.mark.parametrize(
    ("hostname", "alternative"),
    [
        ("example.com", ""),
        ("EXAMPLE.com", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("日本。example", "xn--wgv71a.example"),
        ("☕.example", "xn--53h.example"),
        ("ａ.example", "a.example"),
        ("a\u00adb.example", "ab.example"),
        ("<\u0338.example", "xn--gdh.example"),
        ("अक्\u200dष.example", "xn--l1b6aygsdu96l.example"),
        # No lookup form: not valid, or nothing to change.
        ("*.bücher.example", ""),
        ("*.UP.com", ""),
        ("My_App.example", ""),
        ("A b.example", ""),
        ("-A.example", ""),
        ("A-.example", ""),
        ("AB--C.example", ""),
        ("a\u200cB.example", ""),
        ("\u0301A.example", ""),
        ("xn--zzzzü.example", ""),
        ("XN--ABC-.example", ""),
        ("אa.example", ""),
        ("\ud800", ""),
        ("A" * 2000, ""),
    ],
)
def test_lookup_form(hostname: str, alternative: str) -> None:
    assert lookup_form(hostname) == alternative


@given(st.text(max_size=30))
def test_lookup_form_is_total_and_stable(hostname: str) -> None:
    alternative = lookup_form(hostname)
    if alternative:
        assert alternative != hostname
        assert alternative.isascii()
        assert lookup_form(alternative) == ""


@pytest.mark.parametrize(
    ("rule", "host", "matches"),
    [
        ("a.example.com", "a.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("*.example.com", "*.example.com", True),
        ("*foo.com", "a.foo.com", False),
        ("*foo.com", "*foo.com", True),
    ],
)
def test_host_matches(rule: str, host: str, matches: bool) -> None:
    assert host_matches(rule, host) is matches


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.example.com", "a.example.com"),
        ("A.Example.COM", "a.example.com"),
        ("a.example.com.", "a.example.com"),
        ("a.example.com..", "a.example.com"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("*.BÜCHER.example", "*.xn--bcher-kva.example"),
        ("*.Example.com.", "*.example.com"),
        ("ａdmin.example.com", "admin.example.com"),
        ("admin。example.com", "admin.example.com"),
        ("a_Ü", "a_ü"),
        ("Ü" * 1025, "ü" * 1025),
        ("*.", "*."),
        ("", ""),
        (".", ""),
    ],
)
def test_names_are_compared_without_case_final_dot_and_encoding(name: str, form: str) -> None:
    assert comparable(name) == form


@given(st.text(max_size=30))
def test_the_comparable_form_is_stable(name: str) -> None:
    assert comparable(comparable(name)) == comparable(name)


@pytest.mark.parametrize(
    ("hostname", "words"),
    [
        ("a.example.com:80", "port"),
        ("https://a.example.com", "URL"),
        ("a.*.com", "wildcard"),
        ("**.com", "wildcard"),
        ("*a.com", ""),
        ("", ""),
        ("*", ""),
        ("::1", ""),
    ],
)
def test_problems_of_hostnames(hostname: str, words: str) -> None:
    sentence = hostname_problem(hostname)
    assert words in sentence
    assert bool(words) == bool(sentence)


@pytest.mark.parametrize(
    ("hostname", "words"),
    [
        ("a.example.com", ""),
        ("*", ""),
        ("*.example.com", ""),
        ("bücher.example", ""),
        ("a.example.com/x", "bare name"),
        ("a example.com", "bare name"),
        ("*example.com", "literal text"),
        ("*.Example.com", ""),
        ("*.bücher.example", ""),
        ("a.example.com.", ""),
        ("a_b.example.com", ""),
        ("xn--bcher-kva.example", ""),
        ("::1", ""),
        ("[2001:db8::1]", ""),
        ("192.0.2.1", ""),
        ("${APP_HOST}", "placeholder"),
        ("app.$DOMAIN", "placeholder"),
        ("{{ host }}", "placeholder"),
        ("{{host}}.example.com", "placeholder"),
        ("<your-domain>", "placeholder"),
        ("%HOST%", "placeholder"),
        ("a,b.example.com", "bare name"),
        ("a&b", "bare name"),
        ('a"b', "bare name"),
        ("a(b", "bare name"),
        ("a;b", "bare name"),
        ("a=b", "bare name"),
        ("a'b", "bare name"),
        ("user@a.example.com", "bare name"),
        ("[a]", "bare name"),
        ("a..example.com", "its parts 1 to 63"),
        (".example.com", "its parts 1 to 63"),
        ("a" * 64 + ".example.com", "its parts 1 to 63"),
        ("*." + "a." * 130 + "example", "at most 253"),
        (".", "bare name"),
    ],
)
def test_warnings_of_hostnames(hostname: str, words: str) -> None:
    sentence = hostname_warning(hostname)
    assert words in sentence
    assert bool(words) == bool(sentence)
