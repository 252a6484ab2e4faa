"""A new certificate of the mesh for an edge that runs for long: asked for and shown before the old one ends."""

from __future__ import annotations

import asyncio
import datetime
import logging
from typing import TYPE_CHECKING

from cryptography import x509

from pyconnector.edge.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyconnector.edge.mesh.identity import MeshIdentity

#: What is left of a certificate's time when a new one is asked for.
LEFT = 1 / 3
#: Seconds between two looks at the clock, which may be set anew, and between two attempts.
LOOK, RETRY = 3600.0, 60.0

_log = logging.getLogger("pyconnector.edge")


def seconds_to_renewal(identity: MeshIdentity, now: datetime.datetime) -> float:
    """Return in how many seconds a new certificate is due; 0 where it is overdue. Pure."""
    own = x509.load_pem_x509_certificates(identity.chain)[0]
    lifetime = own.not_valid_after_utc - own.not_valid_before_utc
    return max(0.0, (own.not_valid_after_utc - lifetime * LEFT - now).total_seconds())


async def keep_valid(
    identity: MeshIdentity, obtain: Callable[[], Awaitable[MeshIdentity]], show: Callable[[MeshIdentity], None]
) -> None:
    """Call `show` with each new identity, until cancelled. While the control plane is away the old one stays."""
    least = 0.0
    while True:
        due = seconds_to_renewal(identity, datetime.datetime.now(datetime.UTC))
        await asyncio.sleep(min(max(due, least), LOOK))
        if seconds_to_renewal(identity, datetime.datetime.now(datetime.UTC)):
            continue
        least = RETRY
        try:
            found = await obtain()
            if found.chain == identity.chain:
                continue  # the control plane is away, and this is what was kept
            show(found)
        except SettingsError as error:
            _log.warning("The edge goes on with its certificate: %s", error)
            continue
        identity = found
        _log.info("The edge has a new certificate of the mesh")
