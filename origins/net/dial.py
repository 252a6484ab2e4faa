"""Open a connection to a local service: its name, TCP or a unix socket, then TLS, each with its own time limit.

Addresses are tried in the order of RFC 8305 (Happy Eyeballs v2): families take turns, the next attempt starts when
one failed or `ATTEMPT_DELAY` after it began. The race is ours because uvloop's `create_connection` has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from pyconnector.origins.failures import not_connected
from pyconnector.origins.net.tls import TlsClient, TlsRefused

if TYPE_CHECKING:
    from pyconnector.ingress.config.settings import OriginSettings

#: Seconds before the next address gets its chance while one is still being tried (RFC 8305 section 5).
ATTEMPT_DELAY = 0.25
#: Least seconds one address gets when addresses are tried strictly one after another.
MIN_SERIAL_ATTEMPT = 2.0
#: Addresses of one name that are tried at most.
MAX_ADDRESSES = 16
#: Seconds of idleness before the first TCP keep-alive probe where the setting says 0 (reference/ingress.md 5).
DEFAULT_KEEPALIVE = 15.0

#: Bytes that the system may keep unsent towards a service. Left to itself it keeps megabytes of what a slow one does
#: not take, and asks for more only once a third of them is gone: slow uploads would come in bursts that hold up others.
UNSENT_BYTES = 128 * 1024

#: What `connect` takes: for IPv4, IPv6, a unix socket.
Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | str
Target: TypeAlias = tuple[socket.AddressFamily, Address]
Resolver: TypeAlias = Callable[[str, int], Awaitable[list[Target]]]
P = TypeVar("P", bound=asyncio.BaseProtocol)
# Linux and macOS have it.
_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a service listens: `host` and `port`, or the `path` of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(slots=True, kw_only=True, eq=False)
class DialSettings:
    """Times in seconds. `connect_timeout` 0 means no limit; `keepalive` 0 the default, below 0 none."""

    connect_timeout: float = 30.0
    keepalive: float = 30.0
    happy_eyeballs: bool = True


def dial_settings(settings: OriginSettings) -> DialSettings:
    """What of a rule's settings matters here."""
    return DialSettings(
        connect_timeout=settings.connect_timeout,
        keepalive=settings.tcp_keepalive,
        happy_eyeballs=not settings.no_happy_eyeballs,
    )


async def resolve_name(host: str, port: int) -> list[Target]:
    """Look `host` up in the system's resolver. Cancel at any time (the look-up ends by itself).

    Raises:
        OSError: there is no such name.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    targets: list[Target] = [(family, cast("Address", address)) for family, _, _, _, address in found]
    return targets[:MAX_ADDRESSES]


class Dialer:
    """Opens connections to one service. Holds no connection itself."""

    def __init__(
        self,
        settings: DialSettings | None = None,
        *,
        tls: TlsClient | None = None,
        resolve: Resolver = resolve_name,
    ) -> None:
        self._settings = settings or DialSettings()
        self._tls = tls
        self._resolve = resolve

    async def connect(
        self, endpoint: Endpoint, factory: Callable[[], P], *, server_name: str = ""
    ) -> tuple[asyncio.Transport, P]:
        """Return a connected transport and its protocol; with TLS, `server_name` is asked for and verified.

        Cancel closes whatever was being opened.

        Raises:
            OriginError: not reachable in time, or TLS said no; its sentence says which.
        """
        sock = await self.open_socket(endpoint)
        if self._tls is None:
            return await adopt(sock, factory)
        try:
            return await self._tls.handshake(
                sock, factory, server_name=server_name or endpoint.host, shown=str(endpoint)
            )
        except TlsRefused as refusal:
            raise not_connected(await self._explain(refusal, endpoint, server_name)) from refusal

    async def open_socket(self, endpoint: Endpoint) -> socket.socket:
        """Return a connected non-blocking socket that the caller must close. Cancel closes what was being opened.

        Raises:
            OriginError: not reachable in time.
        """
        limit = self._settings.connect_timeout
        try:
            async with asyncio.timeout(limit if limit > 0 else None):
                sock = await self._open(endpoint)
        except TimeoutError as error:
            raise not_connected(f"{endpoint} did not answer within {limit:g} s") from error
        except OSError as error:
            raise not_connected(cause_of(error, str(endpoint))) from error
        if sock.family != socket.AF_UNIX:
            try:
                _tune(sock, self._settings.keepalive)
            except OSError as error:  # some systems say so where the service has broken off already
                sock.close()
                raise not_connected(cause_of(error, str(endpoint))) from error
        return sock

    async def _open(self, endpoint: Endpoint) -> socket.socket:
        if endpoint.path:
            return await _attempt((socket.AF_UNIX, socket_address(endpoint.path)))
        if not 0 < endpoint.port < 65536:
            raise OSError("a port between 1 and 65535 is needed")
        literal = literal_target(endpoint.host, endpoint.port)
        targets = [literal] if literal else await self._resolve(endpoint.host, endpoint.port)
        if not targets:
            raise OSError(f"the name {endpoint.host} has no address")
        if len(targets) == 1:
            return await _attempt(targets[0])
        if self._settings.happy_eyeballs:
            return await _race(_taking_turns(targets))
        return await _one_after_another(targets, self._settings.connect_timeout)

    async def _explain(self, refusal: TlsRefused, endpoint: Endpoint, server_name: str) -> str:
        """The refusal in words; where the name did not fit, a second look at the certificate tells which would."""
        if self._tls is None or not refusal.wrong_name:
            return refusal.cause
        names: tuple[str, ...] | None = None
        with contextlib.suppress(Exception):
            names = await self._tls.names_shown(await self.open_socket(endpoint), server_name or endpoint.host)
        if names is None:
            return refusal.cause
        if not names:
            return f"{refusal.cause}: it has no names (subjectAltName), and a Common Name does not count"
        return f"{refusal.cause}: it is for {', '.join(names)} (originServerName tells which to expect)"


async def adopt(sock: socket.socket, factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
    """Give a connected socket to a new protocol. Cancel closes the socket."""
    return await asyncio.get_running_loop().create_connection(factory, sock=sock)


def socket_address(path: str) -> str:
    """The address of a unix socket: on Linux `@name` is the abstract socket `name`, which no file stands for."""
    return f"\0{path[1:]}" if path.startswith("@") and sys.platform == "linux" else path


def literal_target(host: str, port: int) -> Target | None:
    """What to connect to where `host` is an IP address already, which needs no look-up."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return (socket.AF_INET, (host, port))
    if "%" in host:
        return None  # getaddrinfo knows the number of the interface
    return (socket.AF_INET6, (host, port, 0, 0))


