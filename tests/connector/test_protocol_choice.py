"""Each connection falls back to HTTP/2 alone, and is tried over QUIC again."""

from __future__ import annotations

import pytest

from pyconnector.connector.link.edge_connection import Ended, EndKind, Plan
from pyconnector.connector.link.protocol_choice import FAILURES, ProtocolChoice
from pyconnector.protocol.rpc.registration import Refusal

SILENT = Ended(kind=EndKind.UNREACHABLE, reason="no answer")


def attempt(choice: ProtocolChoice, index: int = 0) -> Plan:
    return Plan(index=index, address=("192.0.2.1", 7844), protocol=choice.protocol(index))


@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_a_chosen_protocol_stays(protocol: str) -> None:
    choice = ProtocolChoice(protocol)
    for _ in range(10):
        choice.failed(attempt(choice), SILENT)
        assert choice.protocol(0) == protocol
    assert not choice.is_open
    assert not choice.fallen


def test_one_failure_is_enough_where_quic_never_worked() -> None:
    choice = ProtocolChoice("auto")
    assert choice.protocol(0) == "quic"
    choice.failed(attempt(choice), SILENT)
    assert choice.protocol(0) == "http2"


def test_where_quic_worked_it_is_given_time() -> None:
    choice = ProtocolChoice("auto")
    choice.registered(attempt(choice))
    for _ in range(FAILURES - 1):
        choice.failed(attempt(choice), SILENT)
        assert choice.protocol(0) == "quic"
    choice.failed(attempt(choice), SILENT)
    assert choice.protocol(0) == "http2"
    assert choice.protocol(1) == "quic"


@pytest.mark.parametrize(
    "ended",
    [
        Ended(kind=EndKind.UNREACHABLE, reason="no way", no_route=True),
        Ended(kind=EndKind.UNREACHABLE, reason="whose is that?", untrusted=True),
        Ended(kind=EndKind.REFUSED, reason="no", refusal=Refusal(cause="no", retry_after=0.0, should_retry=True)),
    ],
    ids=["no route", "untrusted", "refused"],
)
def test_what_is_not_the_protocols_fault_changes_nothing(ended: Ended) -> None:
    choice = ProtocolChoice("auto")
    for _ in range(10):
        choice.failed(attempt(choice), ended)
    assert choice.protocol(0) == "quic"


def test_new_connections_follow_the_first() -> None:
    choice = ProtocolChoice("auto")
    choice.failed(attempt(choice), SILENT)
    choice.registered(attempt(choice))
    assert choice.protocol(1) == "http2"
    choice.registered(attempt(choice, 1))
    assert sorted(choice.fallen) == [0, 1]


def test_where_http2_fails_too_both_take_turns() -> None:
    choice = ProtocolChoice("auto")
    tried = []
    for _ in range(6):
        plan = attempt(choice)
        tried.append(plan.protocol)
        choice.failed(plan, SILENT)
    assert tried == ["quic", "http2"] * 3


def test_a_lost_connection_keeps_its_protocol_until_the_return() -> None:
    choice = ProtocolChoice("auto")
    choice.failed(attempt(choice), SILENT)
    choice.registered(attempt(choice))
    assert choice.protocol(0) == "http2"
    choice.return_to_quic()
    assert (choice.protocol(0), choice.fallen) == ("quic", {})
    choice.failed(attempt(choice), SILENT)
    assert choice.protocol(0) == "quic", "the probe has shown that it works"


@pytest.mark.parametrize("worked", [False, True])
def test_so_many_failures_as_are_wanted_come_before_http2(worked: bool) -> None:
    choice = ProtocolChoice("auto", failures=5)
    if worked:
        choice.registered(attempt(choice))
    for _ in range(4):
        choice.failed(attempt(choice), SILENT)
        assert choice.protocol(0) == "quic"
    choice.failed(attempt(choice), SILENT)
    assert choice.protocol(0) == "http2"
