"""Work that takes long and waits for nothing, such as reading a large config, beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def in_background(work: Callable[[], _T]) -> _T:
    """Return what `work` returns, or raise what it raises, while the event loop goes on.

    It has a thread of its own: those of the loop's executor may all be waiting for name servers, and the process waits
    for them before it ends, but need not for this one. Cancel: the work goes on and its outcome is dropped.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()

    def tell(result: _T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is None:
            outcome.set_result(result)  # type: ignore[arg-type]  # without an error there is a result
        else:
            outcome.set_exception(error)

    def run() -> None:
        result: _T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as caught:  # noqa: BLE001 - raised where it is waited for
            error = caught
        try:
            loop.call_soon_threadsafe(tell, result, error)
        except RuntimeError:
            pass  # the loop has been closed, so nobody waits any more

    threading.Thread(target=run, name="background work", daemon=True).start()
    return await outcome
