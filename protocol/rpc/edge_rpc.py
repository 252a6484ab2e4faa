"""RPC streams besides the control stream: pushed configuration and UDP sessions of datagram version 2 (wire.md 10, 11).

`EdgeRpcClient` calls and `EdgeRpcServer` answers. The edge calls the connector for all three methods; a connector that
ends a UDP session by itself calls the edge in the same way. The stream's signature is no part of the conversation:
`streams.encode_rpc_opening` goes before the first bytes of a client, `OpeningDecoder` takes it off for a server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from pyconnector.protocol.datagrams import DEFAULT_IDLE_SECONDS
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc import conversation as rpc
from pyconnector.protocol.rpc.messages import EMPTY, Body, ExceptionType
from pyconnector.protocol.rpc.registration import CallFailed, ConversationEnded

if TYPE_CHECKING:
    from pyconnector.protocol.capnp_format.reader import Struct
    from pyconnector.protocol.capnp_format.writer import StructWriter

SESSION_MANAGER: Final = 0x839445A59FB01686
CONFIGURATION_MANAGER: Final = 0xB48EDFBDAA25DB04

_UPDATE_CONFIGURATION = (CONFIGURATION_MANAGER, 0)
_REGISTER_UDP = (SESSION_MANAGER, 0)
_UNREGISTER_UDP = (SESSION_MANAGER, 1)
_NAMES: Final = {
    _UPDATE_CONFIGURATION: "updateConfiguration",
    _REGISTER_UDP: "registerUdpSession",
    _UNREGISTER_UDP: "unregisterUdpSession",
}

_NANOSECONDS: Final = 1_000_000_000

Address: TypeAlias = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class ConfigurationPushed:
    """The edge brings a new configuration (JSON): `answer_configuration`."""

    call: int
    version: int
    config: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UdpSessionRequested:
    """The edge wants a UDP session to a private address: `answer_udp_session`."""

    call: int
    session_id: UUID
    destination_ip: Address
    destination_port: int
    idle_seconds: float
    trace: str
    "Jaeger form, or empty."


@dataclass(frozen=True, slots=True)
class UdpSessionEnded:
    """The caller ended a UDP session: `answer_udp_end`."""

    call: int
    session_id: UUID
    message: str


@dataclass(frozen=True, slots=True)
class ConfigurationAnswered:
    """The connector says which version is in force now, and why it is not the pushed one."""

    latest_applied_version: int
    error: str


@dataclass(frozen=True, slots=True)
class UdpSessionAnswered:
    """The connector made the session, or says why not."""

    error: str
    spans: bytes = b""
    "OTLP protobuf where the request was traced."


@dataclass(frozen=True, slots=True)
class UdpSessionEndAnswered:
    """The peer took note of the end of a session."""


ServerEvent: TypeAlias = ConfigurationPushed | UdpSessionRequested | UdpSessionEnded | ConversationEnded
ClientEvent: TypeAlias = (
    ConfigurationAnswered | UdpSessionAnswered | UdpSessionEndAnswered | CallFailed | ConversationEnded
)


class EdgeRpcServer:
    """The end that is called. Answer each event by its `call`; answering what nobody awaits does nothing."""

    def __init__(self) -> None:
        self._rpc = rpc.Conversation(hosts=True, max_message_bytes=rpc.MAX_CONFIGURATION_MESSAGE_BYTES)

    def __repr__(self) -> str:
        return f"<EdgeRpcServer {self._rpc!r}>"

    def answer_configuration(self, call: int, latest_applied_version: int, error: str = "") -> None:
        """Tell which version is in force now, and why it is not the pushed one."""

        def fill(results: StructWriter) -> None:
            response = results.struct(0, 1, 1)
            response.set_sint(0, 4, latest_applied_version)
            response.set_text(0, error)

        self._rpc.return_results(call, Body(0, 1, fill))

    def answer_udp_session(self, call: int, error: str = "", spans: bytes = b"") -> None:
        """Tell that the session was made, or why not. A failure is a result here, not an exception (wire.md 10)."""

        def fill(results: StructWriter) -> None:
            response = results.struct(0, 0, 2)
            response.set_text(0, error)
            response.set_data(1, spans)

        self._rpc.return_results(call, Body(0, 1, fill))

    def answer_udp_end(self, call: int, error: str = "") -> None:
        """Tell that the session has ended; an `error` becomes an exception."""
        if error:
            self._rpc.return_exception(call, error)
        else:
            self._rpc.return_results(call, EMPTY)

    def close(self) -> None:
        """End the conversation; what is to be sent for it is left in `bytes_to_send`. Idempotent."""
        self._rpc.close()

    def bytes_to_send(self) -> bytes:
        """Return what is to be written to the stream now, and forget it."""
        return self._rpc.bytes_to_send()

    def receive_data(self, data: bytes) -> list[ServerEvent]:
        """Absorb bytes of the stream and return what they bring. Never raises: see `ConversationEnded`."""
        return self._translate(self._rpc.receive_data(data))

    def receive_eof(self) -> list[ServerEvent]:
        """Take note that the caller finished its side of the stream. Idempotent."""
        return self._translate(self._rpc.receive_eof())

    def _translate(self, events: list[rpc.Event]) -> list[ServerEvent]:
        result: list[ServerEvent] = []
        for event in events:
            match event:
                case rpc.Called():
                    try:
                        called = self._called(event)
                    except ProtocolError as error:
                        self._rpc.return_exception(event.answer, str(error))
                    else:
                        result += called
                case rpc.Ended(reason):
                    result.append(ConversationEnded(reason))
                case rpc.Returned():  # pragma: no cover - this end calls nothing
                    raise AssertionError("an answer reached an end that asked nothing")
        return result

    def _called(self, call: rpc.Called) -> list[ServerEvent]:
        params = call.params
        method = (call.interface, call.method)
        if method == _UPDATE_CONFIGURATION:
            return [ConfigurationPushed(call.answer, params.sint(0, 4), params.data(0))]
        if method == _UNREGISTER_UDP:
            return [UdpSessionEnded(call.answer, _session_id(params), _text(params.text(1)))]
        if method == _REGISTER_UDP:
            session_id = _session_id(params)
            address = _address(params.data(1))
            if address is None:
                self.answer_udp_session(call.answer, "unable to parse destination IP")
                return []
            hint = params.sint(8, 8)
            return [
                UdpSessionRequested(
                    call.answer,
                    session_id,
                    address,
                    params.uint(0, 2),
                    hint / _NANOSECONDS if hint > 0 else float(DEFAULT_IDLE_SECONDS),
                    _text(params.text(2)),
                )
            ]
        reason = f"method {call.method} of interface {call.interface:#x} is unknown"
        self._rpc.return_exception(call.answer, reason, ExceptionType.UNIMPLEMENTED)
        return []


class EdgeRpcClient:
    """The end that calls. It asks for the peer's capability as soon as it is made."""

    def __init__(self) -> None:
        self._rpc = rpc.Conversation(hosts=False)
        self._rpc.bootstrap()
        self._calls: dict[int, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"<EdgeRpcClient {self._rpc!r}>"

    def update_configuration(self, version: int, config: bytes) -> None:
        """Push a configuration (JSON, wire.md 10); `ConfigurationAnswered` or `CallFailed` will follow.

        Raises:
            ProtocolError: the conversation is over.
        """

        def fill(params: StructWriter) -> None:
            params.set_sint(0, 4, version)
            params.set_data(0, config)

        self._call(_UPDATE_CONFIGURATION, Body(1, 1, fill))

    def register_udp_session(
        self,
        session_id: UUID,
        destination_ip: Address,
        destination_port: int,
        idle_seconds: float = 0.0,
        trace: str = "",
    ) -> None:
        """Ask for a UDP session; `UdpSessionAnswered` or `CallFailed` will follow.

        Raises:
            ProtocolError: the conversation is over.
        """

        def fill(params: StructWriter) -> None:
            params.set_uint(0, 2, destination_port)
            params.set_sint(8, 8, round(idle_seconds * _NANOSECONDS))
            params.set_data(0, session_id.bytes)
            params.set_data(1, destination_ip.packed)
            params.set_text(2, trace)

        self._call(_REGISTER_UDP, Body(2, 3, fill))

    def unregister_udp_session(self, session_id: UUID, message: str) -> None:
        """Tell that a UDP session has ended; `UdpSessionEndAnswered` or `CallFailed` will follow.

        Raises:
            ProtocolError: the conversation is over.
        """

        def fill(params: StructWriter) -> None:
            params.set_data(0, session_id.bytes)
            params.set_text(1, message)

        self._call(_UNREGISTER_UDP, Body(0, 2, fill))

    def close(self) -> None:
        """End the conversation; what is to be sent for it is left in `bytes_to_send`. Idempotent."""
        self._rpc.close()

    def bytes_to_send(self) -> bytes:
        """Return what is to be written to the stream now, and forget it."""
        return self._rpc.bytes_to_send()

    def receive_data(self, data: bytes) -> list[ClientEvent]:
        """Absorb bytes of the stream and return what they bring. Never raises: see `ConversationEnded`."""
        return self._translate(self._rpc.receive_data(data))

    def receive_eof(self) -> list[ClientEvent]:
        """Take note that the peer finished its side of the stream. Idempotent."""
        return self._translate(self._rpc.receive_eof())

    def _call(self, method: tuple[int, int], params: Body) -> None:
        self._calls[self._rpc.call(*method, params)] = method

    def _translate(self, events: list[rpc.Event]) -> list[ClientEvent]:
        result: list[ClientEvent] = []
        for event in events:
            match event:
                case rpc.Returned():
                    result.append(self._returned(self._calls.pop(event.question), event))
                case rpc.Ended(reason):
                    result.append(ConversationEnded(reason))
                case rpc.Called():  # pragma: no cover - this end hosts nothing that could be called
                    raise AssertionError("a call reached an end without a capability")
        return result

    @staticmethod
    def _returned(method: tuple[int, int], event: rpc.Returned) -> ClientEvent:
        if event.results is None:
            return CallFailed(_NAMES[method], event.reason)
        if method == _UNREGISTER_UDP:
            return UdpSessionEndAnswered()
        try:
            response = event.results.struct(0)
            if method == _UPDATE_CONFIGURATION:
                return ConfigurationAnswered(response.sint(0, 4), _text(response.text(0)))
            return UdpSessionAnswered(_text(response.text(0)), response.data(1))
        except ProtocolError as error:
            return CallFailed(_NAMES[method], str(error))


def _session_id(params: Struct) -> UUID:
    value = params.data(0)
    if len(value) != 16:
        raise ProtocolError(f"a session id has {len(value)} bytes instead of 16")
    return UUID(bytes=value)


def _address(value: bytes) -> Address | None:
    if len(value) == 4:
        return IPv4Address(value)
    if len(value) == 16:
        address = IPv6Address(value)
        return address.ipv4_mapped or address
    return None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
