"""The hybrid key exchange agrees on one secret, refuses malformed shares, and leaves other peers their curves."""

from __future__ import annotations

from typing import cast

import pytest
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pyconnector.transport.quic.aioquic_engine.hybrid_group import HybridContext, HybridShare, answer_share
from pyconnector.transport.settings import ALPN, EDGE_SERVER_NAME
from tests.transport.pairs.aioquic_pair import credentials

CLIENT, SERVER = ("192.0.2.1", 1), ("192.0.2.2", 2)


class HybridQuic(QuicConnection):
    """aioquic's connection with the hybrid group and nothing else of ours."""

    hybrid_only = False

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        HybridContext.adopt(self.tls, hybrid_only=self.hybrid_only)


class HybridOnlyQuic(HybridQuic):
    hybrid_only = True


def test_both_sides_compute_one_secret() -> None:
    share = HybridShare()
    assert len(share.public) == 1184 + 32
    answer, secret = answer_share(share.public)
    assert len(answer) == 1088 + 32
    assert len(secret) == 64
    assert share.secret(answer) == secret
    assert HybridShare().secret(answer) != secret


@pytest.mark.parametrize("change", [b"", b"x"])
def test_shares_of_another_length_are_refused(change: bytes) -> None:
    share = HybridShare()
    answer, _secret = answer_share(share.public)
    cut = len(share.public) - 1
    with pytest.raises(ValueError, match="length"):
        answer_share(share.public + change if change else share.public[:cut])
    with pytest.raises(ValueError, match="length"):
        share.secret(answer + change if change else answer[:-1])


def test_a_curve_key_of_low_order_is_refused() -> None:
    share = HybridShare()
    answer, _secret = answer_share(share.public)
    with pytest.raises(ValueError, match=r"."):
        answer_share(share.public[:1184] + bytes(32))
    with pytest.raises(ValueError, match=r"."):
        share.secret(answer[:1088] + bytes(32))


def test_an_encapsulation_key_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        answer_share(b"\xff" * 1184 + HybridShare().public[1184:])


def _handshake(client_class: type[QuicConnection], server_class: type[QuicConnection]) -> list[events.QuicEvent]:
    """Run a handshake between sans-I/O connections; return what the client was told."""
    known = credentials()
    chain = x509.load_pem_x509_certificates(known.server.certificate_chain)
    client = client_class(
        configuration=QuicConfiguration(
            alpn_protocols=[ALPN], is_client=True, server_name=EDGE_SERVER_NAME, cafile=known.ca_file
        )
    )
    server = server_class(
        configuration=QuicConfiguration(
            alpn_protocols=[ALPN],
            is_client=False,
            certificate=chain[0],
            certificate_chain=chain[1:],
            private_key=load_pem_private_key(known.server.private_key, password=None),
        ),
        original_destination_connection_id=client.original_destination_connection_id,
    )
    client.connect(SERVER, 0.0)
    now = 0.0
    told: list[events.QuicEvent] = []
    for _ in range(6):
        now += 0.01
        for data, _address in client.datagrams_to_send(now):
            server.receive_datagram(data, CLIENT, now)
        for data, _address in server.datagrams_to_send(now):
            client.receive_datagram(data, SERVER, now)
        while (event := client.next_event()) is not None:
            told.append(event)
    while client.get_timer() is not None and now < 100:
        now = cast("float", client.get_timer())
        client.handle_timer(now)
        if client._state.name in ("CONNECTED", "FIRSTFLIGHT"):
            break
    while (event := client.next_event()) is not None:
        told.append(event)
    return told


@pytest.mark.parametrize(
    ("client_class", "server_class"),
    [
        (HybridQuic, HybridQuic),
        (HybridOnlyQuic, HybridQuic),
        (HybridQuic, QuicConnection),
        (QuicConnection, HybridQuic),
    ],
)
def test_handshakes_complete_with_and_without_the_group(
    client_class: type[QuicConnection], server_class: type[QuicConnection]
) -> None:
    told = _handshake(client_class, server_class)
    assert any(isinstance(event, events.HandshakeCompleted) for event in told)


def test_a_client_that_wants_the_group_alone_refuses_a_server_without_it() -> None:
    told = _handshake(HybridOnlyQuic, QuicConnection)
    assert not any(isinstance(event, events.HandshakeCompleted) for event in told)
    ends = [event for event in told if isinstance(event, events.ConnectionTerminated)]
    assert [end.error_code for end in ends] == [0x100 + 40]
