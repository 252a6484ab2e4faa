"""What every way into the gateway does with one TCP flow: has it judged, and reaches its destination."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pyconnector.edge.private.gateway.judge import Refused
from pyconnector.edge.private.gateway.records import CloseReason
from pyconnector.edge.private.network import Unreachable
from pyconnector.protocol.proxying.handshake import Verdict

if TYPE_CHECKING:
    from pyconnector.edge.connectors.exchange import Exchange
    from pyconnector.edge.private.gateway.judge import RunningFlow
    from pyconnector.edge.private.gateway.server import Gateway
    from pyconnector.edge.private.network import Destination
    from pyconnector.protocol.proxying.handshake import Connect

#: Seconds for a destination to be found and reached.
CONNECT_TIMEOUT: Final = 15.0


async def admit(gateway: Gateway, flow: RunningFlow, request: Connect) -> Destination:
    """Return where a flow goes; from now on it is held to that. The client is known. Cancel at any time.

    Raises:
        Refused: it may not be, or no route leads there.
    """
    record = flow.record
    destination = await gateway.judge.admit(
        record, request.host, request.port, request.virtual_network or record.virtual_network
    )
    gateway.judge.started(flow)
    return destination


async def reach(gateway: Gateway, flow: RunningFlow, request: Connect) -> Exchange:
    """Return a stream to where a flow goes, connected. Cancel leaves nothing open.

    Raises:
        Refused: it may not be, no route leads there, or it could not be reached in time.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            destination = await admit(gateway, flow, request)
            exchange = await gateway.judge.network.open_tcp(destination)
    except Unreachable as exc:
        raise Refused(Verdict.UNREACHABLE, CloseReason.UNREACHABLE, str(exc)) from exc
    except TimeoutError:
        raise Refused(Verdict.UNREACHABLE, CloseReason.UNREACHABLE, "It did not answer in time.") from None
    flow.record.connector_id = str(exchange.connector_id or "")
    return exchange
