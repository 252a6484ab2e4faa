"""RPC streams of the edge: our two ends, and the library as either of them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest

from pyconnector.protocol.capnp_format.reader import Struct
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc.edge_rpc import (
    CONFIGURATION_MANAGER,
    SESSION_MANAGER,
    ConfigurationAnswered,
    ConfigurationPushed,
    EdgeRpcClient,
    EdgeRpcServer,
    UdpSessionAnswered,
    UdpSessionEndAnswered,
    UdpSessionEnded,
    UdpSessionRequested,
)
from pyconnector.protocol.rpc.messages import EMPTY, Body, Call, ImportedCap, encode_call, encode_results
from pyconnector.protocol.rpc.registration import CallFailed, ConversationEnded
from tests.support.wire.rpc_oracle import decoded, results, split

SESSION = UUID("8e7636c4-a49c-181f-ff81-5e20955bf9ff")


def connected() -> tuple[EdgeRpcClient, EdgeRpcServer]:
    client, server = EdgeRpcClient(), EdgeRpcServer()
    assert server.receive_data(client.bytes_to_send()) == []
    assert client.receive_data(server.bytes_to_send()) == []
    return client, server


def carried(client: EdgeRpcClient, server: EdgeRpcServer) -> Any:
    """What the server hears of the client's one call."""
    (event,) = server.receive_data(client.bytes_to_send())
    return event


def test_a_configuration_is_pushed_and_answered() -> None:
    client, server = connected()
    client.update_configuration(-3, b'{"ingress":[]}')
    event = carried(client, server)
    assert event == ConfigurationPushed(event.call, -3, b'{"ingress":[]}')
    assert "ingress" not in repr(event)
    server.answer_configuration(event.call, 2, "ingress: no rules")
    assert client.receive_data(server.bytes_to_send()) == [ConfigurationAnswered(2, "ingress: no rules")]
    server.answer_configuration(event.call, 3)
    assert server.bytes_to_send() == b""


def test_pushes_are_answered_by_their_own_calls() -> None:
    client, server = connected()
    client.update_configuration(1, b"a")
    client.update_configuration(2, b"b")
    first, second = server.receive_data(client.bytes_to_send())
    assert isinstance(first, ConfigurationPushed)
    assert isinstance(second, ConfigurationPushed)
    server.answer_configuration(second.call, 2)
    server.answer_configuration(first.call, 1)
    assert client.receive_data(server.bytes_to_send()) == [ConfigurationAnswered(2, ""), ConfigurationAnswered(1, "")]


@pytest.mark.parametrize("address", ["10.0.0.7", "2001:db8::7"])
def test_a_udp_session_is_asked_for(address: str) -> None:
    client, server = connected()
    client.register_udp_session(SESSION, ip_address(address), 53, 12.5, "a:b:0:1")
    event = carried(client, server)
    assert event == UdpSessionRequested(event.call, SESSION, ip_address(address), 53, 12.5, "a:b:0:1")
    server.answer_udp_session(event.call, spans=b"otlp")
    assert client.receive_data(server.bytes_to_send()) == [UdpSessionAnswered("", b"otlp")]


def test_no_idle_time_means_the_usual_one() -> None:
    client, server = connected()
    client.register_udp_session(SESSION, ip_address("::ffff:10.0.0.7"), 53)
    event = carried(client, server)
    assert event.idle_seconds == 210
    # An IPv4 address in IPv6's clothes is IPv4.
    assert event.destination_ip == ip_address("10.0.0.7")
    server.answer_udp_session(event.call, "too many active flows")
    assert client.receive_data(server.bytes_to_send()) == [UdpSessionAnswered("too many active flows")]


def test_a_udp_session_ends() -> None:
    client, server = connected()
    client.unregister_udp_session(SESSION, "session idle for 3m30s")
    event = carried(client, server)
    assert event == UdpSessionEnded(event.call, SESSION, "session idle for 3m30s")
    server.answer_udp_end(event.call)
    assert client.receive_data(server.bytes_to_send()) == [UdpSessionEndAnswered()]


def test_a_refused_end_is_an_exception() -> None:
    client, server = connected()
    client.unregister_udp_session(SESSION, "")
    server.answer_udp_end(carried(client, server).call, "datagram v3 does not support this")
    assert client.receive_data(server.bytes_to_send()) == [
        CallFailed("unregisterUdpSession", "datagram v3 does not support this")
    ]


