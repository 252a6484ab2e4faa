"""Canonical names, and the bounds of what is remembered of them."""

from __future__ import annotations

import pytest

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http import header_names, headers, http2_form, serialized_headers
from pyconnector.protocol.http.header_names import canonical_name, check_values, metadata_key, shown
from pyconnector.protocol.streams.connect import ConnectionType, ConnectRequest


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"accept", b"Accept"),
        (b"ACCEPT-ENCODING", b"Accept-Encoding"),
        (b"x-request-id", b"X-Request-Id"),
        (b"WWW-Authenticate", b"Www-Authenticate"),
        (b"-a--b-", b"-A--B-"),
        (b"x_y-z", b"X_y-Z"),
        (b"1st-2nd", b"1st-2nd"),
        (b"a" * 200, b"A" + b"a" * 199),
        # No token: left alone, as Go does.
        (b"", b""),
        (b"a b", b"a b"),
        (b"a:b", b"a:b"),
        (b"\xc3\xbcber", b"\xc3\xbcber"),
    ],
)
def test_names_take_their_canonical_form(name: bytes, expected: bytes) -> None:
    assert canonical_name(name) == expected
    assert canonical_name(name) == expected


def test_the_caches_are_bounded() -> None:
    for i in range(3 * header_names.MAX_CACHED_NAMES):
        name = b"x-%d" % i
        assert canonical_name(name) == b"X-%d" % i
        assert metadata_key(name) == b"HttpHeader:X-%d" % i
        request = ConnectRequest(dest="/", type=ConnectionType.HTTP, metadata=((b"HttpHeader:" + name, b""),))
        assert headers.request_head(request).headers == [(b"X-%d" % i, b"")]
        fields = [(b":path", b"/"), (name, b"")]
        assert http2_form.read_request(fields, http2_form.Kind.HTTP, ended=True).headers == [(b"X-%d" % i, b"")]
        serialized_headers.serialize_headers([(name, b"")])
    long = b"a" * (header_names.MAX_CACHED_NAME_BYTES + 20)
    assert metadata_key(long) == b"HttpHeader:" + canonical_name(long)
    request = ConnectRequest(dest="/", type=ConnectionType.HTTP, metadata=((b"HttpHeader:" + long, b""),))
    assert headers.request_head(request).headers == [(canonical_name(long), b"")]
    caches = (header_names._names, header_names._keys, headers._names_by_key)
    for cache in (*caches, http2_form._shown_names, serialized_headers._beginnings):
        assert 0 < len(cache) <= header_names.MAX_CACHED_NAMES
        assert all(len(key) <= headers._MAX_CACHED_KEY_BYTES for key in cache)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:b", b"a\r", b"\0", b"\xc3\xbc"])
def test_no_key_is_made_of_what_is_no_token(name: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a token"):
        metadata_key(name)


def test_names_are_shown_escaped_and_cut() -> None:
    assert shown(b"HttpHeader:X\r\n\xff") == repr("X\r\n\\xff")
    assert shown(b"x" * 100) == "'" + "x" * 64 + "'..."


@pytest.mark.parametrize("control", [b"\0", b"\r", b"\n", b"\x7f", b"\x1b"])
def test_controls_in_values_are_refused(control: bytes) -> None:
    check_values([(b"x-tab", b"a\tb"), (b"x-beyond", b"\xff")])
    with pytest.raises(ProtocolError, match="value of header 'x-bad' holds a control character"):
        check_values([(b"x-fine", b"a"), (b"x-bad", b"a" + control)])
