"""The local HTTP server for machines that watch this one: /metrics, /ready, /healthcheck, /config
(reference/lifecycle.md 8). It answers one request per connection and knows nothing but GET-like requests.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypeAlias

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.discovery.addresses import split_host_port
from pyconnector.connector.observe.log import Log
from pyconnector.connector.observe.server.accepting import stop_accepting

#: Of the Prometheus text format.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: The address that stands for "the first free one of the usual ports".
DEFAULT_ADDRESS = "localhost:0"
#: Ports that are tried for the default address, before any free one.
DEFAULT_PORTS = range(20241, 20246)
#: Largest request head.
MAX_HEAD_BYTES = 16 * 1024
#: Seconds that a client has for its request and for taking the answer.
TIMEOUT = 10.0
#: Clients served at once; what comes beyond is closed.
MAX_CLIENTS = 64

#: Ends of names that no page in a browser can have: those of clusters and of local networks.
LOCAL_SUFFIXES = (".local", ".internal", ".svc", ".lan", ".home.arpa")
#: What a request under a name that anybody may own is answered with.
NOT_MEANT = b"ask for this server by address, as localhost or by a local name\n"

#: What only those are shown who name this machine in a way that nobody can make up, wherever it listens. On loopback
#: that is everything; elsewhere machines that watch this one may have names for it.
PRIVATE_PATHS = frozenset({"/config", "/diag/tunnel", "/diag/configuration", "/diag/system", "/diag/tasks"})

#: Status, content type, body.
Answer: TypeAlias = tuple[HTTPStatus, str, bytes]
#: Makes the answer of one path; what may take long is a coroutine function.
Page: TypeAlias = Callable[[], "Answer | Awaitable[Answer]"]
JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"


def json_answer(value: object, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """Make an answer of a JSON value."""
    return status, JSON_TYPE, json.dumps(value, separators=(",", ":")).encode() + b"\n"


class MetricsServer:
    """Serves the answers that its `pages` give, by path."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._log = Log("metrics")
        self.address = ("", 0)
        self._is_loopback = True

    async def start(self, address: str) -> None:
        """Listen on `address`. Cancel leaves nothing listening.

        Raises:
            StartFailed: it cannot be listened on.
        """
        try:
            host, port = split_listen_address(address)
        except ValueError as error:
            raise StartFailed(f"cannot serve metrics: {error}") from error
        ports = [*DEFAULT_PORTS, 0] if address == DEFAULT_ADDRESS else [port]
        for candidate in ports:
            try:
                self._server = await self._listen(host, candidate)
                break
            except OSError as error:
                if candidate == ports[-1]:
                    raise StartFailed(f"cannot serve metrics on {address}: {_reason(error)}") from error
        if self._server is not None:
            name = self._server.sockets[0].getsockname()
            self.address = (name[0], name[1])
            self._is_loopback = ipaddress.ip_address(name[0]).is_loopback
            shown = f"[{name[0]}]" if ":" in name[0] else name[0]
            self._log.info("Starting metrics server on %s:%d/metrics", shown, name[1])

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            return await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD_BYTES)
        # With an address, uvloop would ask a resolver in a thread for nothing: 5 ms of every start.
        sock = socket.create_server((host, port), family=socket.AF_INET if version == 4 else socket.AF_INET6)
        try:
            return await asyncio.start_server(self._serve, sock=sock, limit=MAX_HEAD_BYTES)
        except BaseException:
            sock.close()
            raise

    async def close(self) -> None:
        """Stop listening and drop clients. Cancel leaves the socket closed. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            await stop_accepting(server)
            for writer in tuple(self._clients):
                writer.transport.abort()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            writer.transport.abort()
            writer.close()
            return
        self._clients.add(writer)
        try:
            async with asyncio.timeout(TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(_message((HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, TEXT_TYPE, b"")))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _message((HTTPStatus.BAD_REQUEST, TEXT_TYPE, b"this is no HTTP/1 request\n"))
        path = words[1].partition(b"?")[0].decode("ascii", errors="replace")
        if (self._is_loopback or path in PRIVATE_PATHS) and not _is_meant(head):
            return _message((HTTPStatus.FORBIDDEN, TEXT_TYPE, NOT_MEANT))
        page = self._pages.get(path)
        answer = page() if page is not None else (HTTPStatus.NOT_FOUND, TEXT_TYPE, not_found(path))
        if not isinstance(answer, tuple):
            answer = await answer
        return _message(answer, head_only=words[0] == b"HEAD")


def not_found(path: str) -> bytes:
    """Return what is said of a page that does not exist; of the profiles of Go programs, what there is instead."""
    if path.startswith("/debug/pprof"):
        return b"404: there are no profiles of Go; /diag/tasks and /metrics of the metrics address show what goes on\n"
    return b"404 page not found\n"


def _is_meant(head: bytes) -> bool:
    """Whether the request names this machine by address, as localhost, or by a name without dots.

    A page in a browser may ask for a name of its own that it lets lead here, and would then be shown what this server
    says (DNS rebinding). It cannot make up an address or a name of the local network.
    """
    hosts = [line[5:].strip() for line in head.split(b"\r\n")[1:] if line[:5].lower() == b"host:"]
    if len(hosts) != 1:
        return not hosts  # HTTP/1.0 without Host: no browser
    name, colon, port = hosts[0].decode("latin-1").lower().rpartition(":")
    if not colon or "]" in port:
        name = f"{name}{colon}{port}"
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith((".localhost", *LOCAL_SUFFIXES))
    return True


def split_listen_address(text: str) -> tuple[str, int]:
    """Read `host:port` where the port may be 0 and the host may be missing (every address).

    Raises:
        ValueError: it is none. The message is a sentence.
    """
    host, colon, port = text.rpartition(":")
    if colon and port == "0":
        address = host.strip("[]"), 0
    else:
        address = split_host_port(text if host else f"0.0.0.0{text}")
    # The name stands for two addresses; with port 0 each would get a port of its own.
    return ("127.0.0.1" if address[0] == "localhost" else address[0]), address[1]


def _message(answer: Answer, *, head_only: bool = False) -> bytes:
    status, content_type, body = answer
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + (b"" if head_only else body)


def metrics_answer(text: bytes) -> Answer:
    """Make the answer of /metrics."""
    return HTTPStatus.OK, CONTENT_TYPE, text


def _reason(error: OSError) -> str:
    # Without what the library adds: the address as Python writes a tuple.
    return (error.strerror or str(error)).partition(" (while ")[0].rpartition("): ")[2].lower()
