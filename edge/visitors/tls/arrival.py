"""How a visitor came: in the clear, or over TLS for some name with some certificate. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pyconnector.edge.visitors.forwarding import host_name
from pyconnector.identity.management_token import HOSTNAMES


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a socket's handshake says of the requests on it."""

    scheme: str = "http"
    server_name: str = ""
    "What the visitor asked for by SNI (RFC 6066 3); empty without."
    covered: frozenset[str] = frozenset()
    "The names of the certificate that it was shown, perhaps `*.suffix`."

    def is_misdirected(self, host: bytes) -> bool:
        """Return whether a request for `host` does not belong on this connection (RFC 9110 7.4, 421).

        One that asked for a name gets that name, and those that the certificate it was shown speaks for: a browser
        puts those together on one HTTP/2 connection. One that asked for none is not judged.
        """
        if not self.server_name:
            return False
        name = host_name(host)
        if name in HOSTNAMES:
            return False  # no certificate here could speak for them; the token of each request does
        return name != self.server_name and not covers(self.covered, name)


#: A visitor without TLS.
IN_THE_CLEAR = Arrival()


def covers(names: frozenset[str], name: str) -> bool:
    """Return whether a lower-case name is among `names`: itself, or by `*.` for its first label (RFC 9525 6.3)."""
    return name in names or "*." + name.partition(".")[2] in names
