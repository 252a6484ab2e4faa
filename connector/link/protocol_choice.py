"""Over which protocol each connection is dialled: QUIC, HTTP/2 where QUIC does not get through, and QUIC again once it
does (reference/lifecycle.md 3, 5.4). Pure but for its log: whoever runs connections tells what became of them.

The reference stays on HTTP/2 until a connection is lost (cloudflared#1534), and falls back for a network that is silent
but not for a handshake that fails (#1736). Here each connection falls back alone, after any failed handshake, and the
next attempt is over QUIC again where HTTP/2 does not get through either.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyconnector.connector.link.session import HTTP2, QUIC
from pyconnector.connector.observe.log import Log, fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyconnector.connector.config.model import ConnectorConfig
    from pyconnector.connector.discovery.remote_switches import Switches
    from pyconnector.connector.link.edge_connection import Ended, Plan
    from pyconnector.transport.seam import Address

#: Failures of one connection in succession after which it changes to HTTP/2, where QUIC had worked before: that may be
#: the edge, or a moment. Where it never had, one is enough.
FAILURES = 3
#: What may stand in `--protocol`.
AUTO = "auto"
#: What HTTP/2 leaves out.
LEFT_OUT = "it carries HTTP, WebSocket and TCP, but neither UDP nor ICMP of private networks"


class ProtocolChoice:
    """The choice of one connector."""

    def __init__(self, wanted: str, *, failures: int | None = None, switched: bool = False) -> None:
        """`wanted` is `AUTO`, or the one protocol that is used. `failures` of a connection over QUIC in succession are
        needed to change to HTTP/2, whatever worked before; None: as few as make it probable that it helps. `switched`:
        the provider has a word in it (`told`)."""
        self._wanted = wanted
        self._patience = failures
        self._switched = switched
        self._quic_worked = False
        self._over_http2: dict[int, Plan] = {}  # connections that fell back, with their last attempt
        self._failures: dict[int, int] = {}
        self._last: dict[int, Plan] = {}  # attempts that registered
        self._fallen = asyncio.Event()
        self._log = Log("protocol")
        if wanted == HTTP2:
            self._log.info("The edge is reached over HTTP/2: %s", LEFT_OUT)

    def __repr__(self) -> str:
        return f"<ProtocolChoice {self._wanted}, over HTTP/2: {sorted(self._over_http2)}>"

    @property
    def is_open(self) -> bool:
        """Whether connections may change their protocol, now or later."""
        return self._wanted == AUTO or self._switched

    @property
    def fallen(self) -> dict[int, Plan]:
        """The connections that fell back to HTTP/2, with their last attempt over QUIC."""
        return dict(self._over_http2)

    async def wait_fallen(self) -> None:
        """Wait until a connection has fallen back. Cancel at any time."""
        await self._fallen.wait()

    def protocol(self, index: int) -> str:
        """Return over what connection `index` is dialled next. One that is new follows those that fell back."""
        if self._wanted != AUTO:
            return self._wanted
        follows = index not in self._failures and not self._quic_worked and bool(self._over_http2)
        return HTTP2 if index in self._over_http2 or follows else QUIC

    def registered(self, plan: Plan) -> None:
        """An attempt succeeded."""
        self._failures[plan.index] = 0
        self._last[plan.index] = plan
        self._quic_worked = self._quic_worked or plan.protocol == QUIC
        if plan.protocol == HTTP2 and self._wanted == AUTO:
            self._over_http2.setdefault(plan.index, plan)
            self._fallen.set()

    def failed(self, plan: Plan, ended: Ended) -> None:
        """An attempt came to nothing. What the network or the edge's own word explains says nothing of a protocol."""
        if self._wanted != AUTO or ended.no_route or ended.untrusted or ended.refusal is not None:
            return
        index = plan.index
        if plan.protocol == HTTP2:
            self._over_http2.pop(index, None)
            self._failures[index] = 0
            if not self._over_http2:
                self._fallen.clear()
            return
        failures = self._failures[index] = self._failures.get(index, 0) + 1
        if failures < (self._patience or (FAILURES if self._quic_worked else 1)):
            return
        self._over_http2[index] = plan
        self._fallen.set()
        self._log.warning(
            "QUIC does not reach the edge: trying HTTP/2 (%s). Let UDP to port %d out of the network for QUIC",
            LEFT_OUT, plan.address[1], **fields(connIndex=index),
        )  # fmt: skip

    def told(self, protocol: str) -> None:
        """The provider wants `protocol` from now on: it holds for the next attempts, where that is left to it."""
        if self._switched:
            self._wanted = HTTP2 if protocol == HTTP2 else AUTO

    def stay(self, index: int) -> None:
        """Connection `index` could not be replaced: if it is over HTTP/2 it stays there, and QUIC is probed again."""
        plan = self._last.get(index)
        if self._wanted == AUTO and plan is not None and plan.protocol == HTTP2:
            self._over_http2[index] = plan
            self._fallen.set()

    def return_to_quic(self) -> None:
        """QUIC works again: every connection is dialled over it from now on."""
        self._over_http2.clear()
        self._failures = dict.fromkeys(self._failures, 0)
        self._fallen.clear()
        self._quic_worked = True


def choice_for(config: ConnectorConfig, addresses: Iterable[Address], switches: Switches) -> ProtocolChoice:
    """Return the choice of a connector: HTTP/2 alone where a proxy is in the way, for QUIC goes past none, or where the
    provider wants it for this account."""
    edge, retries = config.edge, config.lifecycle.max_edge_addr_retries
    protocol, switched = edge.protocol, edge.protocol == AUTO and edge.remote_protocol
    if any(edge.proxy_to(address) for address in addresses):
        Log("protocol").info("The edge is reached through the proxy %s", edge.proxy)
        protocol, switched = HTTP2, False
    elif switched and switches.protocol == HTTP2:
        Log("protocol").info("The provider wants this account over HTTP/2 for now (--protocol settles it)")
        protocol = HTTP2
    return ProtocolChoice(protocol, failures=None if retries is None else retries + 1, switched=switched)
