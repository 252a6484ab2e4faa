"""The client's side of HTTP CONNECT, and of UDP by Upgrade: the request, and the status of its answer (RFC 9110 section
9.3.6, RFC 9298 section 3.2).
"""

from __future__ import annotations

import base64
import re
from typing import Final

from pyconnector.protocol.errors import ProtocolError

#: Bytes of an error's text that are read.
MAX_TEXT: Final = 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?")


def encode_connect(host: str, port: int, *, user: str, secret: str, virtual_network: str = "") -> bytes:
    """Return a request. `host` is an address or a name.

    Raises:
        ProtocolError: a value cannot stand in one.
    """
    _check(host, port)
    shown = f"[{host}]" if ":" in host else host
    lines = (f"CONNECT {shown}:{port} HTTP/1.1", f"Host: {shown}:{port}", _credentials(user, secret, virtual_network))
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def encode_connect_udp(
    host: str, port: int, *, gateway: str, user: str, secret: str, virtual_network: str = ""
) -> bytes:
    """Return a request for UDP to `host`, by the default template of RFC 9298; `gateway` is the proxy's own HOST:PORT.

    Raises:
        ProtocolError: a value cannot stand in one.
    """
    _check(host, port)
    lines = (
        f"GET /.well-known/masque/udp/{host.replace(':', '%3A')}/{port}/ HTTP/1.1", f"Host: {gateway}",
        "Connection: Upgrade", "Upgrade: connect-udp", "Capsule-Protocol: ?1",
        _credentials(user, secret, virtual_network),
    )  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def connect_fields(
    host: str, port: int, *, user: str, secret: str, virtual_network: str = "", udp_at: str = ""
) -> list[tuple[bytes, bytes]]:
    """Return the field section of a request over HTTP/2 (RFC 9113 section 8.5): for UDP where `udp_at` names the
    proxy's own HOST:PORT (RFC 9298 section 3.4).

    Raises:
        ProtocolError: a value cannot stand in one.
    """
    _check(host, port)
    name, _, value = _credentials(user, secret, virtual_network).partition(": ")
    if udp_at:
        path = f"/.well-known/masque/udp/{host.replace(':', '%3A')}/{port}/"
        fields = [(":method", "CONNECT"), (":protocol", "connect-udp"), (":scheme", "https"), (":path", path)]
        fields += [(":authority", udp_at), ("capsule-protocol", "?1")]
    else:
        fields = [(":method", "CONNECT"), (":authority", f"{f'[{host}]' if ':' in host else host}:{port}")]
    return [(key.encode("ascii"), text.encode("ascii")) for key, text in (*fields, (name.lower(), value))]


def connect_ip_fields(
    gateway: str, path: bytes, *, user: str, secret: str, virtual_network: str = ""
) -> list[tuple[bytes, bytes]]:
    """Return the field section that asks the proxy at HOST:PORT for IP (RFC 9484 4.5).

    Raises:
        ProtocolError: a value cannot stand in one.
    """
    name, _, value = _credentials(user, secret, virtual_network).partition(": ")
    fields = [(":method", "CONNECT"), (":protocol", "connect-ip"), (":scheme", "https"), (":authority", gateway)]
    fields += [(":path", path.decode("ascii")), ("capsule-protocol", "?1"), (name.lower(), value)]
    return [(key.encode("ascii"), text.encode("ascii")) for key, text in fields]


def read_status(head: bytes) -> int:
    """Return the status of an answer's head.

    Raises:
        ProtocolError: it is no HTTP/1.1 answer.
    """
    found = _STATUS_LINE.fullmatch(head.partition(b"\r\n")[0])
    if found is None:
        raise ProtocolError("the gateway does not answer in HTTP/1.1")
    return int(found[1])


def _check(host: str, port: int) -> None:
    if not re.fullmatch(r"[0-9A-Za-z._:-]+", host) or not 0 < port < 65_536:
        raise ProtocolError(f"{host[:255]!r}, port {port}, is no destination")


def _credentials(user: str, secret: str, virtual_network: str) -> str:
    name = f"{user}+{virtual_network}" if virtual_network else user
    return f"Proxy-Authorization: Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode('ascii')}"
