"""The control stream: a connector registers with an edge, and takes leave (wire.md 4.2 and 5).

`RegistrationClient` is the connector's end, `RegistrationServer` the edge's. Both take bytes and give bytes and events;
timeouts are the caller's. A `Registration` holds the tunnel's secret, which never shows in a repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc import conversation as rpc
from pyconnector.protocol.rpc.messages import EMPTY, Body, ExceptionType
from pyconnector.protocol.rpc.registration_values import (
    DUPLICATE_CAUSE,
    ConnectionDetails,
    Refusal,
    Registration,
    packed_ip,
    read_outcome,
    read_registration,
    write_details,
    write_refusal,
    write_registration,
)

__all__ = [
    "DUPLICATE_CAUSE",
    "CallFailed",
    "ClientEvent",
    "ConnectionDetails",
    "ConversationEnded",
    "LocalConfigurationAccepted",
    "LocalConfigurationReceived",
    "Refusal",
    "Refused",
    "RegisterRequested",
    "Registered",
    "Registration",
    "RegistrationClient",
    "RegistrationServer",
    "ServerEvent",
    "UnregisterRequested",
    "Unregistered",
    "packed_ip",
]

#: Interface RegistrationServer and its methods.
INTERFACE: Final = 0xF71695EC7FE85497
REGISTER, UNREGISTER, UPDATE_LOCAL_CONFIGURATION = 0, 1, 2
_NAMES: Final = ("registerConnection", "unregisterConnection", "updateLocalConfiguration")


class Registered(NamedTuple):
    """The edge accepted the connection."""

    details: ConnectionDetails


class Refused(NamedTuple):
    """The edge refused the connection."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class LocalConfigurationAccepted:
    """The edge took note of the local configuration."""


@dataclass(frozen=True, slots=True)
class Unregistered:
    """The edge will send no new requests here."""


class CallFailed(NamedTuple):
    """A call came to nothing: an exception, an answer out of shape, or the end of the conversation."""

    method: str
    reason: str


class RegisterRequested(NamedTuple):
    """A connector wants to be registered: `accept` or `refuse`."""

    registration: Registration


@dataclass(frozen=True, slots=True)
class LocalConfigurationReceived:
    """A connector tells its configuration (JSON): `acknowledge_local_configuration`."""

    config: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnregisterRequested:
    """A connector takes leave: `acknowledge_unregister`."""


class ConversationEnded(NamedTuple):
    """Nothing more will come: the peer ended or aborted it, or broke the protocol."""

    reason: str


ClientEvent: TypeAlias = (
    Registered | Refused | LocalConfigurationAccepted | Unregistered | CallFailed | ConversationEnded
)
ServerEvent: TypeAlias = RegisterRequested | LocalConfigurationReceived | UnregisterRequested | ConversationEnded


class RegistrationClient:
    """The connector's end of a control stream. It asks for the edge's capability as soon as it is made."""

    def __init__(self) -> None:
        self._rpc = rpc.Conversation(hosts=False)
        self._rpc.bootstrap()
        self._calls: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<RegistrationClient {self._rpc!r}>"

    def register(self, registration: Registration) -> None:
        """Ask to be registered. `Registered`, `Refused` or `CallFailed` will follow.

        Raises:
            ProtocolError: the conversation is over.
        """
        self._call(REGISTER, Body(1, 3, lambda params: write_registration(params, registration)))

    def update_local_configuration(self, config: bytes) -> None:
        """Tell the edge the local configuration (wire.md 5.6).

        Raises:
            ProtocolError: the conversation is over.
        """
        self._call(UPDATE_LOCAL_CONFIGURATION, Body(0, 1, lambda params: params.set_data(0, config)))

    def unregister(self) -> None:
        """Take leave: after `Unregistered` no new request comes, while running ones go on.

        Raises:
            ProtocolError: the conversation is over.
        """
        self._call(UNREGISTER, EMPTY)

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
        """Take note that the edge finished its side of the stream. Idempotent."""
        return self._translate(self._rpc.receive_eof())

    def _call(self, method: int, params: Body) -> None:
        self._calls[self._rpc.call(INTERFACE, method, params)] = method

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
    def _returned(method: int, event: rpc.Returned) -> ClientEvent:
        if event.results is None:
            return CallFailed(_NAMES[method], event.reason)
        if method == UNREGISTER:
            return Unregistered()
        if method == UPDATE_LOCAL_CONFIGURATION:
            return LocalConfigurationAccepted()
        try:
            outcome = read_outcome(event.results.struct(0))
        except ProtocolError as error:
            return CallFailed(_NAMES[method], str(error))
        return Refused(outcome) if isinstance(outcome, Refusal) else Registered(outcome)


