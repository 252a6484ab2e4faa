"""Where an application is: the URL that somebody wrote, and what is dialled for it (reference/cli.md 5). Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import SplitResult, urlsplit

import idna

from pyconnector.web.host_port import join_host_port, port_number

#: Names that never leave this machine (RFC 6761 section 6.3).
_LOCAL: Final = ("localhost", ".localhost")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An application, and how it is dialled."""

    host: str
    "ASCII, without brackets: what certificate and Host header name."
    port: int
    tls: bool = True
    target: str = "/"
    "Path and query."
    dial: tuple[str, int] | None = None
    "In place of host and port."
    verify: bool = True
    "Whether the certificate must be valid for `host`."

    @property
    def authority(self) -> str:
        """What a Host header says."""
        if self.port == _PORTS["https" if self.tls else "http"]:
            return f"[{self.host}]" if ":" in self.host else self.host
        return join_host_port(self.host, self.port)

    @property
    def address(self) -> tuple[str, int]:
        """What is dialled: `*.localhost` is this machine, whatever the resolver says of it."""
        if self.dial is not None:
            return self.dial
        return ("localhost" if self.host.endswith(_LOCAL) else self.host), self.port

    @property
    def url(self) -> str:
        """The application's URL, without path."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"


def parse_place(text: str) -> Place:
    """Read a URL or hostname. Without a scheme it is https, and http becomes https but for this machine's own names.

    Raises:
        ValueError: it is none, in one sentence.
    """
    text = text.strip()
    if not text:
        raise ValueError("no URL is given: name the application, such as https://app.example.com")
    if "://" not in text:
        text = f"https://[{text}]" if _is_ipv6(text) else f"https://{text}"
    try:
        parts = urlsplit(text)
        host, port = _ascii(parts.hostname or ""), parts.port
    except (ValueError, UnicodeError):
        raise ValueError(f"{text[:255]!r} is no URL of an application") from None
    if parts.scheme not in _PORTS or not host or port == 0:
        raise ValueError(f"{text[:255]!r} is no URL of an application, such as https://app.example.com")
    if parts.username is not None:
        raise ValueError("no user name and password belong into the URL of an application")
    tls = parts.scheme == "https" or not _is_local(host)
    return Place(host=host, port=port or _PORTS["https" if tls else "http"], tls=tls, target=_target(parts))


def connect_to(place: Place, text: str) -> Place:
    """Dial elsewhere: `HOST`, `HOST:PORT`, or `SNI:PORT:HOST`, which takes any certificate, as the reference does.

    Raises:
        ValueError: it is none of these.
    """
    parts = text.split(":")
    port = port_number(parts[1]) if len(parts) > 1 else place.port
    if len(parts) > 3 or port is None or not all(parts):
        raise ValueError(f"--connect-to {text[:255]!r} is none of HOST, HOST:PORT and SNI:PORT:HOST")
    dial = (parts[-1] if len(parts) == 3 else parts[0], port)
    return replace(place, dial=dial, verify=len(parts) < 3)


def _target(parts: SplitResult) -> str:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError("the path of a URL is written in ASCII, everything else percent-encoded")
    return target


def _ascii(host: str) -> str:
    if host.isascii():
        if any(char.isspace() or char in "/\\?#@%" for char in host):
            raise ValueError("no hostname")
        return host.lower().removesuffix(".")
    return idna.encode(host, uts46=True).decode("ascii")


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == _LOCAL[0] or host.endswith(_LOCAL[1])
