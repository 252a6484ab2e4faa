"""What watches the connections of a Connector beside its supervisor, each for as long as they are kept up."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from pyconnector.connector.discovery import refresh
from pyconnector.connector.link.dialing import quic_dialer
from pyconnector.connector.link.paths.path_guard import PathGuard
from pyconnector.connector.link.quic_return import QuicReturn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping

    from pyconnector.connector.config.model import ConnectorConfig
    from pyconnector.connector.link.engine_choice import EngineChoice
    from pyconnector.connector.link.paths.network_watch import NetworkWatch
    from pyconnector.connector.link.reconnect.supervisor import Reach, Supervisor
    from pyconnector.transport.seam import Connection


def companions(
    config: ConnectorConfig,
    supervisor: Supervisor,
    reach: Reach,
    engine: EngineChoice,
    network: NetworkWatch,
) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
    """Yield what is to run, by name."""
    grace = config.lifecycle.grace_period
    connections: Callable[[], Mapping[int, Connection]] = supervisor.connections
    renew: Callable[[int], Awaitable[bool]] = functools.partial(supervisor.renew, grace_period=grace)
    if reach.choice.is_open:
        returning = QuicReturn(
            reach.choice,
            dial=quic_dialer(config.edge, engine, network),
            connections=connections,
            renew=renew,
            network=network,
        )
        yield "return to QUIC", returning.run()
    move = functools.partial(supervisor.move, grace_period=grace)
    yield "path guard", PathGuard(connections=connections, leave=supervisor.leave, move=move).run()
    if engine.is_open:
        yield "engine choice", engine.follow(connections, renew)
    if config.edge.discovery.is_own and not config.edge.addresses:
        yield "edge discovery", refresh.follow(config.edge, reach.book)
