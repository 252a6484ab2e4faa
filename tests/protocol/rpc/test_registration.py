"""Registration between our own two ends, and what either makes of a strange peer. The recorded ones: *_vectors."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from pyconnector.protocol.capnp_format import schemas
from pyconnector.protocol.capnp_format.reader import Struct
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc.conversation import MAX_CONFIGURATION_MESSAGE_BYTES, MAX_MESSAGE_BYTES, MAX_QUESTIONS
from pyconnector.protocol.rpc.messages import EMPTY, Body, Call, ImportedCap, encode_call, encode_finish, encode_results
from pyconnector.protocol.rpc.registration import (
    INTERFACE,
    CallFailed,
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
)
from tests.support.wire.rpc_oracle import decoded, split

REGISTRATION = Registration(
    account_tag="acct",
    tunnel_secret=b"\x00very secret\xff",
    tunnel_id=UUID(int=1),
    connection_index=3,
    client_id=UUID(int=2),
    features=("a", "b", ""),
    version="0.1.0",
    arch="linux_amd64",
    origin_local_ip=bytes(range(16)),
    replace_existing=True,
    compression_quality=255,
    previous_attempts=7,
)
DETAILS = ConnectionDetails(connection_id=UUID(int=9), location="local01", remotely_managed=True)


def connected() -> tuple[RegistrationClient, RegistrationServer]:
    client, server = RegistrationClient(), RegistrationServer()
    settle(client, server)
    return client, server


def settle(client: RegistrationClient, server: RegistrationServer) -> tuple[list[Any], list[Any]]:
    """Carry bytes to and fro until nobody has more to say; return what each heard."""
    heard: tuple[list[Any], list[Any]] = ([], [])
    while (up := client.bytes_to_send()) or (down := server.bytes_to_send()):
        if up:
            heard[1].extend(server.receive_data(up))
        else:
            heard[0].extend(client.receive_data(down))
    return heard


def test_a_whole_life() -> None:
    client, server = connected()
    client.register(REGISTRATION)
    assert settle(client, server) == ([], [RegisterRequested(REGISTRATION)])
    server.accept(DETAILS)
    assert settle(client, server) == ([Registered(DETAILS)], [])
    client.update_local_configuration(b"{}")
    assert settle(client, server) == ([], [LocalConfigurationReceived(b"{}")])
    server.acknowledge_local_configuration()
    assert settle(client, server) == ([LocalConfigurationAccepted()], [])
    client.unregister()
    assert settle(client, server) == ([], [UnregisterRequested()])
    server.acknowledge_unregister()
    assert settle(client, server) == ([Unregistered()], [])
    client.close()
    assert settle(client, server) == ([], [ConversationEnded("rpc: shutdown")])
    assert server.receive_eof() == []


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(cause="Unauthorized: Invalid tunnel secret"),
        Refusal(cause="EDUPCONN", retry_after=1.0, should_retry=True),
        Refusal(cause="draining", retry_after=0.25, should_retry=True),
        Refusal(cause=""),
    ],
)
def test_a_refusal_arrives_with_its_cause_and_hint(refusal: Refusal) -> None:
    client, server = connected()
    client.register(REGISTRATION)
    settle(client, server)
    server.refuse(refusal)
    assert settle(client, server) == ([Refused(refusal)], [])
    assert refusal.duplicate is (refusal.cause == "EDUPCONN")


@pytest.mark.parametrize(("given", "arrives"), [(-1.0, 0.0), (1e30, 9e9), (float("inf"), 9e9)])
def test_an_absurd_hint_is_bounded(given: float, arrives: float) -> None:
    client, server = connected()
    client.register(REGISTRATION)
    settle(client, server)
    server.refuse(Refusal(cause="x", retry_after=given))
    (heard,), _ = settle(client, server)
    assert isinstance(heard, Refused)
    assert heard.refusal.retry_after == arrives


def test_counts_beyond_a_byte_are_cut_as_the_reference_does() -> None:
    client, server = connected()
    client.register(
        Registration(
            account_tag="a",
            tunnel_secret=b"",
            tunnel_id=UUID(int=1),
            connection_index=0,
            client_id=UUID(int=1),
            previous_attempts=257,
        )
    )
    _, (heard,) = settle(client, server)
    assert heard.registration.previous_attempts == 1


def test_no_secret_shows() -> None:
    client, server = connected()
    client.register(REGISTRATION)
    _, (heard,) = settle(client, server)
    assert heard.registration.tunnel_secret == REGISTRATION.tunnel_secret
    assert "very" not in repr(heard)
    assert "very" not in repr(client) + repr(server)
    assert "token" not in repr(LocalConfigurationReceived(b'{"token": 1}'))


def test_a_bootstrap_on_the_control_stream_gets_an_exception() -> None:
    client = RegistrationClient()
    client.bytes_to_send()
    root = schemas.rpc().Message.new_message()
    root.init("bootstrap").questionId = 4
    assert client.receive_data(root.to_bytes()) == []
    (answer,) = split(client.bytes_to_send())
    assert decoded(answer)["exception"]["reason"] == "rpc: no bootstrap interface"


def test_calls_fail_with_the_conversation() -> None:
    client, _ = connected()
    client.register(REGISTRATION)
    reason = "the peer ended the stream"
    assert client.receive_eof() == [CallFailed("registerConnection", reason), ConversationEnded(reason)]
    with pytest.raises(ProtocolError, match="over"):
        client.register(REGISTRATION)
    with pytest.raises(ProtocolError, match="over"):
        client.unregister()


def answer_to(client: RegistrationClient, results: Body) -> list[Any]:
    """What the client hears where its call is answered with these results."""
    client.register(REGISTRATION)
    (call,) = split(client.bytes_to_send())[-1:]
    return client.receive_data(encode_results(decoded(call)["question"], results))


def details_with(uuid: bytes) -> Body:
    def fill(results: Any) -> None:
        response = results.struct(0, 1, 1)
        response.set_uint(0, 2, 1)
        response.struct(0, 1, 2).set_data(0, uuid)

    return Body(0, 1, fill)


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        (details_with(b"short"), "a connection id has 5 bytes instead of 16"),
        (details_with(b""), "a connection id has 0 bytes instead of 16"),
        (Body(0, 1, lambda r: r.struct(0, 1, 1).set_uint(0, 2, 2)), "unknown kind 2"),
        (Body(0, 1, lambda r: r.set_data(0, b"x")), "something other than a struct"),
    ],
)
def test_an_answer_out_of_shape_fails_the_call_alone(results: Body, reason: str) -> None:
    client, server = connected()
    (heard,) = answer_to(client, results)
    assert isinstance(heard, CallFailed)
    assert heard.method == "registerConnection"
    assert reason in heard.reason
    client.bytes_to_send()
    client.update_local_configuration(b"{}")
    assert [type(event) for event in server.receive_data(client.bytes_to_send())] == [LocalConfigurationReceived]


def asked(server: RegistrationServer, method: int, params: Body, *, interface: int = INTERFACE) -> list[Any]:
    call = Call(50, ImportedCap(0), interface, method, Struct.empty())
    return server.receive_data(encode_call(call, params))


@pytest.mark.parametrize(
    ("method", "interface", "params", "reason"),
    [
        (0, INTERFACE, Body(1, 3, lambda p: p.set_data(1, b"x" * 15)), "a tunnel id has 15 bytes instead of 16"),
        (0, INTERFACE, Body(1, 3, lambda p: p.set_data(0, b"x" * 16)), "something other than a struct"),
        (3, INTERFACE, EMPTY, "method 3 of interface 0xf71695ec7fe85497 is unknown"),
        (0, 0xABC, EMPTY, "method 0 of interface 0xabc is unknown"),
    ],
)
def test_a_strange_call_gets_an_exception(method: int, interface: int, params: Body, reason: str) -> None:
    _, server = connected()
    assert asked(server, method, params, interface=interface) == []
    (answer,) = split(server.bytes_to_send())
    assert reason in decoded(answer)["exception"]["reason"]
    assert decoded(answer)["exception"]["type"] == ("unimplemented" if "unknown" in reason else "failed")


def test_a_registration_that_was_cancelled_is_not_answered() -> None:
    client, server = connected()
    client.register(REGISTRATION)
    (call,) = split(client.bytes_to_send())
    server.receive_data(call)
    server.receive_data(encode_finish(decoded(call)["question"], release_result_caps=True))
    server.accept(DETAILS)
    assert server.bytes_to_send() == b""
    server.acknowledge_unregister()
    assert server.bytes_to_send() == b""


def test_calls_that_come_and_go_are_not_remembered() -> None:
    _, server = connected()
    call = encode_call(Call(50, ImportedCap(0), INTERFACE, 1, Struct.empty()), EMPTY)
    finish = encode_finish(50, release_result_caps=True)
    for _ in range(3 * MAX_QUESTIONS):
        assert server.receive_data(call + finish) == [UnregisterRequested()]
    assert sum(len(owed) for owed in server._owed.values()) <= MAX_QUESTIONS
    # The one that is awaited is answered, whatever came and went before it.
    assert server.receive_data(call) == [UnregisterRequested()]
    server.acknowledge_unregister()
    assert decoded(server.bytes_to_send())["answer"] == 50


def test_two_registrations_are_answered_in_order() -> None:
    client, server = connected()
    client.register(REGISTRATION)
    client.register(REGISTRATION)
    settle(client, server)
    server.refuse(Refusal(cause="first"))
    server.accept(DETAILS)
    assert settle(client, server)[0] == [Refused(Refusal(cause="first")), Registered(DETAILS)]


def test_a_registered_connector_may_have_ten_thousand_rules() -> None:
    rules = b"r" * (MAX_CONFIGURATION_MESSAGE_BYTES - 10_000)
    client, server = connected()
    client.register(REGISTRATION)
    settle(client, server)
    server.accept(DETAILS)
    settle(client, server)
    client.update_local_configuration(rules)
    assert settle(client, server)[1] == [LocalConfigurationReceived(rules)]


def test_a_stranger_may_send_no_such_amount() -> None:
    client, server = connected()
    client.update_local_configuration(b"r" * MAX_MESSAGE_BYTES)
    (ended,) = settle(client, server)[1]
    assert "beyond the limit" in ended.reason


def test_ends_show_their_state() -> None:
    client, server = connected()
    client.register(REGISTRATION)
    assert repr(client) == "<RegistrationClient <Conversation open, 1 asked, 0 to answer>>"
    server.close()
    assert "over: closed by this side" in repr(server)
    settle(client, server)
