"""What changes of the network do to connections: none of them loses a request that another way could carry."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.transport.errors import ConnectFailed, TransportError
from pyconnector.transport.quic import connect, listen
from pyconnector.transport.quic.aioquic_engine import sending
from pyconnector.transport.quic.flow.black_hole import BlackHole
from pyconnector.transport.settings import QuicSettings
from tests.support.houses.namespaces import FAR_ADDRESS, Network, network, run_apart, why_not
from tests.support.loop.loops import LOOPS
from tests.transport.conformance import PATIENCE, read_all
from tests.transport.pairs.aioquic_pair import client_tls, credentials

if TYPE_CHECKING:
    from pyconnector.transport.seam import Connection, Stream

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

ENGINES = ["aioquic", *(["qh3"] if importlib.util.find_spec("qh3") else [])]
#: Seconds between two requests, and that each has: less than the silence after which a connection is given up.
PACE, LIMIT = 0.05, 4.0


class Client:
    """A connection of the site, and requests on it."""

    def __init__(self, connection: Connection, far: Connection) -> None:
        self.connection = connection
        self.far = far
        self.failed = 0
        self.done = 0

    async def ask(self, size: int = 1) -> bool:
        """Send `size` bytes and wait for the answer, which tells how many arrived; whether it came in time."""
        try:
            async with asyncio.timeout(LIMIT):
                stream = await self.connection.open_stream()
                await stream.send(bytes(size))
                stream.finish()
                assert await read_all(stream) == str(size).encode()
        except (TimeoutError, TransportError):
            self.failed += 1
            return False
        self.done += 1
        return True

    async def ask_for(self, seconds: float, size: int = 1) -> None:
        """Ask again and again, without waiting for one before the next."""
        async with asyncio.TaskGroup() as group:
            for _ in range(int(seconds / PACE)):
                group.create_task(self.ask(size))
                await asyncio.sleep(PACE)


async def _answer(stream: Stream) -> None:
    try:
        data = await read_all(stream)
        stream.send_nowait(str(len(data)).encode(), finish=True)
    except TransportError:
        pass


@asynccontextmanager
async def dialled(here: Network, engine: str, settings: QuicSettings) -> AsyncIterator[Client]:
    """A connection from the site to the far end, which answers every request."""
    arrived: asyncio.Queue[Connection] = asyncio.Queue()
    tasks: set[asyncio.Task[None]] = set()

    def arrive(connection: Connection) -> None:
        def accept(stream: Stream) -> None:
            task = asyncio.ensure_future(_answer(stream))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        connection.set_stream_handler(accept)
        arrived.put_nowait(connection)

    here.enter(here.far)
    listener = await listen(FAR_ADDRESS, 0, tls=credentials().server, settings=settings, on_connection=arrive)
    try:
        here.enter(here.site)
        connection = await connect(listener.address, tls=client_tls(), settings=settings)
        try:
            yield Client(connection, await asyncio.wait_for(arrived.get(), PATIENCE))
        finally:
            connection.close()
    finally:
        await listener.close()


def scenario(
    engine: str, act: Callable[[Network, Client], Awaitable[None]], loop: str = "asyncio", *, mtu: int = 1500
) -> None:
    """Run `act` on a network, whose first uplink carries IP packets of `mtu` bytes, and a connection of its own."""
    factory = importlib.import_module("uvloop").new_event_loop if loop == "uvloop" else None
    with network() as here:
        here.shrink(mtu, silently=False)

        async def main() -> None:
            async with dialled(here, engine, QuicSettings(engine=engine)) as client:
                assert await client.ask()
                await act(here, client)

        run_apart(main, factory)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("engine", ENGINES)
def test_changed_uplink_loses_no_request(engine: str, loop: str) -> None:
    async def act(here: Network, client: Client) -> None:
        asking = asyncio.ensure_future(client.ask_for(3.0))
        await asyncio.sleep(1.0)
        here.link(0, "down")
        here.route(1)
        await asking
        assert client.connection.statistics().streams_open == 0
        assert (client.failed, client.done) == (0, 61)
        assert client.far.peer_address[0] == "10.77.2.2"

    scenario(engine, act, loop)


@pytest.mark.parametrize("engine", ENGINES)
def test_changed_address_loses_no_request(engine: str) -> None:
    async def act(here: Network, client: Client) -> None:
        asking = asyncio.ensure_future(client.ask_for(3.0))
        await asyncio.sleep(1.0)
        here.readdress(0, "10.77.1.2", "10.77.1.77")
        await asking
        assert (client.failed, client.done) == (0, 61)
        # The port stays: a peer that knows it takes the new path for a NAT that forgot.
        assert client.far.peer_address == ("10.77.1.77", client.connection.local_address[1])

    scenario(engine, act)


def _size_in_use(connection: Connection) -> int:
    core: Any = connection.core  # type: ignore[attr-defined]
    size: int = core.mtu.size if hasattr(core, "mtu") else core.active_path[5]
    return size


async def _grown(client: Client, size: int) -> None:
    """Ask until datagrams of `size` bytes are in use."""
    async with asyncio.timeout(PATIENCE):
        while _size_in_use(client.connection) < size:
            assert await client.ask(100_000)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_link_smaller_than_most_is_used_to_its_size(engine: str) -> None:
    """As of PPPoE or WireGuard: this system refuses probes above it, and that says nothing about what is in use."""

    async def act(here: Network, client: Client) -> None:
        await _grown(client, 1350)
        for _ in range(20):
            assert await client.ask(100_000)
            await asyncio.sleep(0.02)  # further probes leave
        assert client.connection.closed is None  # type: ignore[attr-defined]
        assert _size_in_use(client.connection) == 1350

    scenario(engine, act, mtu=1400)


@pytest.mark.parametrize("silently", [True, False], ids=["silently", "known here"])
def test_aioquic_falls_back_where_large_datagrams_vanish(silently: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not silently:  # what the system says is enough
        monkeypatch.setattr(sending, "BLACK_HOLE_PROBES", 1_000_000)

    async def act(here: Network, client: Client) -> None:
        await _grown(client, 1452)
        here.shrink(1300, silently=silently)
        for _ in range(20):
            if client.failed <= 2:
                await client.ask(100_000)
        assert client.connection.closed is None  # type: ignore[attr-defined]
        assert client.failed <= 2
        assert _size_in_use(client.connection) == 1232

    scenario("aioquic", act)


@pytest.mark.skipif("qh3" not in ENGINES, reason="the qh3 engine is not installed")
@pytest.mark.parametrize("silently", [True, False], ids=["silently", "known here"])
def test_qh3_ends_connections_where_large_datagrams_vanish(silently: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not silently:  # what the system says is enough
        monkeypatch.setattr(BlackHole, "is_likely", lambda *_args, **_named: False)

    async def act(here: Network, client: Client) -> None:
        await _grown(client, 1452)
        here.shrink(1300, silently=silently)
        asking = asyncio.ensure_future(client.ask_for(60.0, 100_000))
        info = await asyncio.wait_for(client.connection.wait_closed(), 50.0 if silently else PATIENCE)
        assert info.reason == "the path carries no large datagrams any more"
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    scenario("qh3", act)


@pytest.mark.parametrize("engine", ENGINES)
def test_dialling_says_what_the_system_says(engine: str) -> None:
    async def act(here: Network, client: Client) -> None:
        here.unroute()
        with pytest.raises(ConnectFailed, match=r"ENETUNREACH") as caught:
            await connect(("10.99.0.1", 7844), tls=client_tls(), settings=QuicSettings(engine=engine))
        assert caught.value.no_route
        here.prohibit("10.77.9.1")
        with pytest.raises(ConnectFailed, match=r"may not send .*EACCES") as caught:
            await connect((FAR_ADDRESS, 7844), tls=client_tls(), settings=QuicSettings(engine=engine))
        assert caught.value.no_route

    scenario(engine, act)
