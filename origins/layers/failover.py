"""Several services for one rule: failover or round-robin, health checks, and patience while one restarts.

`ingress.rules.failover` decides; this asks, waits and keeps the start of a body so that it can be offered again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pyconnector.ingress.rules.failover import Backends, HealthCheck, may_send_again, retry_delays
from pyconnector.origins.base import ByteReader, Origin, OriginError, OriginRequest, OriginResponse, RequestKind
from pyconnector.origins.failures import never_sent
from pyconnector.origins.net.offered_body import OfferedBody

if TYPE_CHECKING:
    from pyconnector.ingress.config.settings import OriginSettings

_log = logging.getLogger("pyconnector.origins")


class FailoverOrigin(Origin):
    """The services of one rule; number 0 is its own `service`. `names` are what the log calls them."""

    def __init__(self, origins: Sequence[Origin], names: Sequence[str], settings: OriginSettings) -> None:
        self._origins = tuple(origins)
        self._names = tuple(names)
        self._check = settings.health_check
        self._retry_for = settings.retry_for
        self._backends = Backends(
            len(self._origins),
            settings.balance,
            settings.health_check or HealthCheck(unhealthy_after=1),
            checked=settings.health_check is not None,
        )
        self._checks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<FailoverOrigin {', '.join(self._names)}>"

    async def start(self) -> None:
        """Start every service's origin, then its health checks. Cancel stops what was started. Raises OriginError."""
        for origin in self._origins:
            await origin.start()
        if self._check is not None and not self._checks:
            loop = asyncio.get_running_loop()
            self._checks = [
                loop.create_task(self._keep_checking(index, self._check), name=f"health check of {name}")
                for index, name in enumerate(self._names)
            ]

    async def close(self) -> None:
        """End the checks and close every origin. Idempotent."""
        checks, self._checks = self._checks, []
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
        for origin in self._origins:
            await origin.close()

    async def probe(self) -> None:
        """See `Origin.probe`: well where any service is."""
        outcomes = await asyncio.gather(*(origin.probe() for origin in self._origins), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if len(failures) == len(outcomes):
            raise failures[0]

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Ask the services in turn, as long as that is safe, and again after a while if `retryFor` allows.

        Cancel is that of the service being asked.

        Raises:
            OriginError: none could serve; the last one's reason.
        """
        offered = OfferedBody(body)
        delays = retry_delays(self._retry_for)
        while True:
            for index in self._backends.order(_now()):
                try:
                    response = await self._origins[index].serve(_copy(request), offered)
                except OriginError as error:
                    if error.status < 500:
                        raise
                    self._record(index, ok=False)
                    if not self._may_go_on(request, error, offered):
                        raise
                    failure = error
                else:
                    if self._check is None:  # else only checks speak for a service: it may serve some pages and be ill
                        self._record(index, ok=True)
                    offered.settle()
                    return response
            delay = next(delays, None)
            if delay is None:
                raise failure
            await asyncio.sleep(delay)

    def _may_go_on(self, request: OriginRequest, error: OriginError, offered: OfferedBody) -> bool:
        sent = not never_sent(error)
        if not sent:
            return offered.rewind()
        method = "GET" if request.kind is RequestKind.WEBSOCKET else request.method
        return may_send_again(method, sent=True, body_begun=offered.begun)

    def _record(self, index: int, *, ok: bool) -> None:
        if self._backends.record(index, ok=ok, now=_now()):
            _log.warning("%s is %s", self._names[index], "back" if ok else "left out: it does not answer")

    # -- health checks ---------------------------------------------------------------------------------------------

    async def _keep_checking(self, index: int, check: HealthCheck) -> None:
        while True:
            self._record(index, ok=await self._is_well(self._origins[index], check))
            await asyncio.sleep(check.interval)

    async def _is_well(self, origin: Origin, check: HealthCheck) -> bool:
        try:
            async with asyncio.timeout(check.timeout):
                if not check.path:
                    await origin.probe()
                    return True
                request = OriginRequest(
                    kind=RequestKind.HTTP,
                    method="GET",
                    target=check.path,
                    host="health-check.invalid",
                    headers=[(b"User-Agent", b"pyconnector-health-check")],
                )
                response = await origin.serve(request, NO_BODY)
                response.abort()
                return 200 <= response.status < 400
        except (OriginError, TimeoutError):
            return False


class _NoBody:
    def receive_nowait(self, limit: int = 65_536) -> bytes:
        return b""

    async def receive(self, limit: int = 65_536) -> bytes:
        return b""


NO_BODY = _NoBody()


def _copy(request: OriginRequest) -> OriginRequest:
    """Each service may change what it is given."""
    return replace(request, headers=list(request.headers))


def _now() -> float:
    return asyncio.get_running_loop().time()
