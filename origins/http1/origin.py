"""The HTTP/1.1 origin: a pool, a dialer, and the decision to try a request once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyconnector.origins.base import ByteReader, Origin, OriginError, OriginRequest, OriginResponse, RequestKind
from pyconnector.origins.failures import unreachable
from pyconnector.origins.http1.connection import HttpConnection, Unanswered
from pyconnector.origins.http1.pool import Pool
from pyconnector.origins.http1.request_head import RequestHead, encode_head
from pyconnector.origins.http1.upload import Upload, measured
from pyconnector.origins.tcp.tunnel import Tunnel

if TYPE_CHECKING:
    from pyconnector.ingress.config.settings import OriginSettings
    from pyconnector.origins.net.dial import Dialer, Endpoint


class HttpOrigin(Origin):
    """One HTTP service, plain or over TLS, on a port or a unix socket; websockets to it pass through."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: OriginSettings,
        *,
        make_dialer: Callable[[], Dialer],
        name_of: Callable[[OriginRequest], str] | None = None,
    ) -> None:
        """`name_of` tells the TLS server name where that depends on the request; connections are kept apart by it."""
        self._endpoint = endpoint
        self._settings = settings
        self._host_header = "" if endpoint.path else settings.http_host_header
        self._make_dialer = make_dialer
        self._name_of = name_of
        self._dialer: Dialer | None = None
        self._pool: Pool | None = None

    def __repr__(self) -> str:
        return f"<HttpOrigin {self._endpoint}, {self._pool or 'not started'}>"

    async def start(self) -> None:
        """Load what TLS trusts. Idempotent. Cancel leaves it unstarted.

        Raises:
            OriginError: caPool gives nothing.
        """
        if self._pool is None:
            settings = self._settings
            self._dialer = self._make_dialer()
            self._pool = Pool(max_idle=settings.keepalive_connections, timeout=settings.keepalive_timeout)

    async def close(self) -> None:
        """Close idle connections; busy ones close after their exchange. Idempotent."""
        if self._pool is not None:
            self._pool.close()

    async def probe(self) -> None:
        """See `Origin.probe`."""
        dialer = self._dialer or self._make_dialer()
        (await dialer.open_socket(self._endpoint)).close()

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Send the request on a connection of the pool or a new one. Cancel closes that connection.

        Raises:
            OriginError: the service cannot be reached or breaks the protocol, or the request cannot be forwarded.
        """
        if request.kind is RequestKind.TCP:
            raise OriginError("A TCP stream cannot be sent to an HTTP service")
        if not request.host and not self._endpoint.path:
            request.host = str(self._endpoint)  # as the reference: an origin wants some Host (RFC 9112 3.2)
        upgrade = request.kind is RequestKind.WEBSOCKET
        length = 0 if upgrade else request.body_length
        if length is None and self._settings.disable_chunked_encoding:
            # The reference writes such a body raw, without any framing (QUIRK); here it gets its length.
            whole = await measured(body)
            length, body = len(whole), _Remembered(whole)
        head = encode_head(request, body_length=length, host_header=self._host_header)
        upload = None
        if length != 0:
            upload = Upload(body, length, waits_for_continue=head.expects_continue)
            head.wire += upload.opening()
        response = await self._exchange(head, upload, request)
        if upgrade and isinstance(response, Tunnel):
            response.carry(body)
        return response

    async def _exchange(self, head: RequestHead, upload: Upload | None, request: OriginRequest) -> OriginResponse:
        if self._pool is None or self._dialer is None:
            await self.start()
        assert self._pool is not None
        key = self._name_of(request) if self._name_of else ""
        upgrade, head_only = request.kind is RequestKind.WEBSOCKET, request.method == "HEAD"
        connection = self._pool.take(key)
        if connection is not None and (head.replayable or not connection.looks_stale()):
            try:
                return await connection.exchange(head.wire, upload, head_only=head_only, upgrade=upgrade)
            except Unanswered as lost:
                if not head.replayable or (upload is not None and not await upload.rewind()):
                    raise unreachable(f"{self._endpoint}: {lost.cause}") from lost
        elif connection is not None:
            connection.abort()
        connection = await self._connect(key)
        try:
            return await connection.exchange(head.wire, upload, head_only=head_only, upgrade=upgrade)
        except Unanswered as lost:
            raise unreachable(f"{self._endpoint}: {lost.cause}") from lost

    async def _connect(self, key: str) -> HttpConnection:
        assert self._pool is not None
        assert self._dialer is not None
        pool = self._pool
        _, connection = await self._dialer.connect(
            self._endpoint, lambda: pool.new_connection(key), server_name=key or self._settings.origin_server_name
        )
        return connection


class _Remembered:
    """A body that was read already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def receive_nowait(self, limit: int = 65_536) -> bytes:
        data, self._data = self._data[:limit], self._data[limit:]
        return data

    async def receive(self, limit: int = 65_536) -> bytes:
        return self.receive_nowait(limit)
