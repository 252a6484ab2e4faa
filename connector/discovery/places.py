"""Where connectors look the edge up: at the provider, or at a mesh of one's own. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

DOMAIN = "argotunnel.com"
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Below which domain the SRV records of the edge are, and who is asked for them."""

    domain: str = DOMAIN
    server: tuple[str, int] | None = None
    "A DNS server; None for those that this machine is set up with."

    @property
    def is_own(self) -> bool:
        """Whether it is a mesh, whose edges may be fewer than the connections to them."""
        return self != PROVIDER


PROVIDER = Discovery()


def parse_discovery(text: str) -> Discovery:
    """Read `dns://HOST:PORT`, `dns://HOST:PORT/DOMAIN` or `DOMAIN`.

    Raises:
        ValueError: it is none of these. The message is a sentence.
    """
    if "://" not in text:
        return Discovery(domain=_domain(text))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("this is no address of a DNS server; write dns://HOST:PORT") from None
    if parts.scheme != "dns" or not parts.hostname or not port or parts.username is not None:
        raise ValueError("this is no address of a DNS server; write dns://HOST:PORT")
    if parts.query or parts.fragment:
        raise ValueError("behind dns://HOST:PORT there is at most a domain; write dns://HOST:PORT/DOMAIN")
    domain = parts.path.strip("/")
    return Discovery(domain=_domain(domain) if domain else DOMAIN, server=(parts.hostname, port))


def _domain(text: str) -> str:
    labels = text.removesuffix(".").split(".")
    if len(text) > 200 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("this is neither a domain nor dns://HOST:PORT")
    return ".".join(labels)
