"""A control plane in a thread and event loop of its own: a long list holds up no request of an edge beside it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from pyconnector.control.plane import ControlPlane

if TYPE_CHECKING:
    from types import TracebackType

    from pyconnector.control.settings import ControlPlaneSettings


class ControlPlaneThread:
    """Runs a control plane from `start` to `stop`. What `plane` tells of its places may be read from any thread."""

    def __init__(self, settings: ControlPlaneSettings) -> None:
        self.plane = ControlPlane(settings)
        self._thread = threading.Thread(target=self._run, name="control plane", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None

    async def start(self) -> None:
        """Start it. Cancel leaves it starting: stop it.

        Raises:
            SettingsError: as `ControlPlane.start`.
        """
        self._thread.start()
        await asyncio.to_thread(self._started.wait)
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    async def stop(self) -> None:
        """Stop it and wait for its end. Idempotent. Cancel leaves it stopping."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:
                pass  # its loop ended by itself
            await asyncio.to_thread(self._thread.join)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 it is raised where somebody waits, or was told there
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self.plane:
            self._started.set()
            await self._stop.wait()