class RegistrationServer:
    """The edge's end of a control stream."""

    def __init__(self) -> None:
        self._rpc = rpc.Conversation(hosts=True)
        # Answers still owed, by method, the oldest first.
        self._owed: dict[int, list[int]] = {REGISTER: [], UNREGISTER: [], UPDATE_LOCAL_CONFIGURATION: []}

    def __repr__(self) -> str:
        return f"<RegistrationServer {self._rpc!r}>"

    def accept(self, details: ConnectionDetails) -> None:
        """Answer the oldest `RegisterRequested`. Does nothing where the connector no longer waits."""
        self._rpc.expect_configuration()
        self._answer(REGISTER, Body(0, 1, lambda results: write_details(results, details)))

    def refuse(self, refusal: Refusal) -> None:
        """Answer the oldest `RegisterRequested`. Does nothing where the connector no longer waits."""
        self._answer(REGISTER, Body(0, 1, lambda results: write_refusal(results, refusal)))

    def acknowledge_local_configuration(self) -> None:
        """Answer the oldest `LocalConfigurationReceived`. Does nothing where the connector no longer waits."""
        self._answer(UPDATE_LOCAL_CONFIGURATION, EMPTY)

    def acknowledge_unregister(self) -> None:
        """Answer the oldest `UnregisterRequested`. Does nothing where the connector no longer waits."""
        self._answer(UNREGISTER, EMPTY)

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
        """Take note that the connector finished its side of the stream. Idempotent."""
        return self._translate(self._rpc.receive_eof())

    def _answer(self, method: int, results: Body) -> None:
        owed = self._owed[method]
        while owed:
            answer = owed.pop(0)
            if self._rpc.is_awaited(answer):
                self._rpc.return_results(answer, results)
                return

    def _translate(self, events: list[rpc.Event]) -> list[ServerEvent]:
        result: list[ServerEvent] = []
        for event in events:
            match event:
                case rpc.Called():
                    try:
                        self._called(event, result)
                    except ProtocolError as error:
                        self._rpc.return_exception(event.answer, str(error))
                case rpc.Ended(reason):
                    result.append(ConversationEnded(reason))
                case rpc.Returned():  # pragma: no cover - this end calls nothing
                    raise AssertionError("an answer reached an end that asked nothing")
        return result

    def _called(self, call: rpc.Called, result: list[ServerEvent]) -> None:
        if call.interface != INTERFACE or call.method not in self._owed:
            reason = f"method {call.method} of interface {call.interface:#x} is unknown"
            self._rpc.return_exception(call.answer, reason, ExceptionType.UNIMPLEMENTED)
            return
        if call.method == REGISTER:
            result.append(RegisterRequested(read_registration(call.params)))
        elif call.method == UNREGISTER:
            result.append(UnregisterRequested())
        else:
            result.append(LocalConfigurationReceived(call.params.data(0)))
        owed = self._owed[call.method]
        # Forget calls that were cancelled since, or a peer could grow this without end.
        owed[:] = [answer for answer in owed if self._rpc.is_awaited(answer)]
        owed.append(call.answer)
