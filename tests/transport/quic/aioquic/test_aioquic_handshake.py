"""Who is trusted, what a user is told where a connection comes to nothing, and that nothing is left behind then."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from service_identity.cryptography import extract_patterns

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.quic.aioquic_engine import listener as aioquic_listener
from pyconnector.transport.quic.aioquic_engine.engine import connect, listen
from pyconnector.transport.quic.aioquic_engine.hybrid_group import HybridContext
from pyconnector.transport.quic.failures import plain_names
from pyconnector.transport.settings import ClientTls, QuicSettings, ServerTls
from pyconnector.transport.tls.certificates import make_authority
from tests.transport.conformance import PATIENCE, until
from tests.transport.pairs.aioquic_pair import aioquic_pair, client_tls, credentials, dial, serve
from tests.transport.pairs.relay import relay_to

if TYPE_CHECKING:
    from pyconnector.transport.seam import Address


@pytest.mark.usefixtures("loop_errors")
async def test_both_ends_agree_on_the_post_quantum_group() -> None:
    async with aioquic_pair() as (client, server):
        for end in (client, server):
            assert isinstance(end.core.tls, HybridContext)
            assert end.core.tls.is_hybrid


@pytest.mark.usefixtures("loop_errors")
async def test_post_quantum_only_connects_to_an_edge_that_has_the_group() -> None:
    async with serve() as server:
        client = await dial(server.listener.address, tls=client_tls(post_quantum_only=True))
        client.close()


async def _failure(address: Address, tls: ClientTls, **options: float) -> ConnectFailed:
    settings = QuicSettings(handshake_timeout=options.get("handshake_timeout", 10.0))
    with pytest.raises(ConnectFailed) as caught:
        await connect(address, tls=tls, settings=settings, local_host=None, local_port=0)
    return caught.value


@pytest.mark.usefixtures("loop_errors")
async def test_a_certificate_of_an_unknown_authority_is_untrusted(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(make_authority("somebody else").certificate_pem)

    async with serve() as server:
        failure = await _failure(server.listener.address, ClientTls(ca_file=str(other)))
        assert failure.untrusted
        assert "quic.cftunnel.com" in failure.reason
        assert "self-signed" in failure.reason


@pytest.mark.usefixtures("loop_errors")
async def test_the_system_does_not_trust_our_test_authority() -> None:
    async with serve() as server:
        assert (await _failure(server.listener.address, ClientTls())).untrusted


@pytest.mark.usefixtures("loop_errors")
async def test_a_certificate_for_another_name_is_untrusted() -> None:
    async with serve() as server:
        tls = ClientTls(ca_file=credentials().ca_file, server_name="other.test")
        failure = await _failure(server.listener.address, tls)
        assert failure.untrusted
        assert failure.reason.endswith("hostname 'other.test' doesn't match 'quic.cftunnel.com'")


@pytest.mark.parametrize("names", [["edge.test", "*.edge.test"], ["edge.test", "192.0.2.1"], ["a.test", "2001:db8::1"]])
def test_names_that_do_not_match_are_shown_as_they_are_written(names: list[str]) -> None:
    certificate = x509.load_pem_x509_certificate(make_authority("names").issue(names)[0])
    patterns = ", ".join(repr(pattern) for pattern in extract_patterns(certificate))
    assert patterns.count("Pattern(") == 2
    assert plain_names(f"doesn't match either of {patterns}.") == f"doesn't match either of {str(names)[1:-1]}."


@pytest.mark.usefixtures("loop_errors")
@pytest.mark.parametrize(("content", "words"), [(None, "cannot read"), (b"nothing here", "no certificate")])
async def test_a_bad_file_of_authorities_is_said_at_once(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)

    failure = await _failure(("127.0.0.1", 9), ClientTls(ca_file=str(path)))
    assert words in failure.reason
    assert str(path) in failure.reason
    assert not failure.untrusted


@pytest.mark.usefixtures("loop_errors")
async def test_another_application_protocol_is_named_as_the_cause() -> None:
    async with serve() as server:
        tls = ClientTls(ca_file=credentials().ca_file, alpn="h3")
        failure = await _failure(server.listener.address, tls)
        assert "not the tunnel protocol" in failure.reason


@pytest.mark.usefixtures("loop_errors")
async def test_nobody_listening_is_found_out_quickly() -> None:
    async with asyncio.timeout(PATIENCE):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            address = sock.getsockname()
        failure = await _failure(address, client_tls(), handshake_timeout=60.0)
        assert not failure.untrusted
        assert str(address[1]) in failure.reason


@pytest.mark.usefixtures("loop_errors")
async def test_a_silent_peer_is_given_up_after_the_handshake_timeout() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        failure = await _failure(sock.getsockname(), client_tls(), handshake_timeout=0.1)
        assert "did not answer within 0.1 s" in failure.reason


@pytest.mark.usefixtures("loop_errors")
async def test_a_cancelled_connect_frees_its_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, socket.socket(type=socket.SOCK_DGRAM) as free:
        silent.bind(("127.0.0.1", 0))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        dialling = asyncio.create_task(
            connect(
                silent.getsockname(),
                tls=client_tls(),
                settings=QuicSettings(),
                local_host="127.0.0.1",
                local_port=port,
            )
        )
        while not dialling.done() and len(asyncio.all_tasks()) < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", port))


@pytest.mark.usefixtures("loop_errors")
async def test_a_port_can_be_asked_for_and_is_told() -> None:
    async with serve() as server:
        first = await dial(server.listener.address)
        port = first.local_address[1]
        first.close()
        second = await connect(
            server.listener.address, tls=client_tls(), settings=QuicSettings(), local_host=None, local_port=port
        )
        assert second.local_address == ("127.0.0.1", port)
        with pytest.raises(ConnectFailed, match=rf"from \*:{server.listener.address[1]}: "):
            await connect(
                server.listener.address,
                tls=client_tls(),
                settings=QuicSettings(),
                local_host=None,
                local_port=server.listener.address[1],
            )
        second.close()


@pytest.mark.usefixtures("loop_errors")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_names_and_numbers_lead_to_the_same_edge(host: str) -> None:
    if socket.getaddrinfo(host, 1, type=socket.SOCK_DGRAM)[0][4][0] != "127.0.0.1":
        pytest.skip(f"{host} is another address first on this machine")

    async with serve() as server:
        client = await dial((host, server.listener.address[1]))
        assert client.peer_address == server.listener.address
        client.close()


@pytest.mark.usefixtures("loop_errors")
async def test_ipv6_works_however_the_address_is_written() -> None:
    try:
        listener = await listen(
            "::1", 0, tls=credentials().server, settings=QuicSettings(), on_connection=lambda _: None
        )
    except ConnectFailed as exc:
        pytest.skip(f"no IPv6 on this machine: {exc.reason}")
    client = await dial(("0:0:0:0:0:0:0:1", listener.address[1]))
    assert client.peer_address[0] == "::1"
    client.close()
    await listener.close()
    await listener.close()


@pytest.mark.usefixtures("loop_errors")
async def test_a_name_that_does_not_resolve_is_said() -> None:
    assert "cannot resolve nowhere.invalid" in (await _failure(("nowhere.invalid", 1), client_tls())).reason


@pytest.mark.usefixtures("loop_errors")
async def test_a_certificate_that_does_not_fit_its_key_is_refused_without_showing_it() -> None:
    good = credentials().server
    _chain, other_key = make_authority("x").issue(["x.test"])
    bad: list[ServerTls] = [
        dataclasses.replace(good, private_key=other_key),
        dataclasses.replace(good, private_key=b"-----BEGIN PRIVATE KEY-----\nsecret\n"),
        dataclasses.replace(good, certificate_chain=b"nothing"),
    ]
    for tls in bad:
        with pytest.raises(ConnectFailed) as caught:
            await listen("127.0.0.1", 0, tls=tls, settings=QuicSettings(), on_connection=lambda _: None)
        assert "PRIVATE" not in caught.value.reason
        assert "secret" not in caught.value.reason


@pytest.mark.usefixtures("loop_errors")
async def test_an_address_in_use_is_said() -> None:
    async with serve() as server:
        with pytest.raises(ConnectFailed, match="cannot listen on"):
            await listen(
                *server.listener.address,
                tls=credentials().server,
                settings=QuicSettings(),
                on_connection=lambda _: None,
            )


@pytest.mark.usefixtures("loop_errors")
async def test_unknown_congestion_control_is_refused() -> None:
    with pytest.raises(ConnectFailed, match="congestion control 'vegas'"):
        await connect(
            ("127.0.0.1", 9),
            tls=client_tls(),
            settings=QuicSettings(congestion_control="vegas"),
            local_host=None,
            local_port=0,
        )


@pytest.mark.usefixtures("loop_errors")
async def test_half_open_handshakes_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioquic_listener, "HALF_OPEN_LIMIT", 3)

    async with serve(QuicSettings(handshake_timeout=0.3)) as server, relay_to(server.listener.address) as relay:
        relay.filter = lambda _data, up: int(up)  # answers never arrive
        settings = QuicSettings(handshake_timeout=0.6)
        dialling = [asyncio.create_task(dial(relay.address, settings)) for _ in range(8)]
        await until(lambda: "half_open=3" in repr(server.listener), "three handshakes are under way")
        await asyncio.sleep(0.1)
        assert "half_open=3" in repr(server.listener)
        await until(lambda: "half_open=0" in repr(server.listener), "handshakes time out")
        relay.filter = lambda _data, _up: 0
        outcomes = await asyncio.gather(*dialling, return_exceptions=True)
        assert all(isinstance(outcome, ConnectFailed) for outcome in outcomes)
        client = await dial(server.listener.address)
        await server.next()
        client.close()
        await until(lambda: "connections=0" in repr(server.listener), "the listener forgets a closed connection")
        assert repr(server.listener).endswith("ids=0>")
