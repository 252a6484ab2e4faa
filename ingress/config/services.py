"""What a rule's `service` can be (reference/ingress.md 4.1).

`str(service)` is the canonical text that the edge is told; `redacted(service)` is the one for logs, without a
password that a URL may hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pyconnector.ingress.config.urls import parse_url
from pyconnector.ingress.rules.hostnames import lookup_form
from pyconnector.ingress.rules.ip_rules import MAX_PORT
from pyconnector.web.host_port import join_host_port

#: Schemes of HTTP services and the scheme that the origin is spoken to with. `h2c` is HTTP/2 without TLS.
HTTP_SCHEMES: dict[str, Literal["http", "https"]] = {
    "http": "http",
    "https": "https",
    "ws": "http",
    "wss": "https",
    "h2c": "http",
}
#: Ports of stream services that may leave theirs out.
STREAM_PORTS = {"ssh": 22, "rdp": 3389, "smb": 445, "tcp": 7864}
#: A port number that no port has: stands for one too large to be kept.
NO_SUCH_PORT = MAX_PORT + 1
_STATUS = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
_USER_ANYWHERE = re.compile(r"(//)[^/?#\s]*@")
_USER_PART = re.compile(r"^([^:/]*://)[^/?#]*@")


@dataclass(frozen=True, slots=True)
class HttpService:
    """An HTTP server by URL. `host` is what to dial (ASCII, no brackets)."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    url: str = field(repr=False)
    "The URL as written; may hold a password, which is never sent."
    h2c: bool = False

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class UnixService:
    """An HTTP server on a Unix socket."""

    path: str
    tls: bool = False

    def __str__(self) -> str:
        return f"unix+tls:{self.path}" if self.tls else f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class StatusService:
    """A fixed status with an empty body."""

    status: int

    def __str__(self) -> str:
        return f"http_status:{self.status}"


@dataclass(frozen=True, slots=True)
class HelloService:
    """The built-in test server."""

    def __str__(self) -> str:
        return "hello_world"


@dataclass(frozen=True, slots=True)
class StreamService:
    """A TCP service. Port 0 where the scheme has none of its own and the config gives none."""

    scheme: str
    host: str
    port: int
    address: str = field(default="", compare=False, repr=False)
    "Host and port as written, where that differs from what host and port alone would give."

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address or join_host_port(self.host, self.port)}"


@dataclass(frozen=True, slots=True)
class BastionService:
    """TCP to the address that the visitor's client names."""

    def __str__(self) -> str:
        return "bastion"


@dataclass(frozen=True, slots=True)
class SocksService:
    """A SOCKS5 server for the visitor's client."""

    def __str__(self) -> str:
        return "socks-proxy"


@dataclass(frozen=True, slots=True)
class FilesService:
    """Files below a directory of this machine, to be read."""

    path: str

    def __str__(self) -> str:
        return f"files:{self.path}"


Service: TypeAlias = (
    HttpService
    | UnixService
    | StatusService
    | HelloService
    | StreamService
    | BastionService
    | SocksService
    | FilesService
)


def parse_service(text: str, *, bastion_mode: bool = False) -> Service:
    """Read a `service` value.

    Raises:
        ValueError: it is none; its message is a sentence that shows no password.
    """
    if text.startswith(("unix:", "unix+tls:")):
        scheme, _, path = text.partition(":")
        if not path or "\0" in path:
            raise ValueError(f"{scheme}: must be followed by the path of a socket, as in {scheme}:/run/app.sock")
        return UnixService(path, tls=scheme == "unix+tls")
    if text.startswith("files:"):
        return FilesService(_parse_directory(text.removeprefix("files:")))
    if text.startswith("http_status:"):
        return StatusService(_parse_status(text.removeprefix("http_status:")))
    if text in ("hello_world", "hello-world"):
        return HelloService()
    if text == "socks-proxy":
        return SocksService()
    if text == "bastion" or bastion_mode:
        return BastionService()
    return _parse_url_service(text)