def test_the_library_reads_our_calls() -> None:
    client, server = connected()
    server.receive_data(client.bytes_to_send())
    client.update_configuration(-1, b"{}")
    client.register_udp_session(SESSION, ip_address("10.0.0.7"), 65_535, 0.000_000_001, "t")
    client.unregister_udp_session(SESSION, "bye")
    said = [decoded(message) for message in split(client.bytes_to_send())]
    assert [(message["interface"], message["method"]) for message in said] == [
        (CONFIGURATION_MANAGER, 0),
        (SESSION_MANAGER, 0),
        (SESSION_MANAGER, 1),
    ]
    assert [message["params"] for message in said] == [
        {"version": -1, "config": b"{}"},
        {
            "sessionId": SESSION.bytes,
            "dstIp": b"\x0a\x00\x00\x07",
            "dstPort": 65_535,
            "closeAfterIdleHint": 1,
            "traceContext": "t",
        },
        {"sessionId": SESSION.bytes, "message": "bye"},
    ]


def test_the_library_reads_our_answers() -> None:
    client, server = connected()
    client.update_configuration(1, b"{}")
    client.register_udp_session(SESSION, ip_address("10.0.0.7"), 1)
    first, second = server.receive_data(client.bytes_to_send())
    server.answer_configuration(first.call, -7, "no")  # type: ignore[union-attr]
    server.answer_udp_session(second.call, "never", b"x")  # type: ignore[union-attr]
    one, two = split(server.bytes_to_send())
    assert results(one, CONFIGURATION_MANAGER, 0) == {"result": {"latestAppliedVersion": -7, "err": "no"}}
    assert results(two, SESSION_MANAGER, 0) == {"result": {"err": "never", "spans": b"x"}}


def asked(method: tuple[int, int], params: Body) -> tuple[list[Any], dict[str, Any], bytes]:
    """What a server hears and says where such a call arrives."""
    _, server = connected()
    heard = server.receive_data(encode_call(Call(9, ImportedCap(0), *method, Struct.empty()), params))
    answer = server.bytes_to_send()
    return list(heard), decoded(answer), answer


@pytest.mark.parametrize("size", [0, 1, 3, 5, 15, 17])
def test_an_address_that_is_none_is_refused_with_a_result(size: int) -> None:
    def fill(params: Any) -> None:
        params.set_data(0, SESSION.bytes)
        params.set_data(1, b"x" * size)

    heard, _, answer = asked((SESSION_MANAGER, 0), Body(2, 3, fill))
    assert heard == []
    assert results(answer, SESSION_MANAGER, 0)["result"]["err"] == "unable to parse destination IP"


@pytest.mark.parametrize("method", [(SESSION_MANAGER, 0), (SESSION_MANAGER, 1)])
def test_a_session_id_of_another_size_gets_an_exception(method: tuple[int, int]) -> None:
    heard, said, _ = asked(method, Body(2, 3, lambda params: params.set_data(0, b"x" * 15)))
    assert heard == []
    assert said["exception"]["reason"] == "a session id has 15 bytes instead of 16"


@pytest.mark.parametrize("method", [(SESSION_MANAGER, 2), (CONFIGURATION_MANAGER, 1), (7, 0)])
def test_unknown_methods_get_an_exception(method: tuple[int, int]) -> None:
    heard, said, _ = asked(method, EMPTY)
    assert heard == []
    assert said["exception"]["type"] == "unimplemented"


def test_an_answer_out_of_shape_fails_the_call() -> None:
    client, _ = connected()
    client.bytes_to_send()
    client.update_configuration(1, b"{}")
    question = decoded(split(client.bytes_to_send())[-1])["question"]
    (event,) = client.receive_data(encode_results(question, Body(0, 1, lambda r: r.set_data(0, b"x"))))
    assert event == CallFailed("updateConfiguration", "a pointer leads to something other than a struct")


def test_either_end_takes_note_of_the_end() -> None:
    client, server = connected()
    client.update_configuration(1, b"{}")
    assert [type(event) for event in client.receive_eof()] == [CallFailed, ConversationEnded]
    assert [type(event) for event in server.receive_eof()] == [ConversationEnded]
    with pytest.raises(ProtocolError, match="over"):
        client.update_configuration(1, b"{}")
    client, server = connected()
    client.close()
    assert server.receive_data(client.bytes_to_send()) == [ConversationEnded("rpc: shutdown")]
    server.close()
    assert server.bytes_to_send() == b""
    assert "EdgeRpcServer" in repr(server)
    assert "EdgeRpcClient" in repr(client)
