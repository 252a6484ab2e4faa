"""The innermost layer of rules whose service is a stream: how long connecting to it takes, and how often it fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.ingress.config.services import is_stream
from pyconnector.origins.base import ByteReader, Origin, OriginError, OriginRequest, OriginResponse
from pyconnector.origins.layers.base import LayeredOrigin

if TYPE_CHECKING:
    from pyconnector.connector.observe.counters import Counters
    from pyconnector.ingress import Rule


class StreamCounts:
    """The layer: around the origins of streams alone."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def __call__(self, origin: Origin, rule: Rule) -> Origin:
        """Return `origin` with its connecting counted, or as it is where its service speaks HTTP."""
        return _CountedStreams(origin, rule, self._counters) if is_stream(rule.service) else origin


class _CountedStreams(LayeredOrigin):
    def __init__(self, inner: Origin, rule: Rule, counters: Counters) -> None:
        super().__init__(inner, rule)
        self._counters = counters

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """See `Origin.serve`. Cancel counts nothing."""
        now = asyncio.get_running_loop().time
        started = now()
        try:
            response = await self.inner.serve(request, body)
        except OriginError:
            self._counters.connect_errors += 1
            raise
        self._counters.connect_latency_ms.observe((now() - started) * 1000)
        return response