def _parse_directory(path: str) -> str:
    if not path.startswith("/") or path.startswith("//") or "\0" in path:
        raise ValueError("files: must be followed by the path of a directory from the root on, as in files:/srv/docs")
    return path


def _parse_status(digits: str) -> int:
    if _STATUS.fullmatch(digits) is None:
        raise ValueError("invalid HTTP status code: http_status: must be followed by a number, as in http_status:404")
    status = int(digits)
    if not 100 <= status <= 999:
        raise ValueError(f"invalid HTTP status code: {status} is not between 100 and 999")
    return status


def _parse_url_service(text: str) -> Service:
    try:
        url = parse_url(text)
    except ValueError as error:
        raise ValueError(f"the address of the service is not a valid URL: {error}") from error
    if not url.scheme or not url.hostname:
        raise ValueError(
            "the address of the service is invalid: it needs a scheme and a hostname, as in http://localhost:8080"
        )
    if url.path:
        raise ValueError(
            "the address of the service is invalid: it cannot have a path, because the visitor's own path is used "
            f"(write {url.scheme}://{url.host} here, and addPathPrefix under originRequest to put a path before it)"
        )
    host = url.hostname if url.hostname.isascii() else lookup_form(url.hostname) or url.hostname
    if url.scheme in HTTP_SCHEMES:
        scheme = HTTP_SCHEMES[url.scheme]
        port = _port_number(url.port_text) if url.port_text else 443 if scheme == "https" else 80
        return HttpService(scheme, host, port, str(url), h2c=url.scheme == "h2c")
    if url.port_text:
        return StreamService(url.scheme, host, _port_number(url.port_text), url.host)
    if url.scheme in STREAM_PORTS:
        port = STREAM_PORTS[url.scheme]
        return StreamService(url.scheme, host, port, join_host_port(url.hostname, port))
    return StreamService(url.scheme, host, 0, url.host)


def _port_number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= len(str(MAX_PORT)) else NO_SUCH_PORT


def service_warnings(service: Service, text: str) -> list[str]:
    """Say what of a `service` text does nothing, or can never work."""
    warnings = []
    if isinstance(service, HttpService | StreamService):
        if service.port > MAX_PORT or (service.port == 0 and isinstance(service, HttpService)):
            warnings.append("the port is not between 1 and 65535, so no connection can be made")
        elif service.port == 0:
            warnings.append(f"the scheme {service.scheme}:// has no port of its own, so no connection can be made")
        url = parse_url(text)
        if url.lacks_brackets:
            warnings.append("an IPv6 address must be in brackets, as in tcp://[::1]:22")
        ignored = [
            name for name, there in (("user", url.userinfo), ("query", url.query), ("fragment", url.fragment)) if there
        ]
        warnings.extend(f"the {name} part of the address is ignored" for name in ignored)
    return warnings


def redacted(service: Service) -> str:
    """Return `str(service)` without user information, for logs and messages."""
    if not isinstance(service, HttpService) or "@" not in service.url:
        return str(service)
    return _USER_PART.sub(r"\1", service.url)


def without_passwords(value: Any) -> Any:
    """Return a JSON value in which no text has a URL with user information, for logs."""
    if isinstance(value, str):
        return _USER_ANYWHERE.sub(r"\1", value) if "@" in value else value
    if isinstance(value, list):
        return [without_passwords(entry) for entry in value]
    if isinstance(value, dict):
        return {name: without_passwords(entry) for name, entry in value.items()}
    return value


def is_stream(service: Service) -> bool:
    """Say whether visitors reach this service with bytes over a stream, not with HTTP."""
    return isinstance(service, StreamService | BastionService | SocksService)


def is_http(service: Service) -> bool:
    """Say whether requests are forwarded to this service as HTTP."""
    return isinstance(service, HttpService | UnixService | HelloService | FilesService)
