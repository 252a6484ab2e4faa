"""The embedding API where the program around it, or its order of calls, is wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pyconnector import Connector, ConnectorError, Event, Registered, ReloadRejected, StartFailed
from pyconnector.connector.api import connector as api_module
from pyconnector.connector.api.errors import EdgeNotFound
from pyconnector.connector.discovery.address_book import AddressBook, Region
from tests.connector.api.test_api import config, local_edge

if TYPE_CHECKING:
    from pyconnector.connector.config import EdgeConfig

#: A rule whose origin has a task of its own from its start to its end.
CHECKED = [
    {
        "service": "http://127.0.0.1:9",
        "originRequest": {"backends": ["http://127.0.0.1:10"], "healthCheck": {"path": "/up", "interval": "60s"}},
    }
]


async def test_a_missing_authority_fails_the_start() -> None:
    async with local_edge() as edge:
        missing = config(edge).with_edge("127.0.0.1:9", ca_file="missing.pem")
        with pytest.raises(StartFailed, match=r"missing\.pem: No such file"):
            await Connector(missing).start()
        damaged = config(edge).with_edge("127.0.0.1:9", ca_file=__file__)
        with pytest.raises(StartFailed, match="there is no certificate in"):
            await Connector(damaged).start()


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_connector_that_does_not_run_takes_no_rules(stopped: bool) -> None:
    async with local_edge() as edge:
        connector = Connector(config(edge))
        if stopped:
            await connector.start()
            await connector.wait_ready()
            await connector.stop()
        before = asyncio.all_tasks()
        with pytest.raises(ReloadRejected, match="has been stopped" if stopped else "has not been started"):
            await connector.reload(config(edge, CHECKED))
        assert asyncio.all_tasks() <= before
        await connector.stop()


@pytest.mark.parametrize("where", ["start", "find_edge"])
async def test_a_start_that_is_stopped_meanwhile_fails(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_edge() as edge:
        before = asyncio.all_tasks()
        connector = Connector(config(edge, CHECKED, metrics="127.0.0.1:0"))
        home, name = (connector._orchestrator, where) if where == "start" else (api_module, where)
        real = getattr(home, name)

        async def stopped_meanwhile(*args: object, **options: object) -> object:
            await connector.stop()
            return await real(*args, **options)

        monkeypatch.setattr(home, name, stopped_meanwhile)
        with pytest.raises(StartFailed, match="stopped"):
            await connector.start()
        await asyncio.sleep(0)
        assert {task for task in asyncio.all_tasks() - before if "edge" not in task.get_name()} == set()
        assert connector.metrics_server._server is None
        with pytest.raises(StartFailed, match="started once"):
            await connector.start()


async def test_a_callback_that_raises_is_named_to_who_waits(caplog: pytest.LogCaptureFixture) -> None:
    async with local_edge() as edge:
        told: list[Event] = []

        def report(event: Event) -> None:
            told.append(event)
            if isinstance(event, Registered):
                raise ValueError("no such column")  # noqa: TRY004 - what happened to be raised

        async with Connector(config(edge, connections=2), on_event=report) as connector:
            with pytest.raises(
                ConnectorError, match=r"on_event \(.*report\) raised ValueError: no such column"
            ) as found:
                await connector.wait_ready(2)
            assert isinstance(found.value.__cause__, ValueError)
            with pytest.raises(ConnectorError, match="no such column"):
                await connector.wait_closed()
            assert isinstance(told[-1], Registered)  # nothing more is told to what failed
        assert [record.levelname for record in caplog.records].count("CRITICAL") == 1


async def test_a_defect_is_named_without_its_task_group(monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_edge() as edge:

        def broken(plan: object, services: object) -> object:
            raise KeyError("plan")

        connector = Connector(config(edge))
        monkeypatch.setattr("pyconnector.connector.api.connector.EdgeConnection", broken)
        async with connector:
            with pytest.raises(ConnectorError, match=r"supervisor: KeyError: 'plan'"):
                await connector.wait_ready()


async def test_an_edge_that_is_not_found_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    async def find(edge: EdgeConfig, *, choose: Callable[..., tuple[str, int]], share: object) -> AddressBook:
        tries.append(1)
        if len(tries) < 4:
            raise EdgeNotFound("no network yet")
        return AddressBook([Region([("127.0.0.1", 9)])], choose=choose)

    slept: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(delay: float) -> None:
        slept.append(delay)
        await real_sleep(0)

    async with local_edge() as edge:
        monkeypatch.setattr(api_module, "find_edge", find)
        with pytest.raises(EdgeNotFound):
            await Connector(config(edge)).start()
        connector = Connector(config(edge))
        monkeypatch.setattr(asyncio, "sleep", sleep)
        await connector.start(wait_for_edge=True)
        monkeypatch.setattr(asyncio, "sleep", real_sleep)
        assert len(tries) == 4
        assert len([delay for delay in slept if delay]) == 2
        await connector.stop()


async def test_a_wait_for_the_edge_ends_with_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(edge: EdgeConfig, *, choose: object, share: object) -> AddressBook:
        raise EdgeNotFound("no network yet")

    async with local_edge() as edge:
        monkeypatch.setattr(api_module, "find_edge", find)
        connector = Connector(replace(config(edge)))
        starting = asyncio.ensure_future(connector.start(wait_for_edge=True))
        await asyncio.sleep(0)
        await connector.stop()
        with pytest.raises(StartFailed, match="stopped while it started"):
            async with asyncio.timeout(30):
                await starting


async def test_changes_of_the_network_reach_the_supervisor_while_it_runs() -> None:
    async with local_edge() as edge:
        connector = Connector(config(edge))
        await connector.start()
        await connector.wait_ready()
        network, supervisor = connector._network, connector._supervisor
        assert network is not None
        assert supervisor is not None
        assert supervisor.network_changed in network._subscribers
        assert (network._socket is not None) == tells_of_changes()
        await connector.stop()
        assert network._socket is None
        assert supervisor.network_changed not in network._subscribers


def tells_of_changes() -> bool:
    """Whether this system has netlink."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
    except (AttributeError, OSError):
        return False
    return True
