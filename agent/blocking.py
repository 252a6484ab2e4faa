"""The private network for programs that block, such as those with `requests`: a local proxy in a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING

from pyconnector.agent.client import connect
from pyconnector.agent.errors import MeshError
from pyconnector.agent.proxy import LocalProxy
from pyconnector.agent.split import Includes
from pyconnector.web.host_port import join_host_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@contextlib.contextmanager
def local_proxy(
    url: str,
    *,
    token_file: str | Path,
    ca_file: str | Path | None = None,
    virtual_network: str = "",
    include: Iterable[str] = (),
) -> Iterator[str]:
    """Serve a local proxy within the block, and yield its URL: `http://127.0.0.1:PORT`, which is `socks5h://` too.

    `requests.get(address, proxies={"http": proxy, "https": proxy})` needs nothing else. Whoever may connect to this
    machine's loopback may use it meanwhile. What `include` does not name is dialled directly; empty for nothing.

    Raises:
        MeshError: URL, authority, token or `include` cannot be used, or no port is to be had.
    """
    started: concurrent.futures.Future[str] = concurrent.futures.Future()
    stopping: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with connect(
            url, token_file=token_file, ca_file=ca_file, virtual_network=virtual_network
        ) as mesh:  # fmt: skip
            proxy, stop = LocalProxy(mesh, Includes(include)), asyncio.Event()
            try:
                where = await proxy.start(port=0)
                stopping.append((asyncio.get_running_loop(), stop))
                started.set_result(f"http://{join_host_port(*where)}")
                await stop.wait()
            finally:
                await proxy.close()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised where the block begins
            if not started.done():
                started.set_exception(error)

    thread = threading.Thread(target=run, name="local proxy to the private network", daemon=True)
    thread.start()
    try:
        yield started.result()
    except (OSError, ValueError) as error:
        if started.exception() is not error or isinstance(error, MeshError):
            raise
        raise MeshError(f"the local proxy cannot be started: {error}") from error
    finally:
        for loop, stop in stopping:
            loop.call_soon_threadsafe(stop.set)
        thread.join()
