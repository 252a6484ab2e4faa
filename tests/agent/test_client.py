"""The client of the private network, and the files and values that it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.agent import Mesh, MeshError, connect
from pyconnector.agent.split import Includes
from pyconnector.agent.token_file import Token, TokenError, read_token
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.proxying.connect_client import encode_connect, read_status
from pyconnector.protocol.proxying.http_forward import turn_to_server
from pyconnector.transport.tls.certificates import make_authority
from tests.support.houses.gateway_house import echo_service, gateway_house, gateway_of
from tests.support.peers.gateway import CLIENT_ID, SECRET, rule

if TYPE_CHECKING:
    from tests.support.houses.private_house import PrivateHouse

TOKEN = Token(client_id=CLIENT_ID, secret=SECRET)


def token_file(directory: Path, *, mode: int = 0o600, value: object = None) -> Path:
    path = directory / "token.json"
    path.write_text(json.dumps(value or {"client_id": CLIENT_ID, "client_secret": SECRET}))
    path.chmod(mode)
    return path


def url_of(house: PrivateHouse, scheme: str = "http") -> str:
    address = gateway_of(house).http_address
    assert address is not None
    return f"{scheme}://localhost:{address[1]}"


@asynccontextmanager
async def joined(
    directory: Path, *, tls: bool = False, http2: bool = True, protocol: str = "http2", **more: Any
) -> AsyncIterator[tuple[PrivateHouse, Mesh]]:
    async with gateway_house(own_certificate=tls, **more) as house:
        url = url_of(house, "https" if tls else "http")
        ca_file = house.edge.ca_path if tls else None
        async with connect(
            url, token_file=token_file(directory), ca_file=ca_file, protocol=protocol if http2 else "http1.1"
        ) as mesh:
            yield house, mesh


@pytest.mark.parametrize("tls", [False, True])
async def test_a_connection_reaches_a_private_service(tmp_path: Path, tls: bool) -> None:
    async with joined(tmp_path, tls=tls) as (_, mesh), echo_service() as port:
        reader, writer = await mesh.open_connection("127.0.0.1", port)
        data = bytes(range(256)) * 1000
        writer.write(data)
        assert await asyncio.wait_for(reader.readexactly(len(data)), 30) == data


async def test_refusals_say_why_and_which(tmp_path: Path) -> None:
    async with joined(tmp_path, rules=(rule(ports=[1]),)) as (house, mesh):
        with pytest.raises(MeshError, match="No network rule allows this") as caught:
            await mesh.open_connection("127.0.0.1", 80)
        assert caught.value.status == 403
        stranger = Mesh(url_of(house), Token(client_id=CLIENT_ID, secret="wrong"))
        with pytest.raises(MeshError, match="token is not valid") as caught:
            await stranger.open_connection("127.0.0.1", 1)
        assert caught.value.status == 407
        with pytest.raises(MeshError, match="cannot be reached"):
            await Mesh("http://127.0.0.1:1", TOKEN).open_connection("127.0.0.1", 1)


async def test_a_gateway_that_is_not_trusted_gets_no_secret(tmp_path: Path) -> None:
    async with gateway_house(own_certificate=True) as house:
        with pytest.raises(MeshError, match="certificate is not trusted"):
            await Mesh(url_of(house, "https"), TOKEN).open_connection("127.0.0.1", 80)
        assert list(gateway_of(house).records.recent) == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("edge.example:8443", "is no gateway"),
        ("ftp://edge.example", "is no gateway"),
        ("https://edge.example:99999", "is no gateway"),
        ("https://edge.example/path", "is no gateway"),
        ("https://id:secret@edge.example", "do not belong into"),
        ("http://edge.example:8080", "needs https"),
    ],
)
def test_urls_that_cannot_be_are_refused(url: str, why: str) -> None:
    with pytest.raises(MeshError, match=why):
        Mesh(url, TOKEN)


def test_a_token_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    assert read_token(token_file(tmp_path)) == TOKEN
    assert SECRET not in repr(read_token(token_file(tmp_path)))
    with pytest.raises(TokenError, match="can be read by others"):
        read_token(token_file(tmp_path, mode=0o640))
    colon = {"client_id": "a:b", "client_secret": "x"}
    wrong: list[object] = [{"client_id": "x"}, {"client_id": 1, "client_secret": "x"}, [1], colon]
    for value in wrong:
        (tmp_path / "token.json").chmod(0o600)
        with pytest.raises(TokenError):
            read_token(token_file(tmp_path, value=value))
    with pytest.raises(TokenError, match="cannot be read"):
        read_token(tmp_path / "none")


def test_what_is_included_goes_through_and_nothing_else() -> None:
    includes = Includes(["10.0.0.0/8", "fd00::/8", "db.internal", "*.apps.internal"])
    for host in ("10.1.2.3", "fd00::1", "DB.internal.", "a.apps.internal"):
        assert includes.takes(host)
    for host in ("192.168.0.1", "::1", "apps.internal", "xdb.internal", "example.com"):
        assert not includes.takes(host)
    assert Includes().takes("anything")
    for text in ("", "*", "a*.b", "10.0.0.1/8", "a b", "é.example"):
        with pytest.raises(ValueError, match="is no network and no name"):
            Includes([text])


def test_a_connect_request_cannot_be_bent() -> None:
    head = encode_connect("fd00::1", 443, user="id", secret="s", virtual_network="lab")
    assert head.startswith(b"CONNECT [fd00::1]:443 HTTP/1.1\r\nHost: [fd00::1]:443\r\nProxy-Authorization: Basic ")
    for host in ("a b", "a\r\nX: y", "", "a/b", "user@host"):
        with pytest.raises(ProtocolError):
            encode_connect(host, 80, user="id", secret="s")
    with pytest.raises(ProtocolError):
        encode_connect("a", 0, user="id", secret="s")
    assert read_status(b"HTTP/1.1 403 Forbidden\r\n\r\n") == 403
    for answer in (b"", b"SSH-2.0\r\n", b"HTTP/2 200\r\n"):
        with pytest.raises(ProtocolError):
            read_status(answer)


def test_a_request_to_a_proxy_is_turned_into_one_to_the_server() -> None:
    head = (
        b"GET http://db.internal:8080/a?b=c HTTP/1.1\r\nHost: other\r\nProxy-Authorization: x\r\nAccept: */*\r\n"
        b"Connection: keep-alive\r\n\r\n"
    )
    assert turn_to_server(head) == (
        "db.internal", 8080,
        b"GET /a?b=c HTTP/1.1\r\nHost: db.internal:8080\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    )  # fmt: skip
    assert turn_to_server(b"GET http://[fd00::1] HTTP/1.1\r\n\r\n")[:2] == ("fd00::1", 80)
    for wrong in (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:40000\r\n\r\n",
        b"GET https://a/ HTTP/1.1\r\n\r\n",
        b"GET http://user@a/ HTTP/1.1\r\n\r\n",
        b"GET http://a:0/ HTTP/1.1\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\n folded: x\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nX: a\nY: b\r\n\r\n",
    ):
        with pytest.raises(ProtocolError):
            turn_to_server(wrong)


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_httpx_speaks_to_private_services(tmp_path: Path, scheme: str) -> None:
    httpx = pytest.importorskip("httpx", reason="the extra `mesh` is not installed")
    from pyconnector.agent.httpx_transport import MeshTransport

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = head.split(b"\r\n")[0]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    authority = make_authority("services")
    chain, key = authority.issue(["localhost", "127.0.0.1"])
    (tmp_path / "service.pem").write_bytes(chain + key)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "service.pem")
    trusting = ssl.create_default_context(cadata=authority.certificate_pem.decode())

    tls = served if scheme == "https" else None
    service = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with asyncio.timeout(60), service, joined(tmp_path, tls=True) as (_, mesh):
        where = f"{scheme}://127.0.0.1:{service.sockets[0].getsockname()[1]}"
        async with httpx.AsyncClient(transport=MeshTransport(mesh, verify=trusting)) as client:
            answers = await asyncio.gather(*(client.get(f"{where}/{number}") for number in range(8)))
            assert [each.text for each in answers] == [f"GET /{number} HTTP/1.1" for number in range(8)]
            with pytest.raises(httpx.ConnectError, match="No network rule"):
                await client.get("http://10.9.9.9/")
            if scheme == "https":
                async with httpx.AsyncClient(transport=MeshTransport(mesh)) as careful:
                    with pytest.raises(httpx.ConnectError, match="certificate"):
                        await careful.get(where)


@pytest.mark.usefixtures("each_loop")
async def test_httpx_does_not_use_a_connection_that_the_service_has_closed(tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx", reason="the extra `mesh` is not installed")
    from pyconnector.agent.httpx_transport import MeshTransport

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    service = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    async with asyncio.timeout(60), service, joined(tmp_path, tls=True) as (_, mesh):
        transport = MeshTransport(mesh)
        async with httpx.AsyncClient(transport=transport) as client:
            for _ in range(3):
                response = await client.get(f"http://127.0.0.1:{service.sockets[0].getsockname()[1]}/")
                assert response.status_code == 200
                while not all(each.has_expired() for each in transport._pool.connections):
                    await asyncio.sleep(0.01)
