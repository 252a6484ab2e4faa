"""What a client asks of a proxy in HTTP of any version: where to, who it is, and how it is answered (RFC 9110 9.3.6,
RFC 9298). Pure.

What could be read in two ways is refused: a field that comes twice, two credentials, two virtual networks.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from pyconnector.protocol.proxying.handshake import AccessToken, Connect, Credentials, Extended, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

#: Fields of a request.
MAX_FIELDS: Final = 100
#: The token of RFC 9298 that is asked to be spoken, and the field that says that capsules follow (RFC 9297 3.4).
CONNECT_UDP: Final = b"connect-udp"
CAPSULES: Final = (b"capsule-protocol", b"?1")
_TARGET = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):([0-9]{1,5})")
#: The default template (RFC 9298 2), perhaps as a URL of this proxy.
_UDP_PATH = re.compile(rb"/\.well-known/masque/udp/([0-9A-Za-z._~%-]+)/([0-9]{1,5})/")
_NAME = re.compile(rb"[0-9A-Za-z._-]+")
_AUTHORIZATION, _ID, _SECRET, _TOKEN, _NETWORK = (
    b"proxy-authorization", b"cf-access-client-id", b"cf-access-client-secret", b"cf-access-token",
    b"cf-virtual-network",
)  # fmt: skip
_ONCE: Final = frozenset(
    (_AUTHORIZATION, _ID, _SECRET, _TOKEN, _NETWORK, b"host", b"upgrade", b"content-length", b"transfer-encoding")
)
_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_OF_HTTP1: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_BAD_VALUE = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]\Z")
_STATUS: Final = {
    Verdict.GRANTED: (200, ""),
    Verdict.UNAUTHENTICATED: (407, ""),
    Verdict.TOO_MANY: (429, "http_request_denied"),
    Verdict.FORBIDDEN: (403, "http_request_denied"),
    Verdict.UNROUTABLE: (502, "destination_not_found"),
    Verdict.UNREACHABLE: (504, "destination_unavailable"),
    Verdict.BUSY: (503, "connection_limit_reached"),
    Verdict.FAILED: (400, "http_request_error"),
}


class BadProxyRequest(Exception):
    """A request that cannot be served, or could be read in more than one way. The text is one sentence."""


def gather(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return fields by lower-case name.

    Raises:
        BadProxyRequest: there are too many, or one that matters comes twice.
    """
    found: dict[bytes, bytes] = {}
    for count, (name, value) in enumerate(fields):
        lower = name.lower()
        if count >= MAX_FIELDS:
            raise BadProxyRequest("the request has too many fields")
        if lower in found and lower in _ONCE:
            raise BadProxyRequest(f"{lower.decode('ascii')} is given twice")
        found[lower] = value
    return found


def connect_to(authority: bytes, fields: dict[bytes, bytes], shown: Credentials | AccessToken) -> Connect:
    """Return what CONNECT asks for.

    Raises:
        BadProxyRequest: the authority is not HOST:PORT, or two virtual networks are named.
    """
    target = _TARGET.fullmatch(authority)
    if target is None or not 0 < int(target[2]) < 65_536:
        raise BadProxyRequest("CONNECT needs HOST:PORT")
    host = target[1].decode("ascii").removeprefix("[").removesuffix("]")
    return Connect(host, int(target[2]), network_of(fields, shown))


def connect_udp_to(path: bytes, fields: dict[bytes, bytes], shown: Credentials | AccessToken) -> Connect:
    """Return what CONNECT-UDP asks for by the path of its URL (RFC 9298 2).

    Raises:
        BadProxyRequest: the path is not of the template, or two virtual networks are named.
    """
    found = _UDP_PATH.fullmatch(path)
    if found is None or not 0 < int(found[2]) < 65_536:
        raise BadProxyRequest("UDP is asked for as /.well-known/masque/udp/HOST/PORT/")
    host = unquote_to_bytes(found[1])
    try:
        name = str(ipaddress.IPv6Address(host.decode("ascii"))) if b":" in host else host.decode("ascii")
    except ValueError:
        raise BadProxyRequest("the host in the path is neither a name nor an address") from None
    if b"%" in host or (b":" not in host and not _NAME.fullmatch(host)):
        raise BadProxyRequest("the host in the path is neither a name nor an address")
    return Connect(name, int(found[2]), network_of(fields, shown), protocol="udp")


