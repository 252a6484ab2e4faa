"""What happens to a request from the edge: rule, layers, origin, answer.

The hot path of the product. It sees an `Exchange` and knows nothing of the connection below; one `RequestPath` serves
all requests of one edge connection.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pyconnector.connector.observe.log import TCP, Log, escape, fields
from pyconnector.connector.observe.observer import RequestRecord
from pyconnector.connector.requests.guards import guards_of
from pyconnector.connector.requests.observed import ObservedExchange
from pyconnector.connector.requests.pump import pump
from pyconnector.connector.requests.who_asks import fits_of
from pyconnector.ingress import decode_path
from pyconnector.ingress.config.services import redacted
from pyconnector.origins.base import OriginError, RequestKind
from pyconnector.origins.layers.base import Rejection
from pyconnector.protocol.errors import ProtocolError
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from pyconnector.connector.active.orchestrator import Orchestrator
    from pyconnector.connector.active.routes import Route, Routes
    from pyconnector.connector.management.access import Management
    from pyconnector.connector.observe.counters import Counters
    from pyconnector.connector.observe.observer import Observer
    from pyconnector.connector.requests.exchange import Exchange
    from pyconnector.connector.requests.guards import Guard
    from pyconnector.ingress import Match
    from pyconnector.origins.base import Headers, OriginRequest, OriginResponse

#: Names of header fields that a line of the log shows; never what they hold.
MAX_NAMES = 40
_LIMITED = "failed to start tcp flow due to rate limiting: too many active flows"


def _names(headers: Headers) -> str:
    return escape(",".join(name.decode("latin-1") for name, _ in headers[:MAX_NAMES]))


def _found(routes: Routes, match: Match, host: str, path: str) -> tuple[Route, Sequence[Guard]]:
    guards: Sequence[Guard] = guards_of(routes.routes, match) if match.guards else ()
    if routes.local_access is not None:
        guards = (*guards, *routes.local_access.guards(host, path))
    return routes.routes[match.index], guards


class RequestPath:
    """Serves the requests of one edge connection."""

    def __init__(
        self,
        *,
        orchestrator: Orchestrator,
        counters: Counters,
        added_headers: Headers,
        log: Log,
        index: int = 0,
        observer: Observer | None = None,
    ) -> None:
        self._orchestrator = orchestrator
        self._counters = counters
        self._added_headers = added_headers
        self._log = log
        self._index = index
        self._observer = observer
        self._now: Callable[[], float] | None = None
        self._unobserved = RequestRecord(index)  # where nobody looks: all requests write into the same
        self.write_timeout = 0.0
        "Seconds in which the edge must take what waits of a response; 0 for any time."
        self.management: Management | None = None
        "Answers under its own name, before any rule."
        self._tcp_log = log.of_kind(TCP)

    def __repr__(self) -> str:
        return f"<RequestPath {self._index}>"

    def refuse(self, exchange: Exchange, reason: str) -> None:
        """Refuse a request without looking at it: there are too many. Does not wait and does not raise."""
        self._counters.streams_refused += 1
        exchange.fail(reason)
        observer = self._observer
        if observer is not None:
            record = RequestRecord(self._index)
            record.started = record.ended = asyncio.get_running_loop().time()
            record.status, record.error = 502, reason
            observer.begin(record)
            observer.head(record)
            observer.end(record)

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """Serve one request to its end. Cancel aborts the exchange and leaves nothing of it at the origin.

        Raises:
            Exception: what nobody expected; the exchange is aborted.
        """
        observer = self._observer
        return self._serve(exchange, self._unobserved) if observer is None else self._observed(exchange, observer)

    async def _observed(self, exchange: Exchange, observer: Observer) -> None:
        now = self._now
        if now is None:  # asked for once: each time costs a system call
            now = self._now = asyncio.get_running_loop().time
        record = RequestRecord(self._index, exchange.kind, now())
        observer.begin(record)
        try:
            await self._serve(ObservedExchange(exchange, record, observer), record)
        finally:
            record.ended = now()
            observer.end(record)

    async def _serve(self, exchange: Exchange, record: RequestRecord) -> None:
        try:
            if exchange.kind is RequestKind.TCP:
                await self._serve_tcp(exchange)
            else:
                await self._serve_http(exchange, record)
        except BaseException as error:
            exchange.abort()
            record.broke_off(error)
            if isinstance(error, OriginError):
                # The head is out: the client can only be shown that the rest will not come.
                self._counters.request_errors += 1
                self._log.warning("The origin broke off: %s", error, **fields(streamID=exchange.number))
            elif isinstance(error, TransportError):
                self._log.debug("Client disconnected: %s", error, **fields(streamID=exchange.number))
            else:
                raise

    # -- HTTP and WebSocket ----------------------------------------------------------------------------------------

    async def _serve_http(self, exchange: Exchange, record: RequestRecord) -> None:
        counters = self._counters
        counters.total_requests += 1
        counters.concurrent_requests += 1
        try:
            request = exchange.request()
            request.headers += self._added_headers
            management = self.management
            if management is not None and request.host == management.hostname:
                response = await management.serve(request, exchange.body)
            else:
                route, guards = self._route(request) or await self._route_for(request)
                record.rule, record.rule_index = route.rule, route.index
                if request.body_length != 0:
                    exchange.read_for(route)
                if debug := self._log.isEnabledFor(logging.DEBUG):
                    self._log_request(request, route)
                for guard in guards:
                    await guard.admit(request)
                response = await route.origin.serve(request, exchange.body)
                if debug:
                    self._log_response(response, request, route)
        except ProtocolError as error:
            self._log.warning("Refused a request: %s", error)
            exchange.fail(str(error), 400)
        except OriginError as error:
            self._origin_failed(error.reason, route, request.host, record)
            exchange.fail(error.reason, error.status)
        except Rejection as rejection:
            self._reject(exchange, record, rejection, request)
        else:
            if response.failure:  # the client is shown a page in place of it
                self._origin_failed(response.failure, route, request.host, record)
                record.error = response.failure
            await self._relay(exchange, response)
        finally:
            counters.concurrent_requests -= 1

    def _origin_failed(self, reason: str, route: Route, host: str, record: RequestRecord) -> None:
        self._counters.request_errors += 1
        record.origin_failed = True
        self._log.error("%s", reason, **fields(rule=redacted(route.rule.service), host=escape(host)))

    def _route(self, request: OriginRequest) -> tuple[Route, Sequence[Guard]] | None:
        """Return where a request goes, and whose access it must satisfy beside that of its own rule.

        None where that hangs on who asks: `_route_for` says it then.
        """
        routes = self._orchestrator.routes
        path = decode_path(request.target.partition("?")[0])
        match = routes.ingress.match(request.host, path)
        return None if match.asks else _found(routes, match, request.host, path)

    async def _route_for(self, request: OriginRequest) -> tuple[Route, Sequence[Guard]]:
        routes = self._orchestrator.routes  # taken once: verifying may wait, and others may come into force meanwhile
        path = decode_path(request.target.partition("?")[0])
        fits = await fits_of(routes.routes, routes.ingress.rules, routes.ingress.match(request.host, path), request)
        return _found(routes, routes.ingress.match(request.host, path, fits), request.host, path)

    async def _relay(self, exchange: Exchange, response: OriginResponse) -> None:
        try:
            try:
                exchange.respond(response.status, response.headers, tunnel=response.tunnel)
            except ProtocolError as error:
                self._counters.request_errors += 1
                self._log.error("The origin's answer cannot be carried: %s", error)
                exchange.fail(f"the origin's answer cannot be carried: {error}")
                response.abort()
                return
            await pump(exchange, response, self.write_timeout)
            await response.finish()
        except BaseException:
            response.abort()
            raise
        if response.status != 101:
            self._counters.responses[response.status] += 1

    def _reject(self, exchange: Exchange, record: RequestRecord, rejection: Rejection, request: OriginRequest) -> None:
        self._counters.request_errors += 1
        record.refused = rejection.reason
        self._log.warning("Refused a request: %s", rejection.reason, **fields(host=escape(request.host)))
        exchange.respond(rejection.status, rejection.headers)
        exchange.finish(rejection.body)

    def _log_request(self, request: OriginRequest, route: Route) -> None:
        self._log.debug(
            "%s %s",
            request.method,
            escape(request.target),
            **fields(
                host=escape(request.host),
                originService=redacted(route.rule.service),
                ingressRule=route.index,
                bodyLength=request.body_length,
                headers=_names(request.headers),
            ),
        )

    def _log_response(self, response: OriginResponse, request: OriginRequest, route: Route) -> None:
        self._log.debug(
            "%d for %s %s",
            response.status,
            request.method,
            escape(request.target),
            **fields(
                host=escape(request.host),
                originService=redacted(route.rule.service),
                ingressRule=route.index,
                headers=_names(response.headers),
            ),
        )

    # -- private network -------------------------------------------------------------------------------------------

    async def _serve_tcp(self, exchange: Exchange) -> None:
        counters, limiter = self._counters, self._orchestrator.limiter
        counters.total_requests += 1
        counters.tcp_total += 1
        request = exchange.request()
        if not limiter.acquire():
            counters.flows_limited += 1
            exchange.fail(_LIMITED, rate_limited=True)
            return
        counters.concurrent_requests += 1
        counters.tcp_active += 1
        started = asyncio.get_running_loop().time()
        try:
            response = await self._orchestrator.routes.private.serve(request, exchange.body)
        except OriginError as error:
            counters.request_errors += 1
            counters.connect_errors += 1
            self._tcp_log.error("%s", error, **fields(destination=escape(request.destination)))
            exchange.fail(error.reason, error.status)
        else:
            counters.connect_latency_ms.observe((asyncio.get_running_loop().time() - started) * 1000)
            # Once the request is acknowledged its bytes are the service's: what fails from here on resets it.
            try:
                exchange.acknowledge()
                await pump(exchange, response, self.write_timeout)
                await response.finish()
            except BaseException:
                response.abort()
                raise
        finally:
            limiter.release()
            counters.concurrent_requests -= 1
            counters.tcp_active -= 1
