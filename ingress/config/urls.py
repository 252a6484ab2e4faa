"""Read the URL of a service the way the reference does, so that the same texts are accepted and refused.

Only what a service needs: scheme, user information, host with port, and whether a path, query or fragment is there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_USERINFO = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*", re.ASCII)
_PORT = re.compile(r"(?::[0-9]*)?", re.ASCII)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
#: Below 0x80, what a host may hold unescaped (RFC 3986 3.2.2, and what its reader lets through besides).
_HOST_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~!$&'()*+,;=:[]<>\"")
_USER_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~$&+,;=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """The parts of a URL. `host` is decoded and still holds the port."""

    scheme: str
    userinfo: str | None = None
    "Still escaped."
    host: str = ""
    path: str = ""
    query: str | None = None
    fragment: str = ""

    @property
    def hostname(self) -> str:
        """The host without its port and without brackets."""
        host = self.host.rpartition(":")[0] if self.port_text is not None else self.host
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    @property
    def port_text(self) -> str | None:
        """The digits after the last colon; "" where the colon is the end; None where there is no port."""
        _, colon, after = self.host.rpartition(":")
        return after if colon and _PORT.fullmatch(colon + after) else None

    @property
    def lacks_brackets(self) -> bool:
        """True for an IPv6 address that is not in brackets, of which the last group is then taken for a port."""
        return ":" in self.hostname and not self.host.startswith("[")

    def __str__(self) -> str:
        """The URL without its path: nothing but ASCII, user information escaped where it must be."""
        user = ""
        if self.userinfo is not None:
            name, colon, password = self.userinfo.partition(":")
            user = f"{_escape_user(name)}{colon}{_escape_user(password)}@"
        query = "" if self.query is None else f"?{self.query}"
        fragment = f"#{self.fragment}" if self.fragment else ""
        return f"{self.scheme}://{user}{_escape_host(self.host)}{query}{fragment}"


def parse_url(text: str) -> Url:
    """Split `text` into its parts.

    Raises:
        ValueError: `text` is no URL; its message is a sentence that quotes nothing.
    """
    if any(char < " " or char == "\x7f" for char in text):
        raise ValueError("it holds a control character")
    rest, _, fragment = text.partition("#")
    match = _SCHEME.match(rest)
    scheme = match[1].lower() if match else ""
    if match:
        rest = rest[match.end() :]
    elif rest.startswith(":"):
        raise ValueError("the scheme before the colon is missing")
    rest, mark, query_text = rest.partition("?")
    query = query_text if mark else None
    if not rest.startswith("/"):
        if not scheme and ":" in rest.partition("/")[0]:
            raise ValueError("a scheme may only hold letters, digits, +, - and . and must begin with a letter")
        return Url(scheme=scheme, path="" if scheme else rest, query=query, fragment=fragment)
    userinfo, host, path = None, "", rest
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        path = slash + path
        # One colon at most is a rule that only these two schemes are held to.
        userinfo, host = _parse_authority(authority, one_colon=scheme in ("http", "https"))
    _check_escapes(path)
    return Url(scheme=scheme, userinfo=userinfo, host=host, path=path, query=query, fragment=fragment)


def _parse_authority(authority: str, *, one_colon: bool) -> tuple[str | None, str]:
    userinfo, at, host = authority.rpartition("@")
    host = _parse_host(host, one_colon=one_colon)
    if not at:
        return None, host
    if _USERINFO.fullmatch(userinfo) is None:
        raise ValueError("the part before the @ holds a character that must be escaped")
    _check_escapes(userinfo)
    return userinfo, host


def _parse_host(host: str, *, one_colon: bool) -> str:
    opening = host.rfind("[")
    if opening > 0:
        raise ValueError("an IPv6 address in brackets must be the whole host")
    if opening == 0:
        end = host.rfind("]")
        if end < 0:
            raise ValueError("the closing bracket of the host is missing")
        _check_port(host[end + 1 :])
        return _parse_literal(host[:end]) + host[end:]
    start = host.find(":") if one_colon else host.rfind(":")
    if start < 0:
        return _decode_host(host)
    _check_port(host[start:])
    return _decode_host(host[:start]) + host[start:]


def _check_port(text: str) -> None:
    if _PORT.fullmatch(text) is None:
        raise ValueError("the port after the host is not a number")


def _parse_literal(bracketed: str) -> str:
    """Decode `[address` or `[address%25zone` (RFC 6874)."""
    address, mark, zone = bracketed.partition("%25")
    if mark:
        zone = _unescape(mark + zone, allowed=lambda byte: byte >= 0x80 or byte in _HOST_BYTES or byte in b"% ")
    literal = _decode_host(address) + zone
    try:
        ipaddress.IPv6Address(literal[1:])
    except ValueError as error:
        raise ValueError("what stands in brackets is no IPv6 address") from error
    return literal


def _decode_host(host: str) -> str:
    """Undo percent escapes, which a host may use for bytes outside ASCII only."""
    for char in host:
        if char != "%" and char < "\x80" and ord(char) not in _HOST_BYTES:
            raise ValueError(f"the host holds the character {char!r}, which no host name can have")
    return _unescape(host, allowed=lambda byte: byte >= 0x80)


def _escape_user(text: str) -> str:
    decoded = _unescape(text, allowed=lambda byte: True)
    return _escape(decoded, keep=_USER_BYTES)


def _escape_host(host: str) -> str:
    return _escape(host, keep=_HOST_BYTES)


def _escape(text: str, *, keep: frozenset[int]) -> str:
    return "".join(chr(byte) if byte in keep else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def _unescape(text: str, *, allowed: Callable[[int], bool]) -> str:
    out = bytearray()
    position = 0
    for match in _ESCAPE.finditer(text):
        out += text[position : match.start()].encode()
        digits = match[1]
        if digits is None or not allowed(int(digits, 16)):
            raise ValueError("the host holds a percent sign that escapes nothing")
        out.append(int(digits, 16))
        position = match.end()
    out += text[position:].encode()
    return out.decode(errors="surrogateescape")


def _check_escapes(text: str) -> None:
    if any(match[1] is None for match in _ESCAPE.finditer(text)):
        raise ValueError("it holds a percent sign that escapes nothing")
