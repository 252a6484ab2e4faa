"""Four network namespaces in a row, made and removed by the test: an agent, the edge, a site, and its private network.

    agent 10.88.1.2 ---- 10.88.1.1 edge 10.88.2.1 ---- 10.88.2.2 site 192.168.77.1 ---- 192.168.77.2 private

None has a default route and none forwards packets: the agent's only way to the private network leads through the edge
and a connector in the site.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.support.houses.namespaces import allow_pings, enter, run_ip

EDGE_FOR_AGENTS, EDGE_FOR_SITES, PRIVATE = "10.88.1.1", "10.88.2.1", "192.168.77.2"
_T = TypeVar("_T")


class Room:
    """A thread with an event loop whose sockets are opened in one namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name=namespace)
        self._thread.start()
        self._ready.wait(20)

    def run(self, work: Coroutine[Any, Any, _T], *, timeout: float = 60.0) -> _T:
        """Run `work` there and return what it returns."""
        return self.begin(work).result(timeout)

    def begin(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run `work` there while the test goes on."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    def _run(self) -> None:
        enter(self._namespace)
        allow_pings()
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._ready.set()
            self._loop.run_forever()


@dataclass(frozen=True)
class Rooms:
    agent: Room
    edge: Room
    site: Room
    private: Room


@contextlib.contextmanager
def four_rooms() -> Iterator[Rooms]:
    """Make the namespaces; all is removed at the end."""
    names = [f"pyc-{room}-{os.getpid()}" for room in ("agent", "edge", "site", "private")]
    rooms: list[Room] = []
    try:
        for name in names:
            run_ip("netns", "add", name)
            run_ip("-n", name, "link", "set", "lo", "up")
        for number, network in enumerate(("10.88.1.", "10.88.2.", "192.168.77.")):
            near, far = names[number], names[number + 1]
            lasts = (2, 1) if number == 0 else (1, 2)
            run_ip("-n", near, "link", "add", f"r{number}", "type", "veth", "peer", "name", f"l{number}", "netns", far)
            for name, device, last in ((near, f"r{number}", lasts[0]), (far, f"l{number}", lasts[1])):
                run_ip("-n", name, "address", "add", f"{network}{last}/24", "dev", device)
                run_ip("-n", name, "link", "set", device, "up")
        rooms.extend(Room(name) for name in names)
        yield Rooms(*rooms)
    finally:
        for room in rooms:
            room.close()
        for name in names:
            with contextlib.suppress(Exception):
                run_ip("netns", "del", name)
