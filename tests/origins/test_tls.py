"""TLS towards services: what is trusted, whose name is expected, and the sentence for each refusal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyconnector.ingress.config.services import parse_service
from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.origins.base import OriginError
from pyconnector.origins.build import ALPN_HTTP2, build_origin
from pyconnector.origins.net.ca_pool import MAX_POOL_BYTES
from pyconnector.origins.net.dial import Dialer, Endpoint, Target
from pyconnector.origins.net.tls import TlsClient, TlsContexts
from tests.origins.support import get
from tests.origins.test_dial import close_at_once, failure_of, wait_for_close
from tests.support.identity.certificates import Authority
from tests.support.peers.raw_origin import raw_origin
from tests.support.wire.bodies import Body

if TYPE_CHECKING:
    from tests.support.peers.raw_origin import Peer


def tls_dialer(authority: Authority | None, *, verify: bool = True, timeout: float = 5.0) -> Dialer:
    context = TlsContexts().client(ca_pool=str(authority.path) if authority else "", verify=verify)
    return Dialer(tls=TlsClient(context=context, timeout=timeout))


@pytest.mark.usefixtures("each_loop")
async def test_a_certificate_of_the_pool_is_trusted_for_its_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async with raw_origin(wait_for_close, tls=authority.server("app.test", "127.0.0.1")) as origin:
        endpoint = Endpoint(host="127.0.0.1", port=origin.port)
        for name in ("app.test", ""):
            transport, _ = await tls_dialer(authority).connect(endpoint, asyncio.Protocol, server_name=name)
            assert transport.get_extra_info("ssl_object") is not None
            transport.close()
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("each_loop")
async def test_a_wrong_name_is_refused_with_the_names_of_the_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async with raw_origin(wait_for_close, tls=authority.server("one.test", "*.two.test", "10.1.2.3")) as origin:
        endpoint = Endpoint(host="127.0.0.1", port=origin.port)
        shown = f"the certificate of 127.0.0.1:{origin.port}"
        names = "it is for one.test, *.two.test, 10.1.2.3 (originServerName tells which to expect)"
        dialer = tls_dialer(authority)
        assert await failure_of(dialer, endpoint, "app.test") == f"{shown} does not fit app.test: {names}"
        assert await failure_of(dialer, endpoint) == f"{shown} does not fit 127.0.0.1: {names}"


@pytest.mark.usefixtures("each_loop")
async def test_many_names_and_nasty_names_stay_one_short_line(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    names = ["evil\n2024 INFO all fine.test", *[f"{'x' * 60}.{n}.test" for n in range(30)]]

    async with raw_origin(wait_for_close, tls=authority.server(*names)) as origin:
        endpoint = Endpoint(host="127.0.0.1", port=origin.port)
        sentence = await failure_of(tls_dialer(authority), endpoint, "app.test")
        assert sentence.isprintable()
        assert len(sentence) < 1200
        assert "…" in sentence


@pytest.mark.usefixtures("each_loop")
async def test_expired_and_unknown_certificates_are_told_apart(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "A Stranger")

    async with (
        raw_origin(wait_for_close, tls=authority.server("app.test", days=-1)) as expired,
        raw_origin(wait_for_close, tls=stranger.server("app.test")) as unknown,
    ):
        endpoint = Endpoint(host="127.0.0.1", port=expired.port)
        sentence = await failure_of(tls_dialer(authority), endpoint, "app.test")
        assert sentence == f"the certificate of {endpoint} has expired"
        endpoint = Endpoint(host="127.0.0.1", port=unknown.port)
        sentence = await failure_of(tls_dialer(authority), endpoint, "app.test")
        assert sentence.startswith(f"the certificate of {endpoint} was issued by an unknown authority (")
        assert sentence.endswith("caPool names a file with authorities to trust")


@pytest.mark.usefixtures("each_loop")
async def test_no_verification_takes_any_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async with raw_origin(wait_for_close, tls=authority.server("other.test", days=-1)) as origin:
        dialer = tls_dialer(None, verify=False)
        transport, _ = await dialer.connect(
            Endpoint(host="127.0.0.1", port=origin.port), asyncio.Protocol, server_name="app.test"
        )
        transport.close()


@pytest.mark.usefixtures("each_loop")
async def test_a_plain_server_and_a_closing_one_are_told_apart(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def plain(peer: Peer) -> None:
        await peer.some()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await peer.closed()

    async with raw_origin(plain) as speaking, raw_origin(close_at_once) as closing:
        endpoint = Endpoint(host="127.0.0.1", port=speaking.port)
        assert await failure_of(tls_dialer(authority), endpoint, "a.test") == f"{endpoint} does not speak TLS"
        endpoint = Endpoint(host="127.0.0.1", port=closing.port)
        assert await failure_of(tls_dialer(authority), endpoint, "a.test") == (
            f"{endpoint} closed the connection during the TLS handshake"
        )


@pytest.mark.usefixtures("each_loop")
async def test_the_tls_timeout_ends_the_handshake_and_cancelling_does_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def silent(peer: Peer) -> None:
        await peer.rest()

    async with raw_origin(silent) as origin:
        endpoint = Endpoint(host="127.0.0.1", port=origin.port)
        assert await failure_of(tls_dialer(authority, timeout=0.05), endpoint, "a.test") == (
            f"the TLS handshake with {endpoint} took longer than 0.05 s"
        )
        task = asyncio.create_task(tls_dialer(authority).connect(endpoint, asyncio.Protocol, server_name="a.test"))
        while len(origin.peers) < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(0.1):
            while origin.running:
                await asyncio.sleep(0.001)


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("name", ["a..b", "x" * 70 + ".test", "a\0b", ".test", "bü\udc80.test"])
async def test_a_name_that_tls_cannot_carry_is_a_failure_like_another(tmp_path: Path, name: str) -> None:
    authority = Authority(tmp_path)

    async with raw_origin(wait_for_close, tls=authority.server("app.test")) as origin:
        endpoint = Endpoint(host="127.0.0.1", port=origin.port)
        sentence = await failure_of(tls_dialer(authority), endpoint, name)
        assert sentence.isprintable()


@pytest.mark.usefixtures("each_loop")
async def test_tls_over_a_unix_socket_verifies_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    path = str(tmp_path / "app.sock")
    async with raw_origin(wait_for_close, path=path, tls=authority.server("app.test")):
        transport, _ = await tls_dialer(authority).connect(
            Endpoint(path=path), asyncio.Protocol, server_name="app.test"
        )
        transport.close()
        assert "does not fit other.test: it is for app.test" in await failure_of(
            tls_dialer(authority), Endpoint(path=path), "other.test"
        )


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("nothing here\n"), "it holds no certificate in PEM form"),
        (
            lambda path: path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "it holds no certificate that can be read",
        ),
        (lambda path: path.mkdir(), "it is no regular file"),
        (lambda path: os.mkfifo(path), "it is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
        (lambda path: path.write_bytes(b"x" * (MAX_POOL_BYTES + 1)), "it is larger than 1048576 bytes"),
    ],
)
def test_whatever_is_wrong_with_a_pool_gets_the_same_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], object], cause: str
) -> None:
    path = tmp_path / "pool.pem"
    make(path)
    with pytest.raises(OriginError) as caught:
        TlsContexts().client(ca_pool=str(path))
    assert str(caught.value) == (
        f"caPool {path} cannot be used; it must be a file of certificates in PEM form that may be read, "
        "of at most 1024 KiB"
    )
    assert f"caPool {path}: {cause}" in caplog.text


def test_a_pool_may_hold_comments_in_any_encoding(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pool = tmp_path / "pool.pem"
    pool.write_bytes(b"# Z\xc3\xbcrich \xff\n" + authority.path.read_bytes() + b"\xe9\n")
    assert authority.certificate.serial_number in {
        int(str(certificate["serialNumber"]), 16)
        for certificate in TlsContexts().client(ca_pool=str(pool)).get_ca_certs()
    }


def test_contexts_are_made_once_and_trust_the_system(tmp_path: Path) -> None:
    contexts = TlsContexts()
    first = contexts.client()
    assert contexts.client() is first
    assert contexts.client(verify=False) is not first
    issuers = str(first.get_ca_certs())
    assert "CloudFlare Origin SSL Certificate Authority" in issuers
    assert "CloudFlare Origin SSL ECC Certificate Authority" in issuers


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("name", ["nas.test", "127.0.0.1"])
async def test_a_common_name_does_not_name_a_service(tmp_path: Path, name: str) -> None:
    authority = Authority(tmp_path)

    async with raw_origin(wait_for_close, tls=authority.server(common_name=name)) as origin:
        endpoint = Endpoint(host="127.0.0.1", port=origin.port)
        assert await failure_of(tls_dialer(authority), endpoint, name) == (
            f"the certificate of 127.0.0.1:{origin.port} does not fit {name}: it has no names (subjectAltName), "
            "and a Common Name does not count"
        )


def test_no_context_takes_a_common_name(tmp_path: Path) -> None:
    from pyconnector.connector import access_keys
    from pyconnector.origins.net import tls

    contexts = [TlsContexts().client(), TlsContexts().client(verify=False), tls._blind_context()]
    [handler] = [
        handler
        for handler in vars(access_keys._opener(access_keys._Connections()))["handlers"]
        if isinstance(handler, urllib.request.HTTPSHandler)
    ]
    contexts.append(vars(handler)["_context"])
    assert not any(context.hostname_checks_common_name for context in contexts)


async def test_a_final_dot_is_neither_sent_nor_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.server("nas.test")
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def resolve(host: str, port: int) -> list[Target]:
        assert host == "nas.test.", "the resolver needs the dot: it spares a search"
        return [(socket.AF_INET, ("127.0.0.1", port))]

    async with raw_origin(wait_for_close, tls=context) as origin:
        client = TlsClient(context=TlsContexts().client(ca_pool=str(authority.path)))
        dialer = Dialer(tls=client, resolve=resolve)
        for server_name in ("", "nas.test."):
            endpoint = Endpoint(host="nas.test.", port=origin.port)
            transport, _ = await dialer.connect(endpoint, asyncio.Protocol, server_name=server_name)
            transport.close()
            await asyncio.sleep(0.01)
    assert asked == ["nas.test", "nas.test"]


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("alpn", [(), ALPN_HTTP2], ids=["HTTP/1.1", "HTTP/2"])
async def test_an_alert_after_the_handshake_is_named(tmp_path: Path, alpn: tuple[str, ...]) -> None:
    """On TLS 1.3 a service says only after the handshake that it wants a certificate of its client."""
    authority = Authority(tmp_path)
    context = authority.server("127.0.0.1")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.path)
    context.set_alpn_protocols(list(alpn) or ["http/1.1"])

    def refuse(listener: socket.socket) -> None:
        """A TLS server that reads on after its alert, so that no reset overtakes it."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_side=True)
        sock, _ = listener.accept()
        with sock, contextlib.suppress(ConnectionError):
            while data := sock.recv(65536):
                incoming.write(data)
                with contextlib.suppress(ssl.SSLError):
                    session.do_handshake()
                sock.sendall(outgoing.read())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = OriginSettings(ca_pool=str(authority.path), http2_origin=bool(alpn))
        origin = build_origin(parse_service(f"https://127.0.0.1:{listener.getsockname()[1]}"), settings)
        await origin.start()
        refusing = asyncio.ensure_future(asyncio.to_thread(refuse, listener))
        with pytest.raises(OriginError, match=r"\(TLS alert: certificate required\)$"):
            await origin.serve(get(), Body())
        await origin.close()
        await refusing
