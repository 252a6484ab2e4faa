"""A response that is a tunnel: the inbox is the way back to the visitor, one task is the way there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine

from pyconnector.origins.base import ByteReader, Headers, OriginResponse
from pyconnector.origins.failures import unreachable
from pyconnector.origins.net.channel import Channel, Sink, pump
from pyconnector.origins.net.dial import adopt
from pyconnector.origins.net.inbox import Inbox


class Tunnel(Inbox, OriginResponse):
    """Both directions of a connection. Ends when both did; whoever breaks off first breaks off the other."""

    tunnel = True

    def __init__(self, status: int, headers: Headers) -> None:
        super().__init__()
        self.status = status
        self.headers = headers
        self.trailers: Headers = []
        self.channel: Channel | None = None
        self._work: asyncio.Task[None] | None = None
        self._over = False

    def __repr__(self) -> str:
        state = "over" if self._over else "open"
        return f"<Tunnel {self.status} {state}, {self.size} bytes wait for the visitor>"

    def run(self, work: Coroutine[object, object, None]) -> None:
        """Start the direction to the service; its end, good or bad, is seen to here."""
        self._work = asyncio.get_running_loop().create_task(work, name="tunnel to an origin")
        self._work.add_done_callback(self._work_ended)
        if self._over:
            self._work.cancel()

    def carry(self, body: ByteReader) -> None:
        """Start to carry `body` to the channel."""
        assert self.channel is not None
        self.run(pump(body, self.channel))

    def lost(self) -> None:
        """The connection to the service is gone: nothing more can be carried there."""
        if self._work is not None:
            self._work.cancel()

    async def finish(self) -> None:
        """Wait until the visitor ended too, then close after what is queued. Cancel aborts."""
        try:
            if self._work is not None and not self._work.done():
                await asyncio.wait({self._work})
        except asyncio.CancelledError:
            self.abort()
            raise
        self._over = True
        if self.channel is not None:
            self.channel.close()

    def abort(self) -> None:
        """Break off both directions. Idempotent; a no-op after `finish`."""
        if self._over:
            return
        self._over = True
        self.drop()
        if self._work is not None:
            self._work.cancel()
        if self.channel is not None:
            self.channel.abort(reset=True)

    def _work_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if self.channel is not None and self.channel.is_connected:  # the client's stream broke
            self.channel.abort(reset=True)
        else:  # no connection came to be, and so none can tell the reader that it is lost
            self.fail(unreachable(f"the tunnel ended ({type(error).__name__})"))


async def connect_tunnel(tunnel: Tunnel, sink: Sink, sock: socket.socket, *, hold: bool = False) -> Channel:
    """Give a connected socket to `tunnel`; what the service sends goes to `sink`, with `hold` not before its release.

    Cancel closes both.
    """
    channel = Channel(sink, tunnel.lost, hold=hold)
    tunnel.channel = channel
    try:
        await adopt(sock, lambda: channel)
    except BaseException:
        tunnel.abort()
        raise
    return channel
