"""The fetch of a team's keys against real TLS servers on loopback: what is taken, and everything that is not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyconnector.connector.access_keys import fetch_https
from pyconnector.identity.access_token import AccessDenied
from pyconnector.identity.access_token.keys import MAX_KEYS_BYTES
from pyconnector.origins.layers.access.key_cache import KeyCache
from tests.support.identity.access import Team
from tests.support.identity.certificates import Authority
from tests.support.peers.raw_origin import Peer, RawOrigin, Script, answering, raw_origin

ACME = Team()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this process trusts, as an administrator would make it: by the environment."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return made


@contextlib.asynccontextmanager
async def endpoint(script: Script, tls: ssl.SSLContext | None) -> AsyncIterator[tuple[str, RawOrigin]]:
    async with raw_origin(_quiet(script), tls=tls) as server:
        yield f"https://localhost:{server.port}/cdn-cgi/access/certs", server


def _quiet(script: Script) -> Script:
    async def quiet(peer: Peer) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            await script(peer)

    return quiet


def response(body: bytes, *, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), more, body)


async def refused(authority: Authority, script: Script, match: str, *, timeout: float = 5.0) -> None:
    async with endpoint(script, authority.server("localhost")) as (url, _):
        with pytest.raises(OSError, match=match):
            await fetch_https(url, timeout=timeout)


async def ended(before: set[threading.Thread]) -> None:
    """Wait for the threads that came since `before`; their endpoint must still be up, or its end would be theirs."""
    for thread in set(threading.enumerate()) - before:
        async with asyncio.timeout(10):
            while thread.is_alive():
                await asyncio.sleep(0.01)


async def test_the_document_of_a_trusted_endpoint_serves_a_verifier(authority: Authority) -> None:
    async with endpoint(answering(response(ACME.document())), authority.server("localhost")) as (url, server):
        assert await fetch_https(url) == ACME.document()
        cache = KeyCache(url, clock=time.time, fetch=fetch_https)
        keys = await cache.keys()
        assert set(keys.by_id) == {"rsa-1", "ec-1"}
        assert [peer.requests for peer in server.peers] == [1, 1]
        await cache.close()


async def test_a_chunked_document_is_taken_too(authority: Authority) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    document = ACME.document()

    chunks = head + b"".join(b"1\r\n%c\r\n" % byte for byte in document) + b"0\r\n\r\n"
    async with endpoint(answering(chunks), authority.server("localhost")) as (url, _):
        assert await fetch_https(url) == document


async def test_a_document_too_large_is_read_no_further_than_its_bound(authority: Authority) -> None:
    sent = 0

    async def endless(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        peer.writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not peer.writer.is_closing():
            peer.writer.write(b" " * 65_536)
            sent += 65_536
            await peer.writer.drain()
            await asyncio.sleep(0)

    async with endpoint(endless, authority.server("localhost")) as (url, _):
        assert len(await fetch_https(url)) == MAX_KEYS_BYTES + 1
        cache = KeyCache(url, clock=time.time, fetch=fetch_https)
        with pytest.raises(AccessDenied, match="cannot be fetched"):
            await cache.keys()
        await cache.close()
    assert sent < 64 * 1024 * 1024  # what buffers on the way hold, and not the gigabytes of a whole test's time


async def test_an_untrusted_certificate_is_refused_before_anything_is_asked(
    authority: Authority, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = Authority(other, "Somebody Else")

    for tls, why in (
        (stranger.server("localhost"), "unable to get local issuer|self.signed"),
        (authority.server("elsewhere.example"), "Hostname mismatch"),
        (authority.server("localhost", days=-1), "expired"),
    ):
        async with endpoint(answering(response(ACME.document())), tls) as (url, server):
            with pytest.raises(OSError, match=why):
                await fetch_https(url)
            assert sum(peer.requests for peer in server.peers) == 0


async def test_no_redirect_is_followed(authority: Authority) -> None:
    tls = authority.server("localhost")
    async with endpoint(answering(response(ACME.document())), tls) as (target, elsewhere):
        for status in (b"301 Moved", b"302 Found", b"307 Temporary", b"308 Permanent"):
            moved = response(b"", status=status, more=b"Location: %b\r\n" % target.encode())
            async with endpoint(answering(moved), tls) as (url, _):
                with pytest.raises(OSError, match=f"answered {status[:3].decode()}"):
                    await fetch_https(url)
        assert elsewhere.peers == []


@pytest.mark.parametrize("status", [b"204 No Content", b"404 Not Found", b"500 Oops", b"206 Partial Content"])
async def test_any_other_status_than_200_is_refused(authority: Authority, status: bytes) -> None:
    await refused(authority, answering(response(b"", status=status)), f"answered {status[:3].decode()}")


async def test_what_is_no_http_is_refused(authority: Authority) -> None:
    await refused(authority, answering(b"SSH-2.0-x\r\n\r\n"), "does not speak HTTP")


async def test_a_document_cut_short_is_refused(authority: Authority) -> None:
    async def cut(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")

    await refused(authority, cut, "cut short")


async def test_an_endpoint_that_says_nothing_is_given_up(authority: Authority) -> None:
    async def silent(peer: Peer) -> None:
        await peer.closed_after_rest()

    await refused(authority, silent, "takes too long", timeout=0.3)


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
async def test_an_endpoint_that_drips_is_given_up_and_its_thread_ends(authority: Authority, begin: bytes) -> None:
    async def drip(peer: Peer) -> None:
        await peer.head()
        await peer.send(begin)
        while True:
            await peer.send(b" ")
            await asyncio.sleep(0.05)

    before = set(threading.enumerate())
    async with endpoint(drip, authority.server("localhost")) as (url, _):
        with pytest.raises(TimeoutError, match="takes too long"):
            await fetch_https(url, timeout=0.5)
        await ended(before)


async def test_an_endpoint_that_drips_in_its_handshake_is_given_up_and_its_thread_ends() -> None:
    async def drip(peer: Peer) -> None:
        await peer.send(b"\x16\x03\x03\x40\x00")  # a record of TLS with 16 KiB of a handshake
        while True:
            await peer.send(b"\x02")
            await asyncio.sleep(0.05)

    before = set(threading.enumerate())
    async with endpoint(drip, None) as (url, _):
        with pytest.raises(TimeoutError, match="takes too long"):
            await fetch_https(url, timeout=0.5)
        await ended(before)


async def test_fetches_do_not_take_the_threads_of_the_event_loop(authority: Authority) -> None:
    async def silent(peer: Peer) -> None:
        await peer.closed_after_rest()

    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    async with endpoint(silent, authority.server("localhost")) as (url, _):
        fetches = [asyncio.ensure_future(fetch_https(url)) for _ in range(3)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(lambda: "looked up") == "looked up"
        assert not any(fetch.done() for fetch in fetches)
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)


@pytest.mark.parametrize(
    "url", ["http://keys.test/", "http://127.0.0.1@keys.test/", "file:///etc/hostname", "data:,x", "ftp://127.0.0.1:9/"]
)
async def test_nothing_but_https_is_fetched_from_elsewhere(url: str) -> None:
    with pytest.raises(OSError, match="unknown url type"):
        await fetch_https(url)


async def test_a_mesh_on_this_machine_is_asked_without_tls() -> None:
    async def answer(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    async with raw_origin(answer) as origin:
        assert await fetch_https(f"http://127.0.0.1:{origin.port}/certs") == b"{}"


async def test_an_endpoint_that_is_not_there_is_refused() -> None:
    async with raw_origin(answering(b"")) as server:
        port = server.port
    with pytest.raises(OSError, match="refused"):
        await fetch_https(f"https://localhost:{port}/")
