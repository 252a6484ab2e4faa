from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingress.origins import dial
from ingress.origins.base import OriginError
from ingress.origins.dial import Dialer, DialSettings, Endpoint, Target
from ingress.origins.tls import TlsClient, TlsContexts
from tests.support.certificates import Authority
from tests.support.raw_origin import Peer, raw_origin

if TYPE_CHECKING:
    from tests.origins.conftest import Run

OPENING = (
    "Unable to reach the origin service. The service may be down or it may not be responding to traffic from "
    "pyconnector: "
)


async def wait_for_close(peer: Peer) -> None:
    await peer.closed()


async def close_at_once(peer: Peer) -> None:
    peer.end()


async def failure_of(dialer: Dialer, endpoint: Endpoint, server_name: str = "") -> str:
    with pytest.raises(OriginError) as caught:
        await dialer.connect(endpoint, asyncio.Protocol, server_name=server_name)
    assert caught.value.status == 502
    assert caught.value.reason.startswith(OPENING)
    return caught.value.reason.removeprefix(OPENING)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Silent:
    """A port on which connecting never gets an answer: its backlog is full, so the kernel drops each SYN."""

    def __enter__(self) -> int:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.fillers = [socket.socket() for _ in range(4)]
        for filler in self.fillers:
            filler.setblocking(False)
            filler.connect_ex(self.listener.getsockname())
        port: int = self.listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        for sock in (self.listener, *self.fillers):
            sock.close()


def test_a_tcp_service_is_reached_with_keepalive_and_without_delay(run: Run) -> None:
    async def scene() -> None:
        async with raw_origin(wait_for_close) as origin:
            dialer = Dialer(DialSettings(keepalive=7))
            transport, _ = await dialer.connect(Endpoint(host="127.0.0.1", port=origin.port), asyncio.Protocol)
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
            transport.close()

    run(scene())


@pytest.mark.parametrize(("setting", "wanted"), [(0, 15), (0.2, 1)])
def test_a_keepalive_of_zero_is_the_default_and_one_below_a_second_is_a_second(
    run: Run, setting: float, wanted: int
) -> None:
    async def scene() -> None:
        async with raw_origin(wait_for_close) as origin:
            sock = await Dialer(DialSettings(keepalive=setting)).open_socket(
                Endpoint(host="127.0.0.1", port=origin.port)
            )
            with sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == wanted

    run(scene())


def test_a_negative_keepalive_turns_it_off(run: Run) -> None:
    async def scene() -> None:
        async with raw_origin(wait_for_close) as origin:
            sock = await Dialer(DialSettings(keepalive=-1)).open_socket(Endpoint(host="127.0.0.1", port=origin.port))
            with sock:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0

    run(scene())


def test_a_unix_socket_is_reached(run: Run, tmp_path: Path) -> None:
    async def scene() -> None:
        path = str(tmp_path / "app.sock")
        async with raw_origin(wait_for_close, path=path):
            transport, _ = await Dialer().connect(Endpoint(path=path), asyncio.Protocol)
            transport.close()

    run(scene())


def test_failures_are_one_sentence_each(run: Run, tmp_path: Path) -> None:
    async def nobody(host: str, port: int) -> list[Target]:
        return []

    async def scene() -> None:
        port = closed_port()
        assert await failure_of(Dialer(), Endpoint(host="127.0.0.1", port=port)) == (
            f"127.0.0.1:{port} refused the connection"
        )
        assert await failure_of(Dialer(), Endpoint(path=str(tmp_path / "none"))) == (
            f"unix:{tmp_path / 'none'} does not exist"
        )
        unknown = await failure_of(Dialer(), Endpoint(host="no-such-host.invalid", port=80))
        assert unknown.startswith("the name in no-such-host.invalid:80 could not be resolved (")
        assert "has no address" in await failure_of(Dialer(resolve=nobody), Endpoint(host="empty", port=80))
        assert "a port between 1 and 65535" in await failure_of(Dialer(), Endpoint(host="127.0.0.1", port=0))
        assert "a port between 1 and 65535" in await failure_of(Dialer(), Endpoint(host="127.0.0.1", port=65536))

    run(scene())


def test_the_connect_timeout_ends_the_attempt(run: Run) -> None:
    async def scene() -> None:
        with Silent() as port:
            dialer = Dialer(DialSettings(connect_timeout=0.05))
            assert await failure_of(dialer, Endpoint(host="127.0.0.1", port=port)) == (
                f"127.0.0.1:{port} did not answer within 0.05 s"
            )

    run(scene())


def test_cancelling_a_dial_closes_its_sockets(run: Run) -> None:
    async def two(host: str, port: int) -> list[Target]:
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))] * 2

    async def scene() -> None:
        with Silent() as port:
            task = asyncio.create_task(Dialer(resolve=two).open_socket(Endpoint(host="twice", port=port)))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(scene())  # which looks for tasks and descriptors left over


def test_a_silent_address_does_not_hold_up_the_next_one(run: Run) -> None:
    async def scene() -> None:
        async with raw_origin(wait_for_close) as origin:
            with Silent() as silent:

                async def both(host: str, port: int) -> list[Target]:
                    return [(socket.AF_INET, ("127.0.0.1", silent)), (socket.AF_INET, ("127.0.0.1", origin.port))]

                began = time.monotonic()
                sock = await Dialer(resolve=both).open_socket(Endpoint(host="both", port=1))
                took = time.monotonic() - began
                with sock:
                    assert sock.getpeername()[1] == origin.port
                assert dial.ATTEMPT_DELAY <= took < 1.5

    run(scene())


def test_a_refusing_address_starts_the_next_one_at_once(run: Run) -> None:
    async def scene() -> None:
        async with raw_origin(wait_for_close) as origin:
            refusing = closed_port()

            async def both(host: str, port: int) -> list[Target]:
                return [(socket.AF_INET, ("127.0.0.1", refusing)), (socket.AF_INET, ("127.0.0.1", origin.port))]

            began = time.monotonic()
            with await Dialer(resolve=both).open_socket(Endpoint(host="both", port=1)) as sock:
                assert sock.getpeername()[1] == origin.port
            assert time.monotonic() - began < dial.ATTEMPT_DELAY

    run(scene())


def test_when_two_addresses_connect_at_once_one_is_closed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "ATTEMPT_DELAY", 0)

    async def scene() -> None:
        async with raw_origin(wait_for_close) as origin:

            async def twice(host: str, port: int) -> list[Target]:
                return [(socket.AF_INET, ("127.0.0.1", origin.port))] * 3

            for _ in range(10):
                (await Dialer(resolve=twice).open_socket(Endpoint(host="twice", port=1))).close()
            await asyncio.sleep(0.02)
            assert len(origin.peers) > 10, "the race was real"

    run(scene())  # which looks for descriptors left over


def test_without_happy_eyeballs_addresses_are_tried_one_after_another(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "MIN_SERIAL_ATTEMPT", 0.01)
    attempts: list[object] = []
    real = dial._attempt

    async def noted(target: Target) -> socket.socket:
        attempts.append(target[1])
        return await real(target)

    monkeypatch.setattr(dial, "_attempt", noted)

    async def scene() -> None:
        async with raw_origin(wait_for_close) as origin:
            with Silent() as silent:

                async def both(host: str, port: int) -> list[Target]:
                    return [(socket.AF_INET, ("127.0.0.1", silent)), (socket.AF_INET, ("127.0.0.1", origin.port))]

                dialer = Dialer(DialSettings(happy_eyeballs=False, connect_timeout=1.0), resolve=both)
                pending = asyncio.create_task(dialer.open_socket(Endpoint(host="both", port=1)))
                await asyncio.sleep(dial.ATTEMPT_DELAY + 0.1)
                assert attempts == [("127.0.0.1", silent)]
                with await pending as sock:  # after its half of the time the first gave way to the second
                    assert sock.getpeername()[1] == origin.port

    run(scene())


def test_every_address_failing_names_the_first_cause(run: Run) -> None:
    port = closed_port()

    async def both(host: str, port: int) -> list[Target]:
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET, ("127.0.0.2", port))]

    async def scene() -> None:
        for happy in (True, False):
            dialer = Dialer(DialSettings(happy_eyeballs=happy), resolve=both)
            assert await failure_of(dialer, Endpoint(host="both", port=port)) == f"both:{port} refused the connection"

    run(scene())


def test_families_take_turns() -> None:
    v6: list[Target] = [(socket.AF_INET6, (f"::{n}", 1, 0, 0)) for n in range(3)]
    v4: list[Target] = [(socket.AF_INET, ("127.0.0.1", 1))]
    assert dial._taking_turns([*v6, *v4]) == [v6[0], v4[0], v6[1], v6[2]]


# --- TLS -----------------------------------------------------------------------------------------------------------


def tls_dialer(authority: Authority | None, *, verify: bool = True, timeout: float = 5.0) -> Dialer:
    context = TlsContexts().client(ca_pool=str(authority.path) if authority else "", verify=verify)
    return Dialer(tls=TlsClient(context=context, timeout=timeout))


def test_a_certificate_of_the_pool_is_trusted_for_its_names(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def scene() -> None:
        async with raw_origin(wait_for_close, tls=authority.server("app.test", "127.0.0.1")) as origin:
            endpoint = Endpoint(host="127.0.0.1", port=origin.port)
            for name in ("app.test", ""):
                transport, _ = await tls_dialer(authority).connect(endpoint, asyncio.Protocol, server_name=name)
                assert transport.get_extra_info("ssl_object") is not None
                transport.close()
                await asyncio.sleep(0.01)

    run(scene())


def test_a_wrong_name_is_refused_with_the_names_of_the_certificate(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def scene() -> None:
        async with raw_origin(wait_for_close, tls=authority.server("one.test", "*.two.test", "10.1.2.3")) as origin:
            endpoint = Endpoint(host="127.0.0.1", port=origin.port)
            shown = f"the certificate of 127.0.0.1:{origin.port}"
            names = "it is for one.test, *.two.test, 10.1.2.3 (originServerName tells which to expect)"
            dialer = tls_dialer(authority)
            assert await failure_of(dialer, endpoint, "app.test") == f"{shown} does not fit app.test: {names}"
            assert await failure_of(dialer, endpoint) == f"{shown} does not fit 127.0.0.1: {names}"

    run(scene())


def test_many_names_and_nasty_names_stay_one_short_line(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    names = ["evil\n2024 INFO all fine.test", *[f"{'x' * 60}.{n}.test" for n in range(30)]]

    async def scene() -> None:
        async with raw_origin(wait_for_close, tls=authority.server(*names)) as origin:
            endpoint = Endpoint(host="127.0.0.1", port=origin.port)
            sentence = await failure_of(tls_dialer(authority), endpoint, "app.test")
            assert sentence.isprintable()
            assert len(sentence) < 1200
            assert "…" in sentence

    run(scene())


def test_expired_and_unknown_certificates_are_told_apart(run: Run, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "A Stranger")

    async def scene() -> None:
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

    run(scene())


def test_no_verification_takes_any_certificate(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def scene() -> None:
        async with raw_origin(wait_for_close, tls=authority.server("other.test", days=-1)) as origin:
            dialer = tls_dialer(None, verify=False)
            transport, _ = await dialer.connect(
                Endpoint(host="127.0.0.1", port=origin.port), asyncio.Protocol, server_name="app.test"
            )
            transport.close()

    run(scene())


def test_a_plain_server_and_a_closing_one_are_told_apart(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def plain(peer: Peer) -> None:
        await peer.some()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await peer.closed()

    async def scene() -> None:
        async with raw_origin(plain) as speaking, raw_origin(close_at_once) as closing:
            endpoint = Endpoint(host="127.0.0.1", port=speaking.port)
            assert await failure_of(tls_dialer(authority), endpoint, "a.test") == f"{endpoint} does not speak TLS"
            endpoint = Endpoint(host="127.0.0.1", port=closing.port)
            assert await failure_of(tls_dialer(authority), endpoint, "a.test") == (
                f"{endpoint} closed the connection during the TLS handshake"
            )

    run(scene())


def test_the_tls_timeout_ends_the_handshake_and_cancelling_does_too(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def silent(peer: Peer) -> None:
        await peer.rest()

    async def scene() -> None:
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

    run(scene())


@pytest.mark.parametrize("name", ["a..b", "x" * 70 + ".test", "a\0b", ".test", "bü\udc80.test"])
def test_a_name_that_tls_cannot_carry_is_a_failure_like_another(run: Run, tmp_path: Path, name: str) -> None:
    authority = Authority(tmp_path)

    async def scene() -> None:
        async with raw_origin(wait_for_close, tls=authority.server("app.test")) as origin:
            endpoint = Endpoint(host="127.0.0.1", port=origin.port)
            sentence = await failure_of(tls_dialer(authority), endpoint, name)
            assert sentence.isprintable()

    run(scene())


def test_tls_over_a_unix_socket_verifies_too(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def scene() -> None:
        path = str(tmp_path / "app.sock")
        async with raw_origin(wait_for_close, path=path, tls=authority.server("app.test")):
            transport, _ = await tls_dialer(authority).connect(
                Endpoint(path=path), asyncio.Protocol, server_name="app.test"
            )
            transport.close()
            assert "does not fit other.test: it is for app.test" in await failure_of(
                tls_dialer(authority), Endpoint(path=path), "other.test"
            )

    run(scene())


def test_a_pool_that_gives_nothing_stops_the_start(tmp_path: Path) -> None:
    contexts = TlsContexts()
    with pytest.raises(OriginError, match=r"caPool .* cannot be read: No such file"):
        contexts.client(ca_pool=str(tmp_path / "none.pem"))
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing here\n")
    with pytest.raises(OriginError, match="holds no certificate in PEM form"):
        contexts.client(ca_pool=str(empty))
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(OriginError, match="holds no certificate that can be read"):
        contexts.client(ca_pool=str(broken), verify=True)


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
