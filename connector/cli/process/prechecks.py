"""When the checks of the way to the edge run, and where they are told.

On a terminal they run with the start, where the edge is looked up in DNS. Elsewhere only if nothing is registered
after some seconds: then somebody will want to know what is in the way.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from pyconnector.connector.observe.log import Log, escape, fields

if TYPE_CHECKING:
    from pyconnector.connector.config.model import ConnectorConfig
    from pyconnector.connector.discovery.prechecks import Report

#: Seconds after which a connection should be there.
PATIENCE = 5.0

_log = Log("prechecks")


async def check_way(
    config: ConnectorConfig,
    is_connected: Callable[[], bool],
    *,
    stream: IO[str] | None = None,
    patience: float = PATIENCE,
) -> None:
    """Check and tell, if it is called for. Cancel at any time."""
    stream = stream or sys.stderr
    terminal = stream.isatty()
    if not terminal or config.edge.addresses:
        await asyncio.sleep(patience)
        if is_connected():
            return
    from pyconnector.connector.discovery.remote_switches import switches_for

    if (await switches_for(config)).skip_prechecks:
        return
    from pyconnector.connector.discovery.prechecks import run_prechecks, table
    from pyconnector.connector.discovery.probes import probes_for

    report = await run_prechecks(probes_for(config.edge))
    if terminal:
        stream.write(table(report, colour=True))
        stream.flush()
    tell(report)


def tell(report: Report) -> None:
    """Log every check that did not pass, and what comes of all."""
    from pyconnector.connector.discovery.prechecks import Status

    for row in report.rows:
        status, details = row.status.value.lower(), escape(row.details)
        told = fields(component=row.component, target=row.target, status=status, details=details)
        (_log.warning if row.status is Status.FAIL else _log.debug)("precheck", **told)
    for action in report.actions:
        _log.warning("%s", action.partition(": ")[2])
    told = fields(hard_fail=report.hard_fail, suggested_protocol=report.suggested)
    _log.info("precheck complete: %s", report.summary, **told)
