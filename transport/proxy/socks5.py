"""SOCKS5 CONNECT as its client (RFC 1928), with user name and password (RFC 1929). Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pyconnector.transport.proxy.handshake import ProxyRefused, shown
from pyconnector.web.host_port import join_host_port

if TYPE_CHECKING:
    from pyconnector.transport.proxy.address import Proxy

_VERSION, _PASSWORD_VERSION = 5, 1
_NO_AUTHENTICATION, _PASSWORD, _NONE_ACCEPTABLE = 0, 2, 0xFF
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
#: Bytes of a bound address, but for a name's.
_LENGTHS = {_IPV4: 4, _IPV6: 16}
#: Reply codes (RFC 1928 6).
_REPLIES = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "expired on the way",
    7: "command not supported",
    8: "address type not supported",
}


class Socks5:
    """One CONNECT."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self.done = False
        self._proxy = proxy
        self._place = join_host_port(host, port)
        self._target = _address_bytes(host) + port.to_bytes(2)
        self._data = b""
        self._state = "method"

    def __repr__(self) -> str:
        return f"<Socks5 {self._place} through {self._proxy} {self._state}>"

    def start(self) -> bytes:
        """See `Handshake`."""
        methods = [_NO_AUTHENTICATION, _PASSWORD] if self._proxy.username else [_NO_AUTHENTICATION]
        return bytes([_VERSION, len(methods), *methods])

    def receive_data(self, data: bytes) -> bytes:
        """See `Handshake`. At most 262 bytes wait for the rest of an answer."""
        self._data += data
        if self._state == "reply":
            self._reply()
            return b""
        if len(self._data) < 2:
            self._check_version(_VERSION if self._state == "method" else _PASSWORD_VERSION)
            return b""
        value = self._data[1]
        self._check_version(_VERSION if self._state == "method" else _PASSWORD_VERSION)
        if len(self._data) > 2:
            raise ProxyRefused("sends more than its answer before anything was asked through it")
        self._data = b""
        if self._state == "method":
            return self._after_method(value)
        if value:
            raise ProxyRefused("does not accept these credentials")
        return self._request()

    def _check_version(self, expected: int) -> None:
        if self._data and self._data[0] != expected:
            raise ProxyRefused(f'does not answer as a SOCKS5 proxy does: "{shown(self._data)}"')

    def _after_method(self, method: int) -> bytes:
        if method == _NO_AUTHENTICATION:
            return self._request()
        if method == _PASSWORD and self._proxy.username:
            self._state = "password"
            name, password = self._proxy.username, self._proxy.password
            return bytes([_PASSWORD_VERSION, len(name)]) + name + bytes([len(password)]) + password
        if method == _NONE_ACCEPTABLE and not self._proxy.username:
            raise ProxyRefused("asks for a user name and password; give them as socks5://USER:PASSWORD@HOST:PORT")
        if method == _NONE_ACCEPTABLE:
            raise ProxyRefused("takes neither a user name with password nor nobody in particular")
        raise ProxyRefused(f"chose an authentication that was not offered ({method})")

    def _request(self) -> bytes:
        self._state = "reply"
        return bytes([_VERSION, _CONNECT, 0]) + self._target

    def _reply(self) -> None:
        self._check_version(_VERSION)
        data = self._data
        if len(data) >= 2 and data[1]:  # some leave the rest out
            reason = _REPLIES.get(data[1], f"error {data[1]}")
            raise ProxyRefused(f"refuses to connect to {self._place}: {reason}")
        if len(data) < 5:
            return
        length = _LENGTHS.get(data[3]) if data[3] != _NAME else 1 + data[4]
        if length is None:
            raise ProxyRefused("answers with an address of an unknown kind")
        if len(data) > 6 + length:
            raise ProxyRefused("sends more than its answer before anything was asked through it")
        self.done = len(data) == 6 + length


def _address_bytes(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii" if host.isascii() else "idna")
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed
