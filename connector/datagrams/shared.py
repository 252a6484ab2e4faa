"""What all UDP sessions of one connector share: the flow limit, the number of sockets, the counters."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from pyconnector.connector.datagrams.session import LIMITED, SessionRefused
from pyconnector.origins.udp.flow import FlowError, UdpFlow

if TYPE_CHECKING:
    from pyconnector.connector.observe.datagram_counters import DatagramCounters
    from pyconnector.connector.requests.flow_limiter import FlowLimiter
    from pyconnector.origins.dns.virtual import VirtualDns
    from pyconnector.origins.udp.flow import FlowOwner

#: UDP sessions of one connector, where the system has files enough.
MAX_SESSIONS: Final = 16_384


class SharedFlows:
    """Hands out sockets, as long as the flow limit and the system's own allow."""

    def __init__(
        self,
        limiter: FlowLimiter,
        counters: DatagramCounters,
        *,
        virtual_dns: VirtualDns | None = None,
        most: int | None = None,
    ) -> None:
        self.counters = counters
        self.most = _most_sessions() if most is None else most
        self.active = 0
        self._virtual_dns = virtual_dns
        self._limiter = limiter

    def __repr__(self) -> str:
        return f"<SharedFlows {self.active}/{self.most}>"

    def open(self, host: str, port: int, owner: FlowOwner) -> UdpFlow:
        """Return a socket to that address, for which `release` must be called once.

        Raises:
            SessionRefused: there are too many flows, or the address cannot be used. Nothing is held then.
        """
        if self.active >= self.most:
            self.counters.limited += 1
            raise SessionRefused(LIMITED, limited=True)
        if not self._limiter.acquire():
            self.counters.limited += 1
            raise SessionRefused(LIMITED, limited=True)
        if self._virtual_dns is not None:
            host, port = self._virtual_dns.lead(host, port, "udp")
        try:
            flow = UdpFlow.open(host, port, owner)
        except FlowError as error:
            self._limiter.release()
            raise SessionRefused(f"Unable to open a UDP socket: {error}") from error
        except BaseException:
            self._limiter.release()
            raise
        self.active += 1
        return flow

    def release(self) -> None:
        """Give a flow's place back."""
        self.active -= 1
        self._limiter.release()


def _most_sessions() -> int:
    """Half of the files that this process may open: requests and connections need theirs."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft > 0:
            return min(MAX_SESSIONS, max(soft // 2, 1))
    return MAX_SESSIONS
