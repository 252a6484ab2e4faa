"""The recorded conversations of the reference, replayed against either end of ours."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest

from pyconnector.protocol.rpc.registration import (
    ConnectionDetails,
    ConversationEnded,
    LocalConfigurationAccepted,
    LocalConfigurationReceived,
    Refusal,
    Refused,
    Registered,
    RegisterRequested,
    Registration,
    RegistrationClient,
    RegistrationServer,
    Unregistered,
    UnregisterRequested,
    packed_ip,
)
from tests.support.wire.rpc_oracle import decoded, results, split
from tests.support.wire.vectors import vectors

ARGUMENTS = vectors("registration")["arguments"]
SESSIONS = {session["name"]: session for session in vectors("registration")["sessions"]}
INTERFACE = 0xF71695EC7FE85497

REGISTRATION = Registration(
    account_tag=ARGUMENTS["account_tag"],
    tunnel_secret=ARGUMENTS["tunnel_secret_text"].encode(),
    tunnel_id=UUID(ARGUMENTS["tunnel_id"]),
    connection_index=ARGUMENTS["conn_index"],
    client_id=UUID(bytes=b"UUUUUU" + bytes(10)),
    features=tuple(ARGUMENTS["features"]),
    version=ARGUMENTS["version"],
    arch=ARGUMENTS["arch"],
    origin_local_ip=ip_address(ARGUMENTS["origin_local_ip"]).packed,
    previous_attempts=ARGUMENTS["num_previous_attempts"],
)
CONFIGURATION = b'{"ingress":[{"service":"http_status:503"}]}'
RETRY_AFTER = {"refused": (0.0, False), "retry_after": (1.5, True), "duplicate": (1.0, True)}


def outcome(name: str) -> ConnectionDetails | Refusal:
    session = SESSIONS[name]
    if name == "accepted":
        details = session["details"]
        return ConnectionDetails(
            connection_id=UUID(details["uuid"]),
            location=details["location"],
            remotely_managed=details["remotely_managed"],
        )
    retry_after, should_retry = RETRY_AFTER[name]
    return Refusal(cause=session["error"], retry_after=retry_after, should_retry=should_retry)


def transcript(name: str, side: str) -> list[bytes]:
    return [bytes.fromhex(part["hex"]) for part in SESSIONS[name]["transcript"] if part["from"] == side]


def assert_same(ours: bytes, theirs: bytes) -> None:
    """Both say the same; results are compared where the caller knows the method."""
    said = [decoded(message) for message in split(ours)]
    for message in said:
        if "options" in message.get("params", {}):
            # The recorded client id is shorter than ours, which are UUIDs, can be.
            client = message["params"]["options"]["client"]
            client["clientId"] = client["clientId"].rstrip(b"\0")
    assert said == [decoded(message) for message in split(theirs)]


@pytest.mark.parametrize("name", SESSIONS)
def test_the_client_says_what_the_reference_connector_says(name: str) -> None:
    client = RegistrationClient()
    bootstrap, *rest = transcript(name, "connector")
    capability, registered, *answers = transcript(name, "edge")
    said = client.bytes_to_send()
    assert_same(said, bootstrap)
    # In half of the sessions the call overtook the answer to the bootstrap.
    pipelined = "promisedAnswer" in str(decoded(split(rest[0])[0]).get("target"))
    if pipelined:
        client.register(REGISTRATION)
    assert client.receive_data(capability) == []
    if not pipelined:
        client.register(REGISTRATION)
    assert_same(client.bytes_to_send(), rest[0])
    assert client.receive_data(registered) == [
        Registered(outcome(name)) if name == "accepted" else Refused(outcome(name))  # type: ignore[arg-type]
    ]
    if name == "accepted":
        client.update_local_configuration(CONFIGURATION)
        assert_same(client.bytes_to_send(), rest[1])
        assert client.receive_data(answers[0]) == [LocalConfigurationAccepted()]
        client.unregister()
        assert_same(client.bytes_to_send(), rest[2])
        assert client.receive_data(answers[1]) == [Unregistered()]
    assert_same(client.bytes_to_send(), rest[-1])


@pytest.mark.parametrize("name", SESSIONS)
def test_the_server_says_what_the_reference_edge_says(name: str) -> None:
    server = RegistrationServer()
    parts = transcript(name, "connector")
    capability, registered, *answers = transcript(name, "edge")
    assert server.receive_data(parts[0]) == []
    assert_same(server.bytes_to_send(), capability)
    assert server.receive_data(parts[1]) == [RegisterRequested(REGISTRATION)]
    value = outcome(name)
    if isinstance(value, Refusal):
        server.refuse(value)
    else:
        server.accept(value)
    said = server.bytes_to_send()
    assert_same(said, registered)
    assert results(said, INTERFACE, 0) == results(registered, INTERFACE, 0)
    if name == "accepted":
        assert server.receive_data(parts[2]) == [LocalConfigurationReceived(CONFIGURATION)]
        server.acknowledge_local_configuration()
        said = server.bytes_to_send()
        assert_same(said, answers[0])
        assert results(said, INTERFACE, 2) == results(answers[0], INTERFACE, 2)
        assert server.receive_data(parts[3]) == [UnregisterRequested()]
        server.acknowledge_unregister()
        assert_same(server.bytes_to_send(), answers[1])
    assert server.receive_data(parts[-1]) == []
    assert server.bytes_to_send() == b""
    assert server.receive_eof() == [ConversationEnded("the peer ended the stream")]


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("side", ["connector", "edge"])
def test_recorded_bytes_may_come_in_any_pieces(name: str, side: str) -> None:
    everything = b"".join(transcript(name, side))
    if side == "connector":
        make: Any = RegistrationServer
    else:

        def make() -> RegistrationClient:
            client = RegistrationClient()
            client.register(REGISTRATION)
            return client

    # The later answers of the accepted session belong to calls that this client does not make.
    data = everything if side == "connector" else b"".join(transcript(name, side)[:2])
    data = data if pipelined(name) else data[:0]
    whole = make().receive_data(data)
    in_bytes = make()
    assert [event for byte in data for event in in_bytes.receive_data(bytes([byte]))] == whole
    for cut in range(len(data)):
        end = make()
        assert end.receive_data(data[:cut]) + end.receive_data(data[cut:]) == whole


def pipelined(name: str) -> bool:
    return name in {"accepted", "refused"}


def test_addresses_are_packed_as_the_reference_packs_them() -> None:
    assert packed_ip("192.0.2.7") == ip_address("::ffff:192.0.2.7").packed
    assert packed_ip("2001:db8::1") == ip_address("2001:db8::1").packed
    assert packed_ip("fe80::1%eth0") == ip_address("fe80::1").packed
    assert packed_ip("localhost") == b""
