"""What a registration says and what the edge answers, as values and as Cap'n Proto structs (wire.md 4.2, 5.2, 5.4).

`registration` carries them in its conversations; import the values from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from uuid import UUID

from pyconnector.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from pyconnector.protocol.capnp_format.reader import Struct
    from pyconnector.protocol.capnp_format.writer import StructWriter

#: The cause by which an edge tells that it holds this connection already.
DUPLICATE_CAUSE: Final = "EDUPCONN"

_NANOSECONDS: Final = 1_000_000_000
_LONGEST_RETRY_SECONDS: Final = 9_000_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a connector says of itself when it registers one connection (wire.md 5.2)."""

    account_tag: str
    tunnel_secret: bytes = field(repr=False)
    tunnel_id: UUID
    connection_index: int
    client_id: UUID
    features: tuple[str, ...] = ()
    version: str = ""
    arch: str = ""
    origin_local_ip: bytes = b""
    "16 bytes, IPv4 mapped into IPv6, or empty: see `packed_ip`. Nobody relies on it."
    replace_existing: bool = False
    compression_quality: int = 0
    previous_attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionDetails:
    """What the edge says of a connection that it accepted."""

    connection_id: UUID
    location: str
    remotely_managed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why the edge refuses, and whether and when to come again."""

    cause: str
    retry_after: float = 0.0
    "Seconds."
    should_retry: bool = False

    @property
    def duplicate(self) -> bool:
        """Whether the edge holds a connection of this index already."""
        return self.cause == DUPLICATE_CAUSE


def packed_ip(address: str) -> bytes:
    """Return an address as a registration carries it: 16 bytes, IPv4 mapped; b"" if it is none."""
    try:
        packed = ip_address(address.partition("%")[0]).packed
    except ValueError:
        return b""
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


def write_registration(params: StructWriter, registration: Registration) -> None:
    """Write the params of registerConnection."""
    params.set_uint(0, 1, registration.connection_index)
    auth = params.struct(0, 0, 2)
    auth.set_text(0, registration.account_tag)
    auth.set_data(1, registration.tunnel_secret)
    params.set_data(1, registration.tunnel_id.bytes)
    options = params.struct(2, 1, 2)
    options.set_flag(0, registration.replace_existing)
    # Both counts are single bytes on the wire; a retry counter may have outgrown its.
    options.set_uint(1, 1, registration.compression_quality & 0xFF)
    options.set_uint(2, 1, registration.previous_attempts & 0xFF)
    client = options.struct(0, 0, 4)
    client.set_data(0, registration.client_id.bytes)
    client.set_texts(1, registration.features)
    client.set_text(2, registration.version)
    client.set_text(3, registration.arch)
    options.set_data(1, registration.origin_local_ip)


def read_registration(params: Struct) -> Registration:
    """Read the params of registerConnection.

    Raises:
        ProtocolError: they are malformed.
    """
    auth, options = params.struct(0), params.struct(2)
    client = options.struct(0)
    return Registration(
        account_tag=_text(auth.text(0)),
        tunnel_secret=auth.data(1),
        tunnel_id=_uuid(params.data(1), "tunnel id"),
        connection_index=params.uint(0, 1),
        # Only a label, whose length nobody checks: the recorded one has 6 bytes.
        client_id=UUID(bytes=client.data(0)[:16].ljust(16, b"\0")),
        features=tuple(_text(feature) for feature in client.texts(1)),
        version=_text(client.text(2)),
        arch=_text(client.text(3)),
        origin_local_ip=options.data(1),
        replace_existing=options.flag(0),
        compression_quality=options.uint(1, 1),
        previous_attempts=options.uint(2, 1),
    )


def write_details(results: StructWriter, details: ConnectionDetails) -> None:
    """Write the results of a registerConnection that was accepted."""
    response = results.struct(0, 1, 1)
    response.set_uint(0, 2, 1)
    content = response.struct(0, 1, 2)
    content.set_flag(0, details.remotely_managed)
    content.set_data(0, details.connection_id.bytes)
    content.set_text(1, details.location)


def write_refusal(results: StructWriter, refusal: Refusal) -> None:
    """Write the results of a registerConnection that was refused."""
    content = results.struct(0, 1, 1).struct(0, 2, 1)
    content.set_sint(0, 8, round(min(max(refusal.retry_after, 0.0), _LONGEST_RETRY_SECONDS) * _NANOSECONDS))
    content.set_flag(64, refusal.should_retry)
    content.set_text(0, refusal.cause)


def read_outcome(response: Struct) -> ConnectionDetails | Refusal:
    """Read the results of registerConnection.

    Raises:
        ProtocolError: they are malformed.
    """
    kind = response.uint(0, 2)
    content = response.struct(0)
    if kind == 0:
        return Refusal(
            cause=_text(content.text(0)),
            retry_after=max(content.sint(0, 8), 0) / _NANOSECONDS,
            should_retry=content.flag(64),
        )
    if kind == 1:
        return ConnectionDetails(
            connection_id=_uuid(content.data(0), "connection id"),
            location=_text(content.text(1)),
            remotely_managed=content.flag(0),
        )
    raise ProtocolError(f"a registration's result is of unknown kind {kind}")


def _uuid(value: bytes, what: str) -> UUID:
    if len(value) != 16:
        raise ProtocolError(f"a {what} has {len(value)} bytes instead of 16")
    return UUID(bytes=value)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