def network_of(fields: dict[bytes, bytes], shown: Credentials | AccessToken) -> str:
    """Return the virtual network that is named; empty for the default.

    Raises:
        BadProxyRequest: two are.
    """
    network = fields.get(_NETWORK, b"").decode("utf-8", "replace")
    if network and shown.virtual_network not in {"", network}:
        raise BadProxyRequest("two different virtual networks are named")
    return network


def credentials_of(fields: dict[bytes, bytes]) -> Credentials | AccessToken:
    """Return what a client shows: id and secret, or an Access token; empty ones where it shows nothing that is known.

    Raises:
        BadProxyRequest: it shows more than one.
    """
    given, token = fields.get(_AUTHORIZATION), fields.get(_TOKEN)
    pair = _ID in fields or _SECRET in fields
    if (given is not None) + (token is not None) + pair > 1:
        raise BadProxyRequest("two kinds of credentials are given")
    if pair:
        return Credentials(*(fields.get(name, b"").decode("utf-8", "surrogateescape") for name in (_ID, _SECRET)))
    if token is not None:
        return AccessToken(token)
    scheme, _, value = (given or b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return AccessToken(value.strip(b" "))
    if scheme.lower() != b"basic":
        return Credentials("", "")
    try:
        user, _, secret = base64.b64decode(value.strip(), validate=True).partition(b":")
    except binascii.Error:
        return Credentials("", "")
    return Credentials(user.decode("utf-8", "surrogateescape"), secret.decode("utf-8", "surrogateescape"))


def read_http2(
    fields: Iterable[tuple[bytes, bytes]], extensions: Collection[str] = ()
) -> tuple[Credentials | AccessToken, Connect | Extended]:
    """Return who asks and for what, by the field section of CONNECT over HTTP/2 or HTTP/3 (RFC 9113 8.5, RFC 9114 4.4),
    or of one that is extended: for UDP (RFC 8441 4, RFC 9220, RFC 9298 3.4), or for one of `extensions`.

    Raises:
        BadProxyRequest: it asks for something else, or is malformed.
    """
    pseudo: dict[bytes, bytes] = {}
    regular: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        if _BAD_VALUE.search(value):
            raise BadProxyRequest("the value of a field has NUL, a line end, or blanks around it")
        if name[:1] != b":":
            if not _FIELD_NAME.fullmatch(name) or name in _OF_HTTP1:
                raise BadProxyRequest("a field has a name that it must not have")
            regular.append((name, value))
        elif regular or name in pseudo or name not in _PSEUDO:
            raise BadProxyRequest("a pseudo-field is unknown, comes twice or too late")
        else:
            pseudo[name] = value
    found = gather(regular)
    if pseudo.get(b":method") != b"CONNECT":
        raise BadProxyRequest("only CONNECT is served here")
    if found.get(b"content-length", b"0") != b"0":
        raise BadProxyRequest("CONNECT has no body")
    shown = credentials_of(found)
    if b":protocol" not in pseudo:
        if b":scheme" in pseudo or b":path" in pseudo:
            raise BadProxyRequest("CONNECT has a :scheme or a :path")
        return shown, connect_to(pseudo.get(b":authority", b""), found, shown)
    return shown, _extended(pseudo, found, shown, extensions)


def _extended(
    pseudo: dict[bytes, bytes],
    found: dict[bytes, bytes],
    shown: Credentials | AccessToken,
    extensions: Collection[str],
) -> Connect | Extended:
    extension = pseudo[b":protocol"].decode("ascii", "replace")
    if not pseudo.get(b":scheme") or not pseudo.get(b":authority"):
        raise BadProxyRequest("an extended CONNECT needs :scheme and :authority")
    path = pseudo.get(b":path", b"")
    if extension in extensions:
        return Extended(extension, path, found, network_of(found, shown))
    if pseudo[b":protocol"] != CONNECT_UDP:
        served = ", ".join(sorted((CONNECT_UDP.decode("ascii"), *extensions)))
        raise BadProxyRequest(f"of what extends CONNECT this is served here: {served}")
    return connect_udp_to(path, found, shown)


def refusal_of(verdict: Verdict, reason: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, fields and body for a verdict that is a no. What went wrong is in Proxy-Status too (RFC 9209)."""
    status, error = _STATUS[verdict]
    body = (reason + "\n" if reason else "").encode("utf-8", "replace")
    fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    if verdict is Verdict.UNAUTHENTICATED:
        fields.append((b"proxy-authenticate", b'Basic realm="private network", charset="UTF-8"'))
    if verdict is Verdict.TOO_MANY:
        fields.append((b"retry-after", b"60"))
    if error:
        fields.append((b"proxy-status", b"pyconnector; error=" + error.encode("ascii")))
    return status, fields, body
