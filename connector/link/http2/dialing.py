"""How a connection index reaches its edge address over HTTP/2 (wire.md 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pyconnector.connector.link.dialing import naming_cacert, until_quiet
from pyconnector.transport.errors import ConnectFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyconnector.connector.config.model import EdgeConfig
    from pyconnector.connector.link.edge_connection import Plan
    from pyconnector.connector.link.paths.network_watch import NetworkWatch
    from pyconnector.transport.http2 import Http2Connection


def http2_dialer(edge: EdgeConfig, network: NetworkWatch) -> Callable[[Plan], Awaitable[Http2Connection]]:
    """Return what dials one attempt over HTTP/2, and begins anew where the network changes meanwhile.

    It raises ConnectFailed; cancel leaves nothing open.
    """

    async def dial(plan: Plan) -> Http2Connection:
        if edge.post_quantum:
            raise ConnectFailed("HTTP/2 cannot be held to post-quantum key exchange")
        from pyconnector.transport import http2

        with naming_cacert(edge):
            return cast(
                "Http2Connection",
                await until_quiet(
                    lambda: http2.connect(
                        plan.address,
                        ca_file=edge.ca_file,
                        local_host=edge.bind_address,
                        proxy=edge.proxy_to(plan.address),
                    ),
                    network,
                ),
            )

    return dial
