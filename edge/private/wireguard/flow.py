"""What TCP and UDP flows of a device have in common."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyconnector.edge.private.gateway.records import CloseReason, FlowRecord
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.edge.private.wireguard.library import DeviceStream

#: Seconds that a TCP connection may be silent, and one of which a direction has ended: the device may be gone.
IDLE_SECONDS: Final = 3_600.0
HALF_CLOSED_SECONDS: Final = 60.0
#: Seconds that a refused TCP connection may take until its device has said something.
REFUSED_SECONDS: Final = 0.5
#: Bytes that are taken from a device, or given to it, at once.
PIECE: Final = 64 * 1024


class DeviceFlow:
    """A flow from its admission to its record. Run it in `task`."""

    task: asyncio.Task[None]

    def __init__(self, gateway: Gateway, stream: DeviceStream, record: FlowRecord) -> None:
        self.record = record
        self._gateway = gateway
        self._stream = stream
        self._cut: tuple[CloseReason, str] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.record.wanted} sent={self.record.sent} received={self.record.received}>"

    def cut_off(self, reason: CloseReason, detail: str) -> None:
        """See `RunningFlow.cut_off`."""
        if self._cut is None:
            self._cut = (reason, detail)
        self.task.cancel()

    def _finish(self) -> None:
        """Close the stream and write the record."""
        close_stream(self._stream)
        self._gateway.judge.ended(self)
        if self._cut is not None:
            self.record.reason, self.record.detail = self._cut
        self._gateway.records.write(self.record)


async def close_refused(stream: DeviceStream) -> None:
    """Close a TCP connection that was refused. Cancel closes it at once.

    Not before it is established: the library would answer its beginning with nothing at all, and the device would wait.
    What the device sends is the sign of it, or time, since it may wait for the other side to begin.
    """
    try:
        async with asyncio.timeout(REFUSED_SECONDS):
            await stream.read(PIECE)
    except TimeoutError:
        pass
    finally:
        close_stream(stream)


def close_stream(stream: DeviceStream) -> None:
    """Close a stream, whatever became of it."""
    with contextlib.suppress(OSError):
        stream.close()