def cause_of(error: OSError, where: str) -> str:
    """One clause on what went wrong at `where`."""
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refused the connection"
    if isinstance(error, socket.gaierror):
        return f"the name in {where} could not be resolved ({error.strerror})"
    if isinstance(error, FileNotFoundError):
        return f"{where} does not exist"
    if isinstance(error, PermissionError):
        return f"{where} may not be opened by this user"
    if isinstance(error, TimeoutError):
        return f"{where} did not answer in time"
    if isinstance(error, ConnectionError):
        return f"{where} closed the connection"
    return f"{where}: {error.strerror or error}"


def _tune(sock: socket.socket, keepalive: float) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if _NOTSENT_LOWAT is not None:
        # A hint, which sandboxes that imitate a kernel may not know.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, UNSENT_BYTES)
    if keepalive < 0:
        return
    seconds = max(1, round(keepalive or DEFAULT_KEEPALIVE))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    for option in (idle, getattr(socket, "TCP_KEEPINTVL", None)):
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, seconds)


async def _attempt(target: Target) -> socket.socket:
    family, address = target
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _taking_turns(targets: list[Target]) -> list[Target]:
    """Families interleaved, beginning with the one the resolver put first (RFC 8305 section 4)."""
    first = [target for target in targets if target[0] == targets[0][0]]
    other = [target for target in targets if target[0] != targets[0][0]]
    return [target for pair in zip_longest(first, other) for target in pair if target is not None]


async def _one_after_another(targets: list[Target], limit: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit if limit > 0 else None
    failure: OSError | None = None
    for index, target in enumerate(targets):
        share = None
        if deadline is not None:
            share = max(MIN_SERIAL_ATTEMPT, (deadline - loop.time()) / (len(targets) - index))
        try:
            async with asyncio.timeout(share):
                return await _attempt(target)
        except OSError as error:  # TimeoutError is one
            failure = failure or error
    raise failure or OSError("no address to connect to")


async def _race(targets: list[Target]) -> socket.socket:
    """The first of `targets` that connects; every other attempt is called off."""
    running: set[asyncio.Task[socket.socket]] = set()
    waiting = list(reversed(targets))
    failure: OSError | None = None
    try:
        while waiting or running:
            if waiting:
                target = waiting.pop()
                running.add(asyncio.create_task(_attempt(target), name=f"dial {target[1]}"))
            done, _ = await asyncio.wait(
                running, timeout=ATTEMPT_DELAY if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                running.discard(task)
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                failure = failure or error
    finally:
        for task in running:
            task.add_done_callback(_close_result)  # one may connect in this very moment
            task.cancel()
    raise failure or OSError("no address to connect to")


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
