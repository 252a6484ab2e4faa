"""One service from the command line, for a config without rules (reference/ingress.md 4.3)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

from pyconnector.ingress.config.errors import IngressError, RuleProblem
from pyconnector.ingress.config.services import BastionService, HelloService, Service, UnixService, parse_service
from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.ingress.config.urls import parse_url
from pyconnector.ingress.rules.hostnames import lookup_form
from pyconnector.ingress.rules.rules import Ingress, Rule
from pyconnector.web.host_port import split_host_port

_SCHEMES = ("http", "https", "rdp", "ssh", "smb", "tcp")


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleOrigin:
    """What the flags say. None where a flag, its variable and its config key are all unset."""

    hello_world: bool | None = None
    bastion: bool | None = None
    url: str | None = None
    unix_socket: str | None = None


def single_origin_ingress(origin: SingleOrigin, settings: OriginSettings | None = None) -> Ingress | None:
    """Return the one rule that the flags make, or None where none of them is set.

    The first that is set counts, in the order of the fields; a flag counts as set even where it says false.

    Raises:
        IngressError: the URL is none, or a flag excludes another; the path of the problem is the flag's name.
    """
    service = _service(origin)
    if service is None:
        return None
    return Ingress((Rule("", "", service, OriginSettings() if settings is None else settings),))


def _service(origin: SingleOrigin) -> Service | None:
    if origin.hello_world is not None:
        return HelloService()
    if origin.bastion is not None:
        return BastionService()
    if origin.url is not None and origin.unix_socket is not None:
        raise IngressError([RuleProblem(("unix-socket",), "--unix-socket must be used exclusively, without --url")])
    if origin.url is not None:
        try:
            return parse_service(normalise_url(origin.url))
        except ValueError as error:
            raise IngressError([RuleProblem(("url",), str(error))]) from error
    if origin.unix_socket is not None:
        if not origin.unix_socket:
            raise IngressError([RuleProblem(("unix-socket",), "the path of the socket is empty")])
        return UnixService(origin.unix_socket)
    return None


def normalise_url(text: str) -> str:
    """Return the address of a service for what a user gave as `--url`: `http://` is added, a path is dropped.

    A number alone is a port of this machine.

    Raises:
        ValueError: it is empty, no URL, or of a scheme that is not carried; its message is a sentence.
    """
    text = text.strip()
    if not text:
        raise ValueError("the URL should not be empty")
    if text.isascii() and text.isdigit():
        if not 1 <= int(text[:6]) <= 65535:
            raise ValueError(f"{text[:20]} is no port between 1 and 65535")
        return f"http://localhost:{int(text)}"
    if "://" not in text and (address := _bare_address(re.split(r"[/?#]", text, maxsplit=1)[0])):
        return f"http://{address}"
    with_scheme = text if "://" in text else f"http://{text}"
    url = parse_url(unquote(with_scheme))
    if url.scheme not in _SCHEMES:
        raise ValueError(f"{url.scheme or 'this'}:// is not carried; use one of {', '.join(_SCHEMES)}")
    if not url.hostname:
        raise ValueError("the URL has no hostname, as in http://localhost:8080")
    host = url.hostname if url.hostname.isascii() else lookup_form(url.hostname)
    if not host:
        raise ValueError("the hostname of the URL is not valid")
    bracketed = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{bracketed}" + (f":{url.port_text}" if url.port_text else "")


def _bare_address(text: str) -> str:
    """Return `text` with brackets where it is an IP address, with or without a port, else ""."""
    host, port = split_host_port(text) or (text[1:-1] if text.startswith("[") and text.endswith("]") else text, "")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    return (f"[{address}]" if address.version == 6 else str(address)) + (f":{port}" if port else "")
