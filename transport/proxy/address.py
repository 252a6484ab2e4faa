"""Which proxy, and what it is told about who asks. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

from pyconnector.web.host_port import join_host_port, port_number

HTTP, HTTPS, SOCKS5 = "http", "https", "socks5"
#: What may stand before `://`, with the kind and its usual port. socks5h leaves names to the proxy, as is done here.
SCHEMES = {"http": (HTTP, 80), "https": (HTTPS, 443), "socks5": (SOCKS5, 1080), "socks5h": (SOCKS5, 1080)}
#: Bytes of a user name or password: SOCKS5 has one byte for their length (RFC 1929 2).
MAX_CREDENTIAL = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One proxy. Its text leaves the credentials out, so that it can be shown."""

    kind: str
    "`HTTP`, `HTTPS` (the proxy itself is spoken to over TLS) or `SOCKS5`."
    host: str
    port: int
    username: bytes = field(default=b"", repr=False)
    password: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        return f"{self.kind}://{join_host_port(self.host, self.port)}"


def parse_proxy(text: str) -> Proxy:
    """Read `SCHEME://[USER:PASSWORD@]HOST[:PORT]`, or `HOST:PORT` of an HTTP proxy.

    Raises:
        ValueError: it is none of these. The message is a part of a sentence, and shows nothing of the text.
    """
    if any(character <= " " or character == "\x7f" for character in text):
        raise ValueError("it has a blank or a control character in it")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = HTTP, text
    if scheme.lower() not in SCHEMES:
        raise ValueError("only http, https and socks5 are spoken")
    kind, usual_port = SCHEMES[scheme.lower()]
    try:
        parts = urlsplit(f"//{rest}")
        host = parts.hostname or ""
    except ValueError:
        raise ValueError("its host cannot be read; write SCHEME://HOST:PORT") from None
    place = parts.netloc.rpartition("@")[2]
    after = place.rpartition("]")[2] if place.startswith("[") else place.partition(":")[1] + place.partition(":")[2]
    port = port_number(after[1:]) if after[:1] == ":" else usual_port if not after else None
    if not host or port is None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("write SCHEME://HOST:PORT, with a port from 1 to 65535 and nothing behind it")
    if separator == "" and not after:
        raise ValueError("it lacks its port; write HOST:PORT or SCHEME://HOST:PORT")
    username, password = unquote_to_bytes(parts.username or ""), unquote_to_bytes(parts.password or "")
    if len(username) > MAX_CREDENTIAL or len(password) > MAX_CREDENTIAL:
        raise ValueError(f"its user name or password is longer than {MAX_CREDENTIAL} bytes")
    if kind != SOCKS5 and b":" in username:
        raise ValueError("a user name of an HTTP proxy has no colon in it (RFC 7617 2)")
    if kind == SOCKS5 and password and not username:
        raise ValueError("it has a password and no user name")
    return Proxy(kind=kind, host=host, port=port, username=username, password=password)
