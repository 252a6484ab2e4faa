"""A connection of the qh3 engine outlives that frames are sent again which arrive after all (see `qh3_repeats`)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from pyconnector.transport.quic import connect
from pyconnector.transport.quic.qh3_engine.repeats import LATE, PREPARED, Repeats
from pyconnector.transport.settings import QuicSettings
from tests.transport.aioquic_pair import client_tls
from tests.transport.conformance import read_all, run
from tests.transport.qh3_pair import serve
from tests.transport.qh3_relay import bad_path, relay_to

if TYPE_CHECKING:
    from pyconnector.transport.seam import Stream

LANES, REQUESTS = 16, 20


@pytest.mark.parametrize("lost", [0.02, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_requests_are_answered_over_a_path_that_loses_repeats_and_reorders(seed: int, lost: float) -> None:
    async def main() -> None:
        settings = QuicSettings(engine="qh3", idle_timeout=30)
        async with serve(settings) as server, relay_to(server.listener.address) as relay, asyncio.TaskGroup() as group:
            client = await connect(relay.address, tls=client_tls(), settings=settings)
            far = await server.next()
            relay.to_server, relay.to_client = bad_path(seed, lost), bad_path(seed + 1000, lost)

            async def answer(stream: Stream) -> None:
                await read_all(stream)
                stream.send_nowait(bytes(3000), finish=True)

            async def ask() -> None:
                for _ in range(REQUESTS):
                    near = await client.open_stream()
                    near.send_nowait(bytes(64), finish=True)
                    assert await read_all(near) == bytes(3000)

            far.set_stream_handler(lambda stream: cast("None", group.create_task(answer(stream))))
            async with asyncio.TaskGroup() as asking:
                for _ in range(LANES):
                    asking.create_task(ask())
            client.close()

    run(main())


@dataclass
class Core:
    """What `Repeats` asks a core."""

    congestion_window: int = 10_000
    bytes_in_flight: int = 10_000
    pto_total: int = 0


def blocked() -> tuple[Repeats, Any]:
    """Return a state in which frames may be left over, and the core."""
    repeats, core = Repeats(), Core()
    repeats.packets_given_up(5.0)
    assert not repeats.flushed(cast("Any", core), 3, 5.0, cut_short=False)
    assert repeats.are_left
    return repeats, core


def test_events_wait_until_a_flush_was_not_cut_short() -> None:
    repeats, core = blocked()
    repeats.withhold(4, core, 100)
    assert (repeats.waiting, repeats.free(10)) == (4, 6)
    assert not repeats.flushed(core, 1, 5.1, cut_short=False)
    assert repeats.free(10) == 6
    core.bytes_in_flight = 0
    assert not repeats.flushed(core, 1, 5.2, cut_short=True), "the socket may have held them up as well"
    assert repeats.flushed(core, 1, 5.3, cut_short=False)
    assert not repeats.waiting
    assert not repeats.are_left


def test_events_wait_for_as_many_packets_as_the_core_may_have_prepared_before_them() -> None:
    repeats, core = blocked()
    repeats.withhold(4, core, 100)
    repeats.flushed(core, PREPARED - 1, 5.1, cut_short=False)
    repeats.withhold(2, core, 100)
    assert repeats.free(6) == 0
    assert repeats.flushed(core, 1, 5.2, cut_short=False)
    assert repeats.free(6) == 4
    assert not repeats.flushed(core, 1, 5.2, cut_short=False), "told once"
    assert repeats.free(2) == 0
    assert repeats.flushed(core, PREPARED, 5.3, cut_short=False)
    assert repeats.free(2) == 2


def test_after_a_probe_every_stream_may_have_been_prepared() -> None:
    repeats, core = blocked()
    core.pto_total = 1
    repeats.withhold(4, core, 100)
    repeats.flushed(core, PREPARED + 99, 5.1, cut_short=False)
    assert repeats.free(4) == 0
    repeats.flushed(core, 1, 5.2, cut_short=False)
    assert repeats.free(4) == 4


def test_events_wait_as_long_as_a_machine_without_cpu_may_take() -> None:
    """What was given up may wait in a socket for as long as an idle connection lives."""
    repeats, core = blocked()
    repeats.withhold(4, core, 100)
    assert not repeats.flushed(core, 0, 5.0 + QuicSettings().idle_timeout, cut_short=False)
    assert repeats.are_left
    assert repeats.free(4) == 0


def test_nothing_waits_where_nothing_was_given_up_lately() -> None:
    repeats, core = blocked()
    repeats.withhold(4, core, 100)
    assert repeats.flushed(core, 0, 5.1 + LATE, cut_short=False)
    assert not repeats.is_possible
    assert not repeats.are_left
