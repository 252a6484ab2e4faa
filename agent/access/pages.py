"""Single requests to an edge, for commands that ask one thing and end. They block."""

from __future__ import annotations

import base64
import http.client
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyconnector.agent.access.errors import AccessError
from pyconnector.agent.access.handshake import LOGIN_PATH
from pyconnector.transport.proxy.address import HTTP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyconnector.agent.access.place import Place
    from pyconnector.transport.proxy.address import Proxy

#: Bytes of an answer that are read, and seconds that it may take.
MAX_BODY: Final = 1024 * 1024
TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: int
    fields: dict[str, str]
    "By lower-case name."
    body: bytes

    @property
    def wants_login(self) -> bool:
        """Whether it leads to a login."""
        return 300 <= self.status < 400 and LOGIN_PATH in self.fields.get("location", "").partition("?")[0]


class Pages:
    """Asks one edge; redirects are not followed."""

    def __init__(self, context: ssl.SSLContext, user_agent: str, proxy: Proxy | None = None) -> None:
        """`proxy` is the one by which it is reached; of those in the clear alone."""
        self._context = context
        self._user_agent = user_agent
        self._proxy = proxy

    def ask(
        self, method: str, place: Place, target: str, fields: Iterable[tuple[str, str]] = (), timeout: float = TIMEOUT
    ) -> Page:
        """Send one request and return its answer; `timeout` is in seconds.

        Raises:
            AccessError: there is none.
        """
        plain = self._connection(place, timeout)
        try:
            plain.connect()
            if place.tls:
                plain.sock = self._context.wrap_socket(plain.sock, server_hostname=place.host)
            headers = {"Host": place.authority, "User-Agent": self._user_agent, "Connection": "close", **dict(fields)}
            if method == "POST":
                headers["Content-Length"] = "0"
            plain.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                plain.putheader(name, value)
            plain.endheaders()
            answer = plain.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Page(answer.status, found, answer.read(MAX_BODY))
        except ssl.SSLCertVerificationError as error:
            raise AccessError(f"the certificate of {place.host} is not trusted: {error.verify_message}") from error
        except TimeoutError:
            raise AccessError(f"{place.host} did not answer within {timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise AccessError(f"{place.host} cannot be reached: {reason}") from error
        finally:
            plain.close()

    def _connection(self, place: Place, timeout: float) -> http.client.HTTPConnection:
        proxy, (host, port) = self._proxy, place.address
        if proxy is None:
            return http.client.HTTPConnection(host, port, timeout=timeout)
        if proxy.kind != HTTP:
            raise AccessError(f"{place.host} cannot be asked through {proxy}: only an http:// proxy can be used here")
        connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=timeout)
        fields = {}
        if proxy.username:
            shown = base64.b64encode(proxy.username + b":" + proxy.password).decode("ascii")
            fields["Proxy-Authorization"] = f"Basic {shown}"
        connection.set_tunnel(host, port, fields)
        return connection
